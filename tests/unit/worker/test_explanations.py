"""A preview that asks why: its decision has the explanation of one asset, by the list that the worker would make."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.events import RequestedWeights
from shared.recommender.pipeline import rank_assets
from tests.unit.worker.world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def explained(world: World, isin: str, **fields: Any) -> Any:
    asked = world.ask("C1", save=False, why=isin, **fields)
    world.settle()
    decision = world.decision(asked)
    assert decision.is_preview
    assert decision.explanation is not None
    return json.loads(decision.explanation), decision


def test_an_asset_of_the_list_is_explained_by_its_place_and_the_numbers_of_the_list(world: World) -> None:
    listed = world.ask("C1")
    world.settle()
    for item in world.decision(listed).answer.items:
        content, decision = explained(world, item.isin)
        assert content["state"] == "listed"
        assert content["candidate"]["place"] == item.rank
        assert content["candidate"]["score"] == item.score
        assert content["candidate"]["components"] == item.components.model_dump()
        assert [one.isin for one in decision.answer.items] == [one.isin for one in world.decision(listed).answer.items]


def test_weights_and_options_of_the_question_count(world: World) -> None:
    plain = world.ask("C1", weights=RequestedWeights(content=1.0), k=3)
    world.settle()
    first = world.decision(plain).answer.items[0].isin
    content, _ = explained(world, first, weights=RequestedWeights(content=1.0), k=3, exclude=(first,))
    assert (content["state"], content["last"]["place"]) == ("refused", 3)
    assert [one["rule"] for one in content["refusals"]] == ["option_exclude"]


def test_a_click_counts_and_an_asset_that_is_held_is_refused(world: World) -> None:
    isin = world.model.id_map.isins[0]
    world.store.tables.owned = {"C1": {isin}}
    content, _ = explained(world, isin)
    assert (content["state"], content["candidate"]) == ("refused", None)
    assert "held" in [one["rule"] for one in content["refusals"]]


def test_other_requests_have_no_explanation(world: World) -> None:
    for asked in (world.ask("C1"), world.ask("C2", save=False)):
        world.settle()
        assert world.decision(asked).explanation is None


def test_a_scorer_with_a_bug_stops_no_other_request(world: World) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    world.scorer = broken
    asked = world.ask("C1", save=False, why=world.model.id_map.isins[0])
    world.settle()
    world.scorer = rank_assets
    later = world.ask("C2")
    world.settle()
    assert world.decision(later).answer.items
    assert asked.event_id not in world.store.tables.decisions
    assert world.reasons
