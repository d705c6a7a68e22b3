"""The WorkerStore: customers, assets and prices that arrive as events, each once, and what is current after them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.events import (
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    REFERENCE_TOPICS,
    SUSPENSIONS_CHANGED,
    AssetChanged,
    ClosePriceRecorded,
    CustomerChanged,
    Event,
    SuspensionChanged,
    content_digest,
)
from shared.ports import KeptEvent, Message
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel
from tests.integration.ports.store_world import NOW, StoreWorld, decide, decision, message
from worker.ports import Suspensions

DAY = NOW.date()
YESTERDAY = DAY - timedelta(days=1)


def build(topic: str, **fields: Any) -> Event:
    """Build an event of a topic about C1 or GR1."""
    known: dict[str, Any]
    if topic == CUSTOMERS_CHANGED:
        return CustomerChanged(**{"customer_id": "C1", "risk_level": "Income", "changed_on": DAY, **fields})
    if topic == ASSETS_CHANGED:
        return AssetChanged(**{"isin": "GR1", "asset_category": "Bond", "changed_on": DAY, **fields})
    if topic == SUSPENSIONS_CHANGED:
        known = {"kind": "asset", "subject": "GR1", "suspended": True, "reason": "a test"}
        return SuspensionChanged(**{**known, **fields})
    return ClosePriceRecorded(**{"isin": "GR1", "priced_on": DAY, "close_price": 2.5, **fields})


def record(database: StoreWorld, topic: str, *events: Event) -> frozenset[UUID]:
    rows: list[tuple[Message, Event]] = [(message((topic, 0), number), event) for number, event in enumerate(events)]
    with database.store.begin() as transaction:
        return transaction.insert_reference_events(topic, rows)


def customer(database: StoreWorld, customer_id: str = "C1") -> Customer:
    with database.store.begin() as transaction:
        return transaction.fetch_histories([customer_id])[customer_id].customer


@pytest.mark.parametrize("topic", REFERENCE_TOPICS)
def test_an_event_is_kept_once_for_its_id(database: StoreWorld, topic: str) -> None:
    first = build(topic, fingerprint="a")
    same_content = build(topic)
    assert record(database, topic, first, first) == {first.event_id}
    assert record(database, topic, first, same_content) == {same_content.event_id}
    assert record(database, topic) == frozenset()
    with database.store.begin() as transaction:
        found = transaction.fetch_kept_reference_events(topic, [first.event_id, uuid4()])
    key = {str(first.key_field): (first.key() or b"").decode()}
    assert found == {first.event_id: KeptEvent(key, "a", content_digest(first))}


def test_the_newest_day_counts_whatever_its_origin_and_then_the_log(database: StoreWorld) -> None:
    database.add_customer("C1", "Aggressive", "CAP_30K_80K", str(YESTERDAY))
    levels = ("Balanced", "Conservative")
    record(database, CUSTOMERS_CHANGED, *(build(CUSTOMERS_CHANGED, risk_level=level) for level in levels))
    record(database, CUSTOMERS_CHANGED, build(CUSTOMERS_CHANGED, risk_level="Income", changed_on=YESTERDAY))
    assert customer(database) == Customer("C1", RiskLevel.CONSERVATIVE)
    record(database, CUSTOMERS_CHANGED, build(CUSTOMERS_CHANGED, investment_capacity="CAP_LT30K"))
    assert customer(database) == Customer("C1", RiskLevel.INCOME, InvestmentCapacity.LESS_THAN_30K)
    assert customer(database, "C2") == Customer("C2")


def test_an_event_makes_an_asset_known_and_its_price_is_shown(database: StoreWorld) -> None:
    database.add_asset("GR1")
    record(database, CLOSE_PRICES_RECORDED, build(CLOSE_PRICES_RECORDED, isin="GR2"))
    assert set(database.store.fetch_asset_displays()) == {"GR1"}
    record(database, ASSETS_CHANGED, build(ASSETS_CHANGED, isin="GR2", asset_short_name="Two", sector="Energy"))
    record(database, ASSETS_CHANGED, build(ASSETS_CHANGED, asset_name="One", asset_sub_category="Government"))
    prices = ((YESTERDAY, 1.0), (DAY, 3.0), (DAY, 7.0))
    events = (build(CLOSE_PRICES_RECORDED, priced_on=day, close_price=price) for day, price in prices)
    record(database, CLOSE_PRICES_RECORDED, *events)
    displays = database.store.fetch_asset_displays()
    assert (displays["GR1"].assetname, displays["GR1"].asset_sub_category) == ("One", "Government")
    assert (displays["GR1"].current_price, displays["GR1"].profitability) == (7.0, 0.160494)
    assert (displays["GR2"].assetname, displays["GR2"].sector, displays["GR2"].current_price) == ("Two", "Energy", 2.5)


def test_the_last_event_about_a_subject_says_whether_it_is_suspended(database: StoreWorld) -> None:
    for kind, subject, suspended in (
        ("asset", "GR1", True),
        ("asset", "GR2", True),
        ("asset", "GR2", False),
        ("category", "Bond", True),
        ("model", "Bond", True),
        ("model", "Bond", False),
    ):
        fields = {"kind": kind, "subject": subject, "suspended": suspended}
        record(database, SUSPENSIONS_CHANGED, build(SUSPENSIONS_CHANGED, **fields))
    assert database.store.fetch_suspensions() == Suspensions(frozenset({"GR1"}), frozenset({"Bond"}))


def test_an_asset_of_the_same_transaction_is_found(database: StoreWorld) -> None:
    with database.store.begin() as transaction:
        transaction.insert_reference_events(ASSETS_CHANGED, [(message(), build(ASSETS_CHANGED))])
        assert transaction.find_recorded_isins(["GR1", "GR2"]) == {"GR1"}
        assert transaction.find_recorded_isins([]) == frozenset()


def test_each_change_makes_old_only_what_depends_on_it(database: StoreWorld) -> None:
    def state() -> tuple[bool, str, str]:
        with database.store.begin() as transaction:
            is_fresh = "C1" in transaction.fetch_fresh_lists(["C1"])
        return is_fresh, database.store.fetch_snapshots(), database.store.fetch_catalogue_version()

    database.load_transactions()
    for topic, changed in (
        (CUSTOMERS_CHANGED, (True, False, False)),
        (ASSETS_CHANGED, (True, True, True)),
        (CLOSE_PRICES_RECORDED, (False, False, True)),
        (SUSPENSIONS_CHANGED, (True, True, True)),
    ):
        decide(database.store, decision())
        before = state()
        assert before[0]
        event = build(topic)
        record(database, topic, event)
        after = state()
        assert tuple(one != other for one, other in zip(before, after, strict=True)) == changed
        record(database, topic, event)
        assert state() == after  # a repetition changes nothing
    decide(database.store, decision())
    record(database, CUSTOMERS_CHANGED, build(CUSTOMERS_CHANGED, customer_id="C2"))
    assert state()[0]
