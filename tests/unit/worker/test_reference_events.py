"""Customers, assets and prices that arrive as events: each once, a profile before the requests that follow it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.events import (
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    EVENTS_OF_TOPIC,
    RECOMMENDATIONS_REQUESTED,
    REFERENCE_TOPICS,
    SUSPENSIONS_CHANGED,
    RecommendationRequested,
)
from shared.ports import Message
from shared.recommender.types import InvestmentCapacity, RiskLevel
from tests.unit.worker.world import TODAY, World, seen_history

SEND: dict[str, Callable[..., Message]] = {
    CUSTOMERS_CHANGED: World.change_customer,
    ASSETS_CHANGED: World.change_asset,
    CLOSE_PRICES_RECORDED: World.price,
    SUSPENSIONS_CHANGED: World.suspend,
}
OTHER_CONTENT = {
    CUSTOMERS_CHANGED: "customer_type",
    ASSETS_CHANGED: "sector",
    CLOSE_PRICES_RECORDED: "currency",
    SUSPENSIONS_CHANGED: "reason",
}
OTHER_KEY = {
    CUSTOMERS_CHANGED: "C2",
    ASSETS_CHANGED: "XX0000000001",
    CLOSE_PRICES_RECORDED: "XX0000000001",
    SUSPENSIONS_CHANGED: "XX0000000001",
}


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def ask(world: World, action: Any = "refresh_recs") -> RecommendationRequested:
    """Request a list of C1 and wait for it."""
    request = world.ask("C1", action)
    world.settle()
    return request


@pytest.mark.parametrize("delayed", [False, True])
def test_a_profile_acknowledged_before_the_request_decides_what_is_suitable(world: World, delayed: bool) -> None:
    levels = dict(zip(world.model.id_map.isins, world.model.asset_risk_level.tolist(), strict=True))
    for isin, level in levels.items():
        category, sub_category = {1: ("MTF", "Money Market"), 2: ("Bond", None)}.get(level, ("Stock", None))
        world.change_asset(isin, asset_category=category, asset_sub_category=sub_category)
    world.settle()
    before = [levels[item.isin] for item in world.decision(ask(world)).answer.items]
    assert max(before) > RiskLevel.CONSERVATIVE
    scored = seen_history(world)
    partition = (CUSTOMERS_CHANGED, world.broker.partition_of("C1"))
    if delayed:
        world.broker.delayed.add(partition)
    world.change_customer("C1", investment_capacity="CAP_LT30K")
    request = world.ask("C1")
    world.step(5)
    if delayed:
        assert request.event_id not in world.store.tables.decisions
        world.broker.delayed.clear()
        world.step(3)
    items = world.decision(request).answer.items
    assert items
    assert {levels[item.isin] for item in items} == {RiskLevel.CONSERVATIVE}
    assert world.decision(request).risk_level == RiskLevel.CONSERVATIVE
    assert scored[-1].customer.investment_capacity == InvestmentCapacity.LESS_THAN_30K


@pytest.mark.parametrize("topic", [ASSETS_CHANGED, CLOSE_PRICES_RECORDED])
def test_a_request_waits_for_no_asset_and_no_price(world: World, topic: str) -> None:
    for number in range(world.broker.partitions):
        world.broker.delayed.add((topic, number))
    SEND[topic](world)
    request = world.ask("C1")
    world.step(5)
    assert request.event_id in world.store.tables.decisions


def test_a_stored_list_is_older_than_a_change_of_its_customer_or_of_an_asset_and_not_than_a_price(
    world: World,
) -> None:
    ask(world)
    for change, answered_from in (
        (lambda: world.price(), "stored"),
        (lambda: world.change_customer("C2"), "stored"),
        (lambda: world.change_customer("C1"), "scored"),
        (lambda: world.change_asset(), "scored"),
        (lambda: world.suspend(), "scored"),
        (lambda: None, "stored"),
    ):
        change()
        world.settle()
        assert world.decision(ask(world, "request_recs")).answered_from == answered_from


@pytest.mark.parametrize("settled_between", [False, True])
@pytest.mark.parametrize("topic", REFERENCE_TOPICS)
@pytest.mark.parametrize("changed", ["nothing", "content", "key"])
def test_an_event_counts_once_for_its_id(world: World, topic: str, changed: str, settled_between: bool) -> None:
    event_id = uuid4()
    SEND[topic](world, event_id=event_id)
    if settled_between:
        world.settle()
    key = (OTHER_KEY[topic],) if changed == "key" else ()
    content = {OTHER_CONTENT[topic]: "EUR"} if changed == "content" else {}
    SEND[topic](world, *key, event_id=event_id, **content)
    SEND[topic](world)
    world.settle()
    letters = [] if changed == "nothing" else ["EventIdReused"]
    assert [reason.partition(":")[0] for reason in world.reasons] == letters
    assert len(world.store.tables.events_of(topic)) == 2
    assert world.metric("messages_total", topic=topic, outcome="dead_letter") == len(letters)
    assert world.metric("messages_total", topic=topic, outcome="stored") == 3 - len(letters)


@pytest.mark.parametrize("topic", REFERENCE_TOPICS)
@pytest.mark.parametrize("value", [None, b"", b"{}", b'{"event_type":"AssetDeleted"}'])
def test_a_tombstone_and_anything_else_that_is_no_event_is_a_dead_letter(
    world: World, topic: str, value: bytes | None
) -> None:
    world.broker.append(topic, 0, key=b"C1", value=value)
    SEND[topic](world)
    world.settle()
    assert len(world.reasons) == len(world.store.tables.events_of(topic)) == 1


@pytest.mark.parametrize("topic", REFERENCE_TOPICS)
def test_an_event_under_another_key_is_a_dead_letter(world: World, topic: str) -> None:
    message = SEND[topic](world)
    world.broker.append(topic, message.partition, key=b"other", value=message.value)
    world.broker.append(topic, message.partition, key=None, value=message.value)
    world.settle()
    field = EVENTS_OF_TOPIC[topic][0].key_field
    assert world.reasons == [f"ContractViolation: the key is not the {field}"] * 2


@pytest.mark.parametrize("topic", REFERENCE_TOPICS)
def test_an_event_that_fails_alone_is_a_dead_letter_and_the_others_have_their_effect(world: World, topic: str) -> None:
    bad, good = ("C1", "C2") if topic == CUSTOMERS_CHANGED else world.model.id_map.isins[:2]
    world.store.broken_for.add(bad)
    SEND[topic](world, bad)
    SEND[topic](world, good)
    request = world.ask("C3")
    world.settle()
    assert [reason.partition(":")[0] for reason in world.reasons] == ["ValueError"]
    assert len(world.store.tables.events_of(topic)) == 1
    assert request.event_id in world.store.tables.decisions


def test_the_later_day_counts_and_of_one_day_the_later_message(world: World) -> None:
    yesterday = TODAY.date() - timedelta(days=1)
    world.change_customer("C1", risk_level="Aggressive")
    world.change_customer("C1", risk_level="Income")
    world.change_customer("C1", risk_level="Balanced", changed_on=yesterday)
    world.settle()
    assert world.store.tables.customer("C1").risk_level == RiskLevel.INCOME
    assert world.decision(ask(world)).risk_level == RiskLevel.INCOME


def test_an_interaction_and_an_order_know_an_asset_of_their_own_batch(world: World) -> None:
    world.order("C1", "NEW1")
    world.click("C2", "NEW1")
    world.change_asset("NEW1")
    world.settle()
    assert world.reasons == []
    assert (len(world.store.tables.transactions), len(world.store.tables.interactions)) == (1, 1)


def test_many_prices_make_the_catalogue_be_read_once_a_check(world: World) -> None:
    world.settle()
    reads = world.store.display_reads
    for _ in range(20):
        for _ in range(30):
            world.price()
        world.step(seconds=0.01)
    world.step(120, seconds=0.005)
    assert len(world.store.tables.events_of(CLOSE_PRICES_RECORDED)) == 600
    assert world.store.display_reads - reads <= 1


def test_a_request_is_answered_within_two_batches_of_a_flood_of_prices(world: World) -> None:
    for _ in range(300):
        world.price()
    request = world.ask("C1")
    world.step(3)
    assert request.event_id in world.store.tables.decisions
    assert len(world.store.tables.events_of(CLOSE_PRICES_RECORDED)) <= 30
    world.step(70)
    assert len(world.store.tables.events_of(CLOSE_PRICES_RECORDED)) == 300


def test_a_new_price_is_shown_in_the_next_list(world: World) -> None:
    isin = world.decision(ask(world)).answer.items[0].isin
    world.price(isin, close_price=12.25)
    world.settle()
    items = {item.isin: item for item in world.decision(ask(world)).answer.items}
    assert items[isin].current_price == 12.25


def test_requests_whose_profiles_may_be_lost_wait_for_an_operator(world: World) -> None:
    number = world.broker.partition_of("C1")
    world.change_customer("C1")
    world.settle()
    world.store.tables.offsets[(CUSTOMERS_CHANGED, number)] = 7
    world.start()
    held = world.ask("C1")
    world.settle()
    assert held.event_id not in world.store.tables.decisions
    assert world.loop._buffer.waiting(RECOMMENDATIONS_REQUESTED) == 0
