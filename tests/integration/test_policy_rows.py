"""What the worker reads for its policy, and the digest in a decision, on the real database."""

from __future__ import annotations

from datetime import date

import psycopg2
import pytest

from shared.policy_files import named_policy
from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_data import day_number
from tests.integration.worker_process import WorkerWorld
from worker.store import PostgresWorkerStore

AS_OF = date(2022, 11, 29)


@pytest.mark.postgres
def test_prices_and_purchases_up_to_the_date_are_read_in_order(database_url: str) -> None:
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        for isin, day, price in (
            ("GR2", "2022-11-29", 2.0),
            ("GR1", "2022-11-28", 3.0),
            ("GR1", "2022-06-01", 4.0),
            ("GR1", "2022-11-30", 9.0),  # later
            ("GR1", "2021-11-29", 9.0),  # a day too old
            ("GR1", "2022-11-01", 0.0),  # no price
            ("GR3", "2022-11-01", 1.0),  # not in the model
        ):
            cursor.execute(
                "INSERT INTO close_prices (isin, priced_on, close_price) VALUES (%s, %s, %s)", (isin, day, price)
            )
        for isin, day, kind in (
            ("GR2", "2022-11-29", "Buy"),
            ("GR2", "2022-11-30", "Buy"),
            ("GR1", "2022-11-01", "Sell"),
        ):
            cursor.execute(
                "INSERT INTO transactions (customer_id, isin, transaction_id, transaction_type, traded_on)"
                " VALUES ('C1', %s, %s, %s, %s)",
                (isin, f"{isin} {day}", kind, day),
            )
    store = PostgresWorkerStore(database_url, cluster_id="c", consumer_group="g")
    try:
        market = store.fetch_market(AssetIdMap(("GR1", "GR2")), as_of=AS_OF, days=365)
        nothing = store.fetch_market(AssetIdMap(()), as_of=AS_OF, days=365)
    finally:
        store.close()
    days = [day_number(date(2022, 6, 1)), day_number(date(2022, 11, 28)), day_number(AS_OF)]
    assert market.prices.asset_index.tolist() == [0, 0, 1]
    assert market.prices.day.tolist() == days
    assert market.prices.close.tolist() == [4.0, 3.0, 2.0]
    assert (market.trade_asset.tolist(), market.trade_day.tolist()) == ([1], [day_number(AS_OF)])
    assert len(nothing.prices.day) == len(nothing.trade_day) == 0


@pytest.mark.postgres
def test_a_profile_says_whether_it_is_predicted_and_when_it_was_asked(database_url: str) -> None:
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        for customer_id, level, asked in (
            ("C1", "Predicted_Balanced", "2019-05-01"),
            ("C2", "Balanced", None),
            ("C3", "Balanced", "infinity"),  # Python has no such date
        ):
            cursor.execute(
                "INSERT INTO customer_information (customer_id, risk_level, last_questionnaire_date, recorded_on)"
                " VALUES (%s, %s, %s, '2020-01-01')",
                (customer_id, level, asked),
            )
    store = PostgresWorkerStore(database_url, cluster_id="c", consumer_group="g")
    try:
        with store.begin() as transaction:
            found = {name: one.customer for name, one in transaction.fetch_histories(["C1", "C2", "C3"]).items()}
    finally:
        store.close()
    assert [(one.is_predicted, one.questionnaire_on) for one in found.values()] == [
        (True, date(2019, 5, 1)),
        (False, None),
        (False, None),
    ]


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_decision_names_the_policy_of_its_list(world: WorkerWorld) -> None:
    world.start(policy_file="cautious")
    world.answers([world.ask("C1")])
    [(digest,)] = world.rows("SELECT policy_digest FROM decisions")
    assert digest == named_policy("cautious").digest[:16]
    store = PostgresWorkerStore(world.database_url, cluster_id="c", consumer_group="g")
    try:
        assert store.fetch_decided_customers(days=1) == ["C1"]
    finally:
        store.close()
