"""Lists with many weights at once are, bit for bit, those of models with these weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from shared.recommender.alternatives import recommend_alternatives
from shared.recommender.configuration import ModelConfiguration, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.model import Model
from shared.recommender.pipeline import CHUNK_SIZE, recommend_indices
from shared.recommender.types import Customer, CustomerHistory, ListRules, RiskLevel, Weights
from tests.unit.recommender.planted import NOW, build_data

HYBRID = build_configuration("ease_next_purchase")


def reweighted(weights: Weights, **of_signals: float) -> ModelConfiguration:
    signals = tuple(
        replace(signal, weight=of_signals.get(signal.name, signal.weight)) for signal in HYBRID.collaborative
    )
    return replace(HYBRID, collaborative=signals, weights=weights)


CONFIGURATIONS = (
    HYBRID,
    reweighted(Weights(0.5, 0.3, 0.2), popularity=0.0),
    reweighted(Weights(0.9, 0.1, 0.0), edlae=0.0, fund_preference=2.0),
    reweighted(Weights(0.2, 0.8, 0.0)),
    reweighted(Weights(0.0, 1.0, 0.0), popularity=0.0),
    reweighted(Weights(0.0, 0.0, 1.0)),
    reweighted(Weights(1.0, 0.0, 0.0), **{signal.name: 0.0 for signal in HYBRID.collaborative}),
    reweighted(Weights(0.9, 0.1, 0.0), popularity=-2.0, trend=0.5),
)


@cache
def bank() -> tuple[Model, list[CustomerHistory]]:
    """Fit a model of which some assets are new, not tradable or too risky; some customers are cold."""
    data = build_data(assets=60, customers=CHUNK_SIZE + 20)
    model = fit_model(data, replace(HYBRID, list_rules=ListRules(exploration_share=0.5)), version="v1")
    random = np.random.default_rng(1)
    new = random.random(60) < 0.2
    changed = replace(model, tradable=random.random(60) < 0.8, new=new, sector=random.integers(-1, 2, 60).astype("i2"))
    cold = [CustomerHistory(Customer(f"cold {level}", level)) for level in (None, *RiskLevel)]
    return changed, [*data.histories(), *cold]


def with_rules_of(model: Model, configurations: Sequence[ModelConfiguration]) -> list[ModelConfiguration]:
    return [replace(one, list_rules=model.configuration.list_rules) for one in configurations]


@pytest.mark.parametrize("enforce_suitability", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_alternatives_are_ranked_as_models_with_their_weights_rank(order: int, enforce_suitability: bool) -> None:
    model, histories = bank()
    configurations = with_rules_of(model, CONFIGURATIONS)[::order]

    found = recommend_alternatives(
        model, histories, configurations=configurations, now=NOW, enforce_suitability=enforce_suitability
    )

    assert len({lists.tobytes() for lists in found}) > 5
    for configuration, lists in zip(configurations, found, strict=True):
        served = replace(model, configuration=configuration)
        expected = recommend_indices(served, histories, now=NOW, enforce_suitability=enforce_suitability)
        np.testing.assert_array_equal(lists, expected)


def test_nothing_to_recommend_gives_empty_lists() -> None:
    model, histories = bank()
    closed = replace(model, tradable=np.zeros(60, np.bool_))

    for of_customers in (histories[:3], []):
        (lists,) = recommend_alternatives(closed, of_customers, configurations=[model.configuration], now=NOW)
        assert lists.shape == (len(of_customers), 10)
        assert (lists == NO_ASSET).all()
