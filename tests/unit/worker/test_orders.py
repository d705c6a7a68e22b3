"""Executed orders: each has its effect once, in the order of the log, before the requests that follow it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.events import RECOMMENDATIONS_REQUESTED, TRANSACTIONS_RECORDED, RecommendationRequested
from shared.recommender.candidates import candidate_mask
from tests.unit.worker.world import TODAY, World, seen_history
from worker.catalogue import Catalogue


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def listed(world: World, request: RecommendationRequested) -> list[str]:
    return [item.isin for item in world.decision(request).answer.items]


def ask(world: World, action: str = "refresh_recs") -> RecommendationRequested:
    """Request a list of C1 and wait for it."""
    request = world.ask("C1", action)
    world.settle()
    return request


@pytest.mark.parametrize("delayed", [False, True])
def test_an_order_acknowledged_before_the_request_is_in_its_list(world: World, delayed: bool) -> None:
    wanted = listed(world, ask(world))[0]
    scored = seen_history(world)
    partition = (TRANSACTIONS_RECORDED, world.broker.partition_of("C1"))
    if delayed:
        world.broker.delayed.add(partition)
    world.order("C1", wanted)
    request = world.ask("C1")
    world.step(5)
    if delayed:
        assert request.event_id not in world.store.tables.decisions
        world.broker.delayed.clear()
        world.step(3)
    assert wanted not in listed(world, request)
    assert scored[0].owned == (wanted,)


def test_what_was_sold_entirely_is_recommended_again_and_stays_in_the_history(world: World) -> None:
    scored = seen_history(world)
    wanted = listed(world, ask(world))[0]
    world.order("C1", wanted, units=4.0)
    world.order("C1", wanted, type="Sell", units=3.0)
    assert wanted not in listed(world, ask(world))
    world.order("C1", wanted, type="Sell", units=1.0)
    ask(world)
    assert (scored[-1].owned, scored[-1].formerly_held) == ((), (wanted,))
    catalogue = Catalogue(world.store).view(world.model.id_map)
    assert candidate_mask(world.model, scored[-1:], catalogue=catalogue)[0, world.model.id_map.asset_index(wanted)]
    world.order("C1", wanted, units=0.5)
    assert wanted not in listed(world, ask(world))


def test_a_stored_list_is_older_than_an_order(world: World) -> None:
    first = ask(world)
    assert world.decision(ask(world, "request_recs")).answered_from == "stored"
    world.order("C1", listed(world, first)[0])
    assert world.decision(ask(world, "request_recs")).answered_from == "scored"


@pytest.mark.parametrize("settled_between", [False, True])
@pytest.mark.parametrize(
    ("changed", "kept", "letters"),
    [
        ({}, 1, []),  # the same event again
        ({"event_id": None}, 1, []),  # another event about the same order
        ({"units": 11.0}, 1, ["EventIdReused"]),
        ({"customer_id": "C2"}, 1, ["EventIdReused"]),
        ({"event_id": None, "units": 11.0}, 2, []),  # another part of the same transaction
        ({"event_id": None, "executed_at": TODAY + timedelta(seconds=1)}, 2, []),
        ({"event_id": None, "isin": "XX0000000000"}, 1, ["UnknownAsset"]),
    ],
)
def test_an_order_counts_once_for_its_transaction_id_and_content(
    world: World, changed: dict[str, Any], kept: int, letters: list[str], settled_between: bool
) -> None:
    fields: dict[str, Any] = {"customer_id": "C1", "transaction_id": "8061977", "event_id": uuid4()}
    world.order(**fields)
    if settled_between:
        world.settle()
    again = {**fields, **changed}
    world.order(**{**again, "event_id": again["event_id"] or uuid4()})
    world.settle()
    assert len(world.store.tables.transactions) == kept
    assert [reason.partition(":")[0] for reason in world.reasons] == letters
    assert world.metric("messages_total", topic=TRANSACTIONS_RECORDED, outcome="dead_letter") == len(letters)


def test_requests_whose_orders_may_be_lost_wait_for_an_operator(world: World) -> None:
    number = world.broker.partition_of("C1")
    world.order("C1")
    world.settle()
    world.store.tables.offsets[(TRANSACTIONS_RECORDED, number)] = 7
    world.start()
    held = world.ask("C1")
    world.settle()
    assert held.event_id not in world.store.tables.decisions
    assert world.loop._buffer.waiting(RECOMMENDATIONS_REQUESTED) == 0
