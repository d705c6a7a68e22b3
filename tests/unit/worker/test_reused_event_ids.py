"""An event_id names one event: a repetition has no effect, another event under it is a dead letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.events import RequestedWeights
from tests.builders import build_isins
from tests.unit.worker.world import World

ANOTHER = build_isins(2)[1]
SETTLED_BETWEEN = pytest.mark.parametrize("settled_between", [False, True])


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def between(world: World, settled_between: bool) -> None:
    """The second event comes in the same batch as the first, or in a later one."""
    if settled_between:
        world.settle()


@SETTLED_BETWEEN
@pytest.mark.parametrize(
    ("changed", "named"),
    [({"customer_id": "C2"}, "customer_id"), ({"type": "dismiss"}, "type"), ({"isin": ANOTHER}, "isin")],
)
@pytest.mark.parametrize("fingerprints", [(None, None), ("a", None), (None, "a"), ("a", "a")])
def test_another_interaction_under_a_kept_id_is_a_dead_letter(
    world: World, changed: dict[str, Any], named: str, fingerprints: tuple[str | None, ...], settled_between: bool
) -> None:
    event_id = uuid4()
    world.click("C1", event_id=event_id, fingerprint=fingerprints[0])
    between(world, settled_between)
    world.click(**{"customer_id": "C1", "event_id": event_id, "fingerprint": fingerprints[1], **changed})
    world.settle()
    assert len(world.store.tables.interactions) == 1
    assert world.reasons == [f"EventIdReused: {event_id} was kept with another {named}"]


@SETTLED_BETWEEN
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"customer_id": "C2"}, "customer_id"),
        ({"action": "request_recs"}, "action"),
        ({"weights": RequestedWeights(content=1.0)}, "content"),
    ],
)
def test_another_request_under_a_kept_id_is_a_dead_letter(
    world: World, changed: dict[str, Any], named: str, settled_between: bool
) -> None:
    first = world.ask("C1")
    between(world, settled_between)
    world.ask(**{"customer_id": "C1", "event_id": first.event_id, **changed})
    world.settle()
    assert world.decision(first).customer_id == "C1"
    assert len(world.store.tables.decisions) == 1
    assert world.reasons == [f"EventIdReused: {first.event_id} was kept with another {named}"]


@SETTLED_BETWEEN
@pytest.mark.parametrize("fingerprints", [(None, None), ("a", "a"), ("a", None), (None, "a")])
def test_a_repetition_has_no_effect_and_is_no_dead_letter(
    world: World, fingerprints: tuple[str | None, ...], settled_between: bool
) -> None:
    event_id = uuid4()
    for fingerprint in fingerprints:
        world.click("C1", event_id=event_id, fingerprint=fingerprint)
        world.ask("C1", event_id=event_id, fingerprint=fingerprint, weights=RequestedWeights(content=0.5))
        between(world, settled_between)
    world.settle()
    assert (len(world.store.tables.interactions), len(world.store.tables.decisions)) == (1, 1)
    assert world.reasons == []


def test_an_interaction_and_a_request_may_share_an_id(world: World) -> None:
    event_id = uuid4()
    world.click("C1", event_id=event_id)
    world.ask("C2", event_id=event_id)
    world.settle()
    assert (len(world.store.tables.interactions), len(world.store.tables.decisions)) == (1, 1)
    assert world.reasons == []


def test_a_decision_of_an_older_version_is_compared_by_what_it_kept(world: World) -> None:
    first = world.ask("C1", weights=RequestedWeights(content=1.0))
    world.settle()
    forget_digest(world, first.event_id)
    world.ask("C1", event_id=first.event_id)
    world.ask("C1", "request_recs", event_id=first.event_id)
    world.settle()
    assert world.reasons == [f"EventIdReused: {first.event_id} was kept with another action"]


def test_a_message_that_broke_the_contract_does_not_take_the_id(world: World) -> None:
    event_id = uuid4()
    world.click("C1", "NOSUCHASSET", event_id=event_id)
    world.click("C1", event_id=event_id)
    world.settle()
    assert len(world.store.tables.interactions) == 1
    assert [reason.partition(":")[0] for reason in world.reasons] == ["UnknownAsset"]


def forget_digest(world: World, request_id: UUID) -> None:
    kept = world.store.tables.decisions[request_id]
    world.store.tables.decisions[request_id] = replace(kept, content_digest=None)
