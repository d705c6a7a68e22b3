"""Requests with options: what is scored for them, what a stored list can answer, and previews."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.errors import ContractViolation
from shared.events import RECOMMENDATIONS_REQUESTED, RecommendationRequested, RequestedWeights, decode, encode
from shared.recommender.model import Model
from shared.recommender.pipeline import TopAssets, rank_assets
from shared.recommender.types import CustomerHistory, ListOptions
from shared.requested_options import RequestedLimits
from tests.fakes_store import display_of
from tests.unit.worker.world import World

OPTIONS: list[dict[str, Any]] = [
    {"k": 5},
    {"categories": ("Stock",)},
    {"sectors": ("Technology",)},
    {"exclude": ("GRS000000001",)},
    {"limits": RequestedLimits(per_sector=2)},
    {"limits": RequestedLimits(per_category=2)},
    {"weights": RequestedWeights(content=1.0)},
]


@pytest.fixture
def world() -> World:
    """A worker with a model, and a catalogue of two sectors and two categories."""
    world = World()
    for number, isin in enumerate(world.model.id_map.isins):
        sector, category = ("Technology", "Energy", None)[number % 3], ("Stock", "Bond")[number % 2]
        world.store.tables.displays[isin] = display_of(isin, sector=sector, assetcategory=category)
    world.publish_model()
    world.step()
    return world


def items_of(world: World, event: RecommendationRequested) -> list[Any]:
    return list(world.decision(event).answer.items)


def test_requests_of_one_batch_get_each_what_they_asked(world: World) -> None:
    plain = world.ask("C1")
    short = world.ask("C1", k=3)
    technology = world.ask("C1", sectors=("Technology",), categories=("Stock",), k=50)
    limited = world.ask("C1", limits=RequestedLimits(per_sector=1, per_category=2), k=50)
    world.settle()
    first = items_of(world, plain)
    without = world.ask("C2", exclude=(first[0].isin,))
    world.settle()
    assert len(first) == 10
    assert [item.isin for item in items_of(world, short)] == [item.isin for item in first[:3]]
    found = items_of(world, technology)
    assert {(item.sector, item.assetcategory) for item in found} == {("Technology", "Stock")}
    assert 1 < len(found) < 50
    sectors = [item.sector for item in items_of(world, limited) if item.sector]
    categories = [item.assetcategory for item in items_of(world, limited)]
    assert len(sectors) == len(set(sectors))
    assert max(categories.count(name) for name in categories) == 2
    assert first[0].isin not in {item.isin for item in items_of(world, without)}


def test_a_decision_keeps_k_and_options(world: World) -> None:
    plain = world.ask("C1")
    asked = world.ask("C1", k=7, sectors=("Energy",), limits=RequestedLimits(per_category=3))
    world.settle()
    answer = world.decision(plain).answer
    assert (answer.k, answer.options) == (10, ListOptions())
    answer = world.decision(asked).answer
    assert (answer.k, answer.options) == (7, ListOptions(sectors=("Energy",), per_category=3))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_list_answers_requests_with_its_own_options_alone(world: World, options: dict[str, Any]) -> None:
    world.ask("C1", **options)
    world.settle()
    same = world.ask("C1", "request_recs", **options)
    world.settle()
    other = world.ask("C1", "request_recs")
    world.settle()
    back = world.ask("C1", "request_recs", **options)
    world.settle()
    found = [world.decision(event).answered_from for event in (same, other, back)]
    assert found == ["stored", "scored", "scored"]


def test_a_request_for_as_many_as_the_worker_gives_is_the_same_request(world: World) -> None:
    world.ask("C1")
    world.settle()
    same = world.ask("C1", "request_recs", k=10)
    world.settle()
    assert world.decision(same).answered_from == "stored"


def test_a_list_of_an_older_worker_does_not_answer(world: World) -> None:
    world.ask("C1")
    world.settle()
    stored = world.store.tables.lists["C1"]
    world.store.tables.lists["C1"] = replace(stored, answer=replace(stored.answer, k=None))
    again = world.ask("C1", "request_recs")
    world.settle()
    assert world.decision(again).answered_from == "scored"


def test_a_preview_is_scored_and_neither_replaces_nor_renames_the_list(world: World) -> None:
    world.ask("C1")
    world.settle()
    before = world.store.tables.lists["C1"]
    same = world.ask("C1", "request_recs", save=False)
    other = world.ask("C1", "request_recs", save=False, weights=RequestedWeights(content=1.0))
    after = world.ask("C1", "request_recs")
    world.settle()
    for preview in (same, other):
        assert (world.decision(preview).answered_from, world.decision(preview).is_preview) == ("scored", True)
    # The list of before still answers, although previews came in between.
    assert world.decision(after).answered_from == "stored"
    assert world.store.tables.lists["C1"] == replace(before, request_id=after.event_id)


def test_a_customer_whose_first_request_is_a_preview_has_no_list(world: World) -> None:
    preview = world.ask("C1", save=False)
    world.settle()
    assert world.decision(preview).answer.items
    assert "C1" not in world.store.tables.lists


def test_a_preview_and_a_request_with_the_same_question_are_scored_once(world: World) -> None:
    calls: list[int] = []

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        calls.append(len(histories))
        return rank_assets(model, histories, **options)

    world.scorer = scorer
    world.ask("C1", k=5)
    world.ask("C1", k=5, save=False)
    world.ask("C1", k=6)
    world.settle()
    assert calls == [2]


WRONG: dict[str, list[Any]] = {
    "k": [0, 51, -1, 10.5, "10", True, 10**30, []],
    **{key: [[], "x", [3], [""], ["a\x00b"], {"a": 1}, ["x" * 201]] for key in ("categories", "sectors", "exclude")},
    "limits": [{}, {"per_sector": 0}, {"per_sector": 51}, {"per_category": 1.5}, {"x": 1}, 3],
    "save": ["false", 0.5, [], "yes"],
}
TOO_MANY = {"categories": 31, "sectors": 31, "exclude": 201}


@pytest.mark.parametrize(
    "fields",
    [
        *({name: value} for name, values in WRONG.items() for value in values),
        *({name: [f"G{number}" for number in range(count)]} for name, count in TOO_MANY.items()),
    ],
)
def test_options_that_no_gateway_lets_through_are_a_dead_letter(fields: dict[str, Any]) -> None:
    event = RecommendationRequested(customer_id="C1", action="refresh_recs")
    value = json.dumps({**json.loads(encode(event)), **fields}).encode()
    with pytest.raises(ContractViolation, match=next(iter(fields))):
        decode(RECOMMENDATIONS_REQUESTED, value)
