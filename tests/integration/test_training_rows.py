"""What a training reads from the real tables: rows whose date cannot be true are left out, whoever wrote them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from tests.integration.ports.store_world import keep_orders, order
from tests.integration.trainer_process import postgres_store
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

EPOCH = date(1970, 1, 1)
OLDEST, NEWEST = (date(1990, 1, 1) - EPOCH).days, (date(2022, 11, 29) - EPOCH).days
DAYS = (
    *("0001-01-01", "1989-12-31", "1990-01-01", "2022-11-29"),
    *("2062-12-31", "99999-01-01", "infinity", "-infinity"),
)
MOMENTS = (*DAYS, "0001-01-01T05:00:00+05:30", "9999-12-31 23:59:59+00", "2022-11-28")


def fill(engine: Engine) -> None:
    """Fill the tables with dates, some of which Python cannot hold."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES ('X1', 'Stock', '2020-01-02')"
            )
        )
        connection.execute(
            text("INSERT INTO limit_prices (isin, min_date, max_date) VALUES ('X1', '-infinity', 'infinity')")
        )
        for day in DAYS:
            connection.execute(
                text("INSERT INTO close_prices (isin, priced_on, close_price) VALUES ('X1', :day, 1)"), {"day": day}
            )
            connection.execute(
                text(
                    "INSERT INTO transactions (customer_id, isin, transaction_id, transaction_type, traded_on) "
                    "VALUES ('C', 'X1', 't', 'Buy', :day)"
                ),
                {"day": day},
            )
        for number, moment in enumerate(MOMENTS):
            connection.execute(
                text(
                    "INSERT INTO user_interactions (event_id, customer_id, isin, interaction_type, occurred_at, "
                    "partition, event_offset, sequence) VALUES (:id, 'C', 'X1', 'click', :moment, 0, 0, :sequence)"
                ),
                {"id": uuid4(), "moment": moment, "sequence": 100 - number},  # the last stored is first in the log
            )


def test_rows_whose_date_cannot_be_true_are_left_out_and_counted(engine: Engine) -> None:
    fill(engine)

    read = postgres_store(engine).fetch_training_rows().rows

    assert sorted(read.purchases["day"]) == sorted(read.close_prices["day"]) == [OLDEST, NEWEST]
    assert read.ignored == {"transactions": 6, "close_prices": 6, "user_interactions": 8}
    (asset,) = read.assets
    assert asset.tradable_from == date(1990, 1, 1)
    assert asset.tradable_until is not None
    assert asset.tradable_until >= datetime.now(UTC).date()


def test_recorded_purchases_are_those_that_no_file_contains(engine: Engine, database_url: str) -> None:
    fill(engine)
    executed_at = datetime(2022, 11, 29, 12, tzinfo=UTC)
    store = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    keep_orders(
        store,
        order("X1", customer_id="C", transaction_id="t", executed_at=executed_at),  # a row of the file
        order("X1", customer_id="C", transaction_id="u", executed_at=executed_at),
        order("X1", customer_id="C", transaction_id="v", executed_at=executed_at, type="Sell"),
    )
    store.close()

    read = postgres_store(engine).fetch_training_rows().rows

    assert read.recorded_purchases.to_dict("list") == {"customer_id": ["C"], "isin": ["X1"], "day": [NEWEST]}
    assert len(read.purchases) == 2


def test_an_asset_without_limit_prices_has_no_dates(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES ('X2', 'Stock', '2020-01-02')"
            )
        )

    read = postgres_store(engine).fetch_training_rows().rows

    (asset,) = read.assets
    assert (asset.tradable_from, asset.tradable_until) == (None, None)  # tradable while it is priced


def test_interactions_come_in_the_order_of_the_log(engine: Engine) -> None:
    fill(engine)

    read = postgres_store(engine).fetch_training_rows().rows

    assert read.interactions["occurred_at"].tolist() == [day * 86_400.0 for day in (NEWEST - 1, NEWEST, OLDEST)]
