"""Which request is answered from which list, with which weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from shared.events import RequestedWeights
from shared.recommender.model import Model
from shared.recommender.pipeline import TopAssets, rank_assets
from shared.recommender.types import CustomerHistory, RiskLevel, Weights
from tests.builders import build_customer, build_model
from tests.unit.worker.world import CUSTOMERS, World

CONTENT_ONLY = RequestedWeights(content=5.0)


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def test_weights_of_the_request_come_before_the_settings_and_those_before_the_model(world: World) -> None:
    plain = world.ask("C1")
    world.settle()
    world.weights = Weights(0, 1, 1)
    set_here, asked = world.ask("C1"), world.ask("C1", weights=CONTENT_ONLY)
    world.settle()
    assert world.decision(plain).answer.weights == world.model.configuration.weights.normalised()
    assert world.decision(set_here).answer.weights == Weights(0, 0.5, 0.5)
    assert world.decision(asked).answer.weights == Weights(0, 1, 0)
    components = [item.components for item in world.decision(asked).answer.items]
    assert all(one.collaborative == one.profitability == 0 for one in components)


def test_a_preset_has_the_weights_that_the_model_measured_for_it(world: World) -> None:
    presets = {"return": {"collaborative": 0.0, "content": 0.5, "profitability": 0.5}}
    world.publish_model(build_model(seed=8, assets=30, metadata={"metrics": {"frontier": {"presets": presets}}}))
    world.step()
    measured, missing = world.ask("C1", preset="return"), world.ask("C2", preset="popular")
    world.settle()
    assert world.decision(measured).answer.weights == Weights(0, 0.5, 0.5)
    assert world.decision(missing).answer.weights == world.model.configuration.weights.normalised()


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        [],
        None,
        {"frontier": 3},
        {"frontier": {"presets": {"return": {"collaborative": "x"}}}},
        {"frontier": {"presets": []}},
        {"frontier": {"presets": {"return": {"collaborative": 10**400, "content": 1, "profitability": 1}}}},
        {"frontier": {"presets": {"return": {"collaborative": math.inf, "content": 1, "profitability": 1}}}},
        {"frontier": {"presets": {"return": {"collaborative": 1e308, "content": 1e308, "profitability": 1}}}},
        {"frontier": {"presets": {"return": {"collaborative": -1, "content": 0, "profitability": 0}}}},
    ],
)
def test_a_preset_of_a_manifest_that_makes_no_sense_is_the_model_itself(world: World, metrics: Any) -> None:
    world.publish_model(build_model(seed=8, assets=30, metadata={"metrics": metrics}))
    world.step()
    asked = world.ask("C1", preset="return")
    world.settle()
    assert world.decision(asked).answer.weights == world.model.configuration.weights.normalised()


def test_a_component_that_says_nothing_is_null_and_its_weight_goes_to_the_others(world: World) -> None:
    nothing = {
        "profitability.known": np.zeros(30, np.bool_),
        "profitability.predicted_return": np.zeros(30, np.float32),
    }
    world.publish_model(build_model(seed=8, assets=30, arrays=nothing))
    world.step()
    plain, alone = world.ask("C1"), world.ask("C2", weights=RequestedWeights(profitability=1.0))
    world.settle()
    for event in (plain, alone):
        items = world.decision(event).answer.items
        assert items
        assert all(item.components.profitability is None for item in items)
        assert max(item.score for item in items) > 0
    best = world.decision(plain).answer.items[0].components
    assert best.collaborative is not None
    assert best.content is not None
    assert best.collaborative + best.content <= 1.0


def test_a_list_with_other_weights_does_not_answer(world: World) -> None:
    world.ask("C1", weights=CONTENT_ONLY)
    world.settle()
    other, same = world.ask("C1", "request_recs"), None
    world.settle()
    same = world.ask("C1", "request_recs")
    world.settle()
    assert world.decision(other).answered_from == "scored"
    assert world.decision(same).answered_from == "stored"


def test_weights_in_the_same_proportion_are_the_same_weights(world: World) -> None:
    world.ask("C1", weights=RequestedWeights(content=1.0))
    world.settle()
    again = world.ask("C1", "request_recs", weights=CONTENT_ONLY)
    world.settle()
    assert world.decision(again).answered_from == "stored"


def test_a_list_of_another_model_does_not_answer(world: World) -> None:
    world.ask("C1")
    world.settle()
    world.publish_model(build_model(seed=8, assets=30))
    world.step()
    again = world.ask("C1", "request_recs")
    world.settle()
    assert world.decision(again).answered_from == "scored"


def test_a_list_older_than_the_loaded_transactions_does_not_answer(world: World) -> None:
    world.ask("C1")
    world.settle()
    world.store.tables.snapshots["transactions"] = world.store.tick()
    again = world.ask("C1", "request_recs")
    world.settle()
    assert world.decision(again).answered_from == "scored"


def test_refresh_recs_never_answers_from_a_list(world: World) -> None:
    world.ask("C1")
    world.settle()
    again = world.ask("C1", "refresh_recs")
    world.settle()
    assert world.decision(again).answered_from == "scored"


def test_refresh_recs_is_computed_also_next_to_a_request_that_the_list_answers(world: World) -> None:
    world.ask("C1")
    world.settle()
    answered, refreshed = world.ask("C1", "request_recs"), world.ask("C1", "refresh_recs")
    world.settle()
    assert world.decision(answered).answered_from == "stored"
    assert world.decision(refreshed).answered_from == "scored"


def test_a_list_that_an_earlier_request_of_the_batch_replaces_does_not_answer(world: World) -> None:
    world.ask("C1")
    world.settle()
    world.ask("C1", "refresh_recs", weights=CONTENT_ONLY)
    last = world.ask("C1", "request_recs")
    world.settle()
    assert world.decision(last).answered_from == "scored"
    assert world.store.tables.lists["C1"].request_id == last.event_id


def test_the_last_request_of_a_customer_in_a_batch_becomes_the_list(world: World) -> None:
    requests = [world.ask("C1", weights=RequestedWeights(content=1.0, profitability=share)) for share in (1, 2, 3)]
    world.settle()
    assert world.store.tables.lists["C1"].request_id == requests[-1].event_id
    assert len(world.store.tables.decisions) == 3


def test_a_batch_is_scored_at_once_and_a_customer_once(world: World) -> None:
    calls: list[int] = []

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        calls.append(len(histories))
        return rank_assets(model, histories, **options)

    world.scorer = scorer
    for customer_id in [*CUSTOMERS[:4], *CUSTOMERS[:4]]:
        world.ask(customer_id)
    world.settle()
    assert calls == [4]


def test_a_decision_says_what_it_was_made_of(world: World) -> None:
    world.store.tables.customers["C1"] = build_customer("C1", RiskLevel.BALANCED)
    request = world.ask("C1", fingerprint="f")
    stranger = world.ask("never-seen")
    world.settle()
    decision = world.decision(request)
    assert (decision.risk_level, decision.fingerprint, decision.event_offset) == (3, "f", 0)
    assert decision.requested_at == request.occurred_at
    assert decision.answer.basis == "segment_prior"
    assert world.decision(stranger).risk_level is None
