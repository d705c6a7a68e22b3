"""What the gateway reads on a real database of what a customer held when a list was made, and of its prices."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from api.portfolio import Portfolio
from shared.postgres import tables
from shared.recommender.types import RiskLevel
from tests.integration.test_postgres_gateway import add, engine, list_row, read

__all__ = ["engine"]  # a fixture
pytestmark = pytest.mark.postgres
AS_OF, MADE_ON = date(2022, 11, 29), date(2022, 12, 5)
REQUEST = uuid4()


def order(isin: str, kind: str, units: float | None, *, days: int = 0) -> dict[str, Any]:
    trade = {"transaction_id": str(uuid4()), "traded_on": MADE_ON + timedelta(days=days), "units": units}
    return {"customer_id": "C1", "isin": isin, "transaction_type": kind, **trade}


def recorded(isin: str, sequence: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    place = {"event_id": uuid4(), "partition": 0, "event_offset": sequence, "sequence": sequence, "executed_at": now}
    return {**order(isin, "Buy", 1.0), **place, "total_value": 1.0, "content_digest": str(uuid4())}


@pytest.fixture
def world(engine: Engine) -> Engine:
    """A list that knew orders up to number 5 of a customer at level 2, by a model of AS_OF."""
    add(engine, tables.recommendations, {**list_row("C1"), "request_id": REQUEST, "interaction_sequence": 5})
    watermark = {"as_of": AS_OF.isoformat()}
    version = {"version": "v1", "status": "promoted", "triggered_by": "test", "watermark": watermark}
    add(engine, tables.model_versions, version)
    for isin, sector in (("A", "Energy"), ("B", None), ("C", "Banks"), ("L", "Energy")):
        asset = {"isin": isin, "asset_category": "Bond", "sector": sector, "recorded_on": date(2020, 1, 1)}
        add(engine, tables.asset_information, asset)
        for days in (-366, -365, -1, 0, 1):
            price = {"isin": isin, "priced_on": AS_OF + timedelta(days=days), "close_price": 400.0 + days}
            add(engine, tables.close_prices, price)
    orders = [
        *(order("A", "Buy", None), order("B", "Buy", 5.0), order("B", "Sell", 5.0), order("C", "Buy", 5.0)),
        *(order("C", "Sell", 4.0), order("LATER", "Buy", 1.0, days=1), order("C", "Sell", 1.0, days=1)),
    ]
    add(engine, tables.transactions, *orders)
    add(engine, tables.recorded_transactions, recorded("KNOWN", 5), recorded("NEWER", 6))
    return engine


def portfolio(database_url: str, *, request_id: UUID = REQUEST, made_on: date = MADE_ON) -> Portfolio:
    return read(
        database_url,
        lambda reader: reader.fetch_portfolio(
            "C1", ["L", "GONE"], request_id=request_id, model_version="v1", made_on=made_on
        ),
    )


def test_the_portfolio_is_what_the_list_knew(database_url: str, world: Engine) -> None:
    found = portfolio(database_url)

    assert set(found.held) == {"A", "C", "KNOWN"}
    assert set(found.listed) == {"L", "GONE"}
    days = {AS_OF + timedelta(days=days) for days in (-365, -1, 0)}
    assert set(found.held["A"].prices) == days
    assert (found.held["A"].sector, found.held["A"].risk_level) == ("Energy", RiskLevel.INCOME)
    assert (found.listed["GONE"].risk_level, found.listed["GONE"].prices) == (None, {})
    assert (found.origin.as_of, found.origin.sequence) == (AS_OF, 5)


def test_no_later_price_and_no_later_order_changes_a_figure(database_url: str, world: Engine) -> None:
    before = portfolio(database_url).measure()
    with world.begin() as connection:
        connection.execute(text("DELETE FROM close_prices WHERE priced_on > :day"), {"day": AS_OF})
        connection.execute(text("DELETE FROM transactions WHERE traded_on > :day"), {"day": MADE_ON})
        connection.execute(text("DELETE FROM recorded_transactions WHERE sequence > 5"))
    add(world, tables.close_prices, {"isin": "A", "priced_on": AS_OF + timedelta(days=3), "close_price": 1e9})
    assert portfolio(database_url).measure() == before

    with world.begin() as connection:
        connection.execute(text("DELETE FROM close_prices WHERE priced_on = :day"), {"day": AS_OF})
        connection.execute(text("DELETE FROM transactions WHERE isin = 'A'"))
    assert portfolio(database_url).measure() != before


def test_what_is_held_by_all_orders_is_what_the_view_says(database_url: str, world: Engine) -> None:
    with world.begin() as connection:
        held = set(connection.scalars(text("SELECT isin FROM positions WHERE customer_id = 'C1' AND held")))
    # A list that the customer no longer has limits no numbers.
    assert set(portfolio(database_url, request_id=uuid4(), made_on=date(2100, 1, 1)).held) == held
    assert "NEWER" in held
