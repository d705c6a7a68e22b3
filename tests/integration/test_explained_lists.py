"""What the gateway reads on a real database to explain a list."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from api.ports import AssetFacts, ListFacts, StoredExplanation
from shared.postgres import tables
from tests.integration.test_postgres_gateway import add, engine, read

__all__ = ["engine"]  # a fixture
pytestmark = pytest.mark.postgres
LONG_AGO = date(2020, 1, 1)


def order(isin: str, kind: str = "Buy", customer_id: str = "C1") -> dict[str, Any]:
    trade = {"transaction_id": f"{isin} {kind}", "traded_on": LONG_AGO, "units": 1.0}
    return {"customer_id": customer_id, "isin": isin, "transaction_type": kind, **trade}


def model(version: str, **columns: Any) -> dict[str, Any]:
    return {"version": version, "status": "promoted", "triggered_by": "test", **columns}


def facts_of(database_url: str, version: str = "v1", customer_id: str = "C1") -> ListFacts:
    sectors = {"A": "Energy", "B": None, "NEW": "Banks", "GONE": "Energy"}
    return read(database_url, lambda reader: reader.fetch_list_facts(customer_id, sectors, model_version=version))


def test_facts_of_a_list_are_what_the_customer_bought_and_since_when_assets_are_known(
    database_url: str, engine: Engine
) -> None:
    for isin, sector in (("A", "Energy"), ("B", None), ("NEW", "Banks"), ("E1", "Energy"), ("E2", "Energy")):
        asset = {"isin": isin, "asset_category": "Stock", "sector": sector, "recorded_on": LONG_AGO}
        add(engine, tables.asset_information, asset)
    sold = [order("A"), order("A", "Sell")]
    add(engine, tables.transactions, *sold, order("E1"), order("E2"), order("NEW", customer_id="C2"))
    for isin, day in (("A", date(2019, 5, 2)), ("A", date(2019, 5, 1)), ("NEW", date(2022, 11, 2)), ("B", date.max)):
        add(engine, tables.close_prices, {"isin": isin, "priced_on": day, "close_price": 1.0})
    add(engine, tables.limit_prices, {"isin": "NEW", "min_date": date(2022, 11, 1), "max_date": date(2022, 11, 2)})

    facts = facts_of(database_url)

    assert facts.assets == {
        "A": AssetFacts(2, True, date(2019, 5, 1)),  # not itself
        "B": AssetFacts(),  # no sector is no sector in common
        "NEW": AssetFacts(first_known_on=date(2022, 11, 1)),  # somebody else bought it
        "GONE": AssetFacts(3),
    }


def test_the_rules_of_the_model_of_the_list_count(database_url: str, engine: Engine) -> None:
    rules = {"largest_sector_share": 0.5, "exploration_share": 0.2, "new_asset_days": 9}
    watermark = {"as_of": "2022-11-29"}
    whole = model("v1", watermark=watermark, configuration={"list_rules": rules})
    broken = [
        model("v2", watermark={"as_of": "soon"}, configuration={"list_rules": {"exploration_share": 7}}),
        model("v3", watermark=[], configuration={"list_rules": "none"}),
    ]
    add(engine, tables.model_versions, whole, *broken)

    known = facts_of(database_url)
    assert (known.as_of, known.exploration_share, known.new_asset_days) == (date(2022, 11, 29), 0.2, 9)
    for version in ("v2", "v3", "unknown"):
        facts = facts_of(database_url, version)
        assert (facts.as_of, facts.exploration_share, facts.new_asset_days) == (None, 0.0, 0)


def test_what_was_asked_and_why_are_those_of_the_customers_own_request(database_url: str, engine: Engine) -> None:
    asked, plain = uuid4(), uuid4()
    now = datetime.now(UTC)
    row = {
        **{"requested_at": now, "decided_at": now, "partition": 0, "event_offset": 0, "customer_id": "C1"},
        **{"action": "refresh_recs", "answered_from": "scored", "model_version": "v1", "basis": "history"},
    }
    options, explanation = {"sectors": ["Energy"], "per_sector": 2}, {"state": "listed"}
    add(
        engine,
        tables.decisions,
        {**row, "request_id": asked, "options": options, "explanation": explanation, "is_preview": True},
        {**row, "request_id": plain},
    )

    def found(customer_id: str, request_id: UUID) -> tuple[Any, Any]:
        return (
            read(database_url, lambda reader: reader.fetch_list_options(customer_id, request_id)),
            read(database_url, lambda reader: reader.fetch_explanation(customer_id, request_id)),
        )

    assert found("C1", asked) == (options, StoredExplanation(explanation, "v1", "history"))
    assert found("C2", asked) == found("C1", plain) == found("C1", uuid4()) == ({}, None)
