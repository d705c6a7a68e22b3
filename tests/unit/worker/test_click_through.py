"""Impressions and clicks of lists are counted by rank and basis: what was stored, once."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.recommender.types import InteractionType
from tests.builders import build_isins
from tests.unit.worker.world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def list_of(world: World, customer_id: str = "C1") -> UUID:
    """Return the request of a list that the customer has; a customer without history gets the segment's prior."""
    world.ask(customer_id)
    world.settle()
    return world.store.tables.lists[customer_id].request_id


def counted(world: World, name: str) -> dict[tuple[str, str], float]:
    """Return the samples of a counter by rank and basis."""
    [metric] = [one for one in world.registry.collect() if one.name == f"recommender_worker_{name}"]
    samples = [sample for sample in metric.samples if sample.name.endswith("_total")]
    return {(sample.labels["rank"], sample.labels["basis"]): sample.value for sample in samples}


def test_impressions_and_clicks_that_name_a_request_are_counted_by_rank_and_basis(world: World) -> None:
    request_id = list_of(world)
    for rank in (1, 2, 50):
        world.click(type="impression", request_id=request_id, rank=rank)
    world.click(request_id=request_id, rank=2)
    world.click(request_id=request_id)
    world.settle()
    prior = "segment_prior"
    assert counted(world, "list_impressions") == {("1", prior): 1, ("2", prior): 1, ("50", prior): 1}
    assert counted(world, "list_clicks") == {("2", prior): 1, ("unknown", prior): 1}


def test_what_names_no_request_and_other_types_are_not_counted(world: World) -> None:
    request_id = list_of(world)
    world.click(type="impression", rank=1)
    world.click(rank=1)
    for kind in InteractionType:
        if kind not in (InteractionType.IMPRESSION, InteractionType.CLICK):
            world.click(type=kind, request_id=request_id, rank=1)
    world.settle()
    assert len(world.store.tables.interactions) == 7
    assert counted(world, "list_impressions") == counted(world, "list_clicks") == {}


def test_a_request_that_is_unknown_or_of_another_customer_has_no_basis(world: World) -> None:
    world.click("C1", request_id=list_of(world, "C2"), rank=3)
    world.click("C1", request_id=uuid4(), rank=3)
    world.settle()
    assert counted(world, "list_clicks") == {("3", "unknown"): 2}
    assert world.reasons == []


@pytest.mark.parametrize("settled_between", [False, True])
def test_an_event_counts_once_however_often_it_is_delivered(world: World, settled_between: bool) -> None:
    request_id, event_id = list_of(world), uuid4()
    for _ in range(3):
        world.click(event_id=event_id, request_id=request_id, rank=1)
        if settled_between:
            world.settle()
    world.settle()
    assert counted(world, "list_clicks") == {("1", "segment_prior"): 1}


def test_only_what_was_committed_is_counted(world: World) -> None:
    request_id = list_of(world)
    world.store.broken_for = {"C5"}
    for customer_id in ("C1", "C5", "C1"):
        world.click(customer_id, request_id=request_id, rank=1)
    world.settle()
    assert len(world.reasons) == 1
    assert counted(world, "list_clicks") == {("1", "segment_prior"): 2}


@pytest.mark.parametrize(
    ("changed", "named"), [({"request_id": uuid4()}, "request_id"), ({"rank": 2}, "rank"), ({"rank": None}, "rank")]
)
def test_another_list_or_rank_under_a_kept_id_is_a_dead_letter(
    world: World, changed: dict[str, Any], named: str
) -> None:
    event_id = uuid4()
    fields: dict[str, Any] = {"request_id": uuid4(), "rank": 1}
    world.click(event_id=event_id, **fields)
    world.click(event_id=event_id, **{**fields, **changed})
    world.settle()
    assert world.reasons == [f"EventIdReused: {event_id} was kept with another {named}"]


def test_an_impression_makes_no_list_stale_and_a_click_does(world: World) -> None:
    first = list_of(world)
    world.click(type="impression", isin=build_isins(1)[0], request_id=first, rank=1)
    world.ask("C1", "request_recs")
    world.settle()
    assert world.store.tables.decisions[world.store.tables.lists["C1"].request_id].answered_from == "stored"
    world.click()
    world.ask("C1", "request_recs")
    world.settle()
    assert world.store.tables.decisions[world.store.tables.lists["C1"].request_id].answered_from == "scored"
