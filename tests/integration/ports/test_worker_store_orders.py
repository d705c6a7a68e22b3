"""The WorkerStore: executed orders, each once, and what is held after them."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.events import content_digest
from shared.ports import KeptEvent
from tests.integration.ports.store_world import (
    NOW,
    StoreWorld,
    click,
    decide,
    decision,
    keep,
    keep_orders,
    order,
)


def positions(database: StoreWorld, customer_id: str = "C1") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is held and what was held."""
    with database.store.begin() as transaction:
        history = transaction.fetch_histories([customer_id])[customer_id]
    return history.owned, history.formerly_held


def test_an_order_is_kept_once_for_its_id_and_once_for_its_content(database: StoreWorld) -> None:
    first = order(fingerprint="a")
    same_content = order(event_id=uuid4(), fingerprint="b")
    other_content = order(units=11.0, event_id=first[1].event_id)
    part = order(units=11.0)
    assert keep_orders(database.store, first, first) == {first[1].event_id}
    assert keep_orders(database.store, first, same_content, other_content) == frozenset()
    assert keep_orders(database.store, part) == {part[1].event_id}
    with database.store.begin() as transaction:
        found = transaction.fetch_kept_transactions([first[1].event_id, same_content[1].event_id])
    kept = KeptEvent({"customer_id": "C1", "isin": "GR1"}, "a", content_digest(first[1]))
    assert found == {first[1].event_id: kept}


@pytest.mark.parametrize(
    ("orders", "held"),
    [
        ([("Buy", 3.0)], True),
        ([("Buy", 3.0), ("Sell", 2.0)], True),
        ([("Buy", 3.0), ("Sell", 3.0)], False),
        ([("Buy", 0.1), ("Buy", 0.2), ("Sell", 0.3)], False),  # 0.1 + 0.2 is not 0.3
        ([("Buy", 1e12), ("Buy", 1e-3), ("Sell", 1e12)], False),
        ([("Buy", 3.0), ("Sell", 5.0)], False),
        ([("Buy", 3.0), ("Sell", 5.0), ("Buy", 1.0)], True),  # what was sold beyond is no debt
        ([("Sell", 5.0), ("Buy", 5.0)], True),
        ([("Buy", 1e-9)], True),
        ([("Buy", 1e12), ("Sell", 1e12), ("Buy", 1.0)], False),  # less than a billionth of what was bought
        ([("Buy", 1e6), ("Sell", 1e6), ("Buy", 1.0)], True),
    ],
)
def test_held_is_what_was_bought_less_what_was_sold_in_the_order_of_the_log(
    database: StoreWorld, orders: list[tuple[str, float]], held: bool
) -> None:
    rows = [order(type=kind, units=units, offset=offset) for offset, (kind, units) in enumerate(orders)]
    keep_orders(database.store, *rows)
    assert positions(database) == ((("GR1",), ()) if held else ((), ("GR1",)))
    assert positions(database, "C2") == ((), ())


def test_what_was_never_bought_was_never_held(database: StoreWorld) -> None:
    keep_orders(database.store, order(type="Sell"))
    assert positions(database) == ((), ())


def test_a_sale_closes_a_purchase_of_unknown_units(database: StoreWorld) -> None:
    for isin in ("GR1", "GR2", "GR3"):
        database.add_buy("C1", isin, "Buy")
    keep_orders(database.store, order("GR1", type="Sell", units=1.0), order("GR2", type="Sell", offset=1))
    keep_orders(database.store, order("GR2", offset=2))
    assert positions(database) == (("GR2", "GR3"), ("GR1",))


def test_orders_of_different_days_count_by_their_day(database: StoreWorld) -> None:
    late = order(type="Sell", executed_at=NOW - timedelta(days=1))
    early = order(executed_at=NOW - timedelta(days=2), offset=1)
    keep_orders(database.store, late, early)
    assert positions(database) == ((), ("GR1",))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    orders=st.lists(
        st.tuples(st.sampled_from(["Buy", "Sell"]), st.sampled_from([1.0, 2.0, 0.1, 0.3]), st.integers(0, 2)),
        max_size=8,
    )
)
def test_a_position_is_a_sum_that_is_never_below_zero(
    database: StoreWorld, orders: list[tuple[str, float, int]]
) -> None:
    customer_id = f"C{uuid4().hex[:8]}"
    rows = [
        order(type=kind, units=units, offset=offset, customer_id=customer_id, executed_at=NOW - timedelta(days=days))
        for offset, (kind, units, days) in enumerate(orders)
    ]
    keep_orders(database.store, *rows)
    balance = bought = 0.0
    for kind, units, _ in sorted(orders, key=lambda one: -one[2]):
        balance = balance + units if kind == "Buy" else max(0.0, balance - units)
        bought += units if kind == "Buy" else 0.0
    held, formerly_held = positions(database, customer_id)
    assert bool(held) == (balance > 1e-9 * bought)
    assert bool(held or formerly_held) == (bought > 0)


def test_a_list_is_older_than_an_order_and_interactions_and_orders_have_one_order(database: StoreWorld) -> None:
    def is_fresh() -> bool:
        with database.store.begin() as transaction:
            return "C1" in transaction.fetch_fresh_lists(["C1"])

    keep(database.store, click())
    keep_orders(database.store, order(), order(customer_id="C2", offset=1))
    decide(database.store, decision())
    assert is_fresh()
    keep_orders(database.store, order(offset=2))
    assert not is_fresh()
    decide(database.store, decision())
    assert is_fresh()
    keep(database.store, click(offset=1))
    assert not is_fresh()
