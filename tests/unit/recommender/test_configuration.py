"""The configuration of a model: everything that decides a fit, read back from what is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigurationInvalid
from shared.recommender.configuration import ALGORITHMS, ModelConfiguration, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.history import build_history_matrix
from shared.recommender.signal import REGISTRY, signal_class
from shared.recommender.signals.user_knn import UserKnn
from shared.recommender.types import InteractionWeights, Weights
from tests.unit.recommender.signal_laws import CUTOFF, planted_data

HALF_LIVES = [
    (name, field)
    for name in REGISTRY
    for field in vars(signal_class(name)())
    if field.endswith("half_life_days") and name != "item_item"
]


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "ease_next_purchase+user_knn", "item_item + trend"])
def test_a_configuration_comes_back_from_json(algorithm: str) -> None:
    configuration = build_configuration(
        algorithm, weights=Weights(0.1, 0.7, 0.2), interaction_weights=InteractionWeights(click=0.4, window=50), seed=3
    )

    assert ModelConfiguration.from_json(json.loads(json.dumps(configuration.to_json()))) == configuration


@pytest.mark.parametrize(("name", "field"), HALF_LIVES)
def test_another_half_life_in_the_configuration_gives_another_fit_and_is_in_the_configuration(
    name: str, field: str
) -> None:
    algorithm = name if name not in ("segment_prior", "profitability") else "trend"
    usual = build_configuration(algorithm)
    changed = build_configuration(algorithm, changes={name: {field: 11.0}})

    sunday = planted_data().known_at(CUTOFF - timedelta(days=5))  # prices have an age

    arrays, others = (fit_model(sunday, one, version="v1").signals[name] for one in (usual, changed))

    assert any(not np.array_equal(arrays[array], others[array]) for array in arrays)
    assert f'"{field}": 11.0' in json.dumps(changed.to_json())


def test_the_interaction_weights_of_the_configuration_decide_the_fit() -> None:
    models = [
        fit_model(planted_data(), build_configuration("ease", interaction_weights=weights), version="v1")
        for weights in (InteractionWeights(), InteractionWeights(click=0.1), InteractionWeights(half_life_days=2.0))
    ]

    similarities = {model.signals["item_item"]["similarity"].tobytes() for model in models}
    assert len(similarities) == 3


def test_a_signal_joins_its_component_and_weights_scale_it() -> None:
    configuration = build_configuration("ease_next_purchase+user_knn", changes={"user_knn": {"weight": 0.5}})

    names = [signal.name for signal in configuration.collaborative]
    assert names == [*ALGORITHMS["ease_next_purchase"], "user_knn"]
    assert configuration.collaborative[-1] == UserKnn(weight=0.5)


def test_a_signal_is_fitted_once_for_several_configurations() -> None:
    fitted: dict[Any, Any] = {}
    first = fit_model(planted_data(), build_configuration("ease"), version="v1", fitted=fitted)
    changes = {"item_item": {"weight": 2.0, "portfolio_power": 0.5, "least_entry": 1.0}}
    other = build_configuration("ease_next_purchase", weights=Weights(1, 0, 0), changes=changes)
    second = fit_model(planted_data(), other, version="v2", fitted=fitted)

    assert second.signals["item_item"] is first.signals["item_item"]
    assert second.signals["content"] is first.signals["content"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cold_start": {"signal": "nothing"}}, "no signal 'nothing'"),
        (
            {"cold_start": {"signal": "segment_prior", "half_life": 3}},
            "no hyper-parameter 'half_life'; it has",
        ),
        (
            {"cold_start": {"signal": "segment_prior", "half_life_days": "3"}},
            "'3' is not of the type of the default",
        ),
        ({"cold_start": {"signal": "segment_prior", "half_life_days": True}}, "True is not of the type"),
        ({"cold_start": {"signal": "segment_prior", "half_life_days": None}}, "None is not of the type"),
        ({"cold_start": {"signal": "trend"}}, "signal 'trend' is in the configuration twice"),
        ({"cold_start": 7}, "7 does not name a signal"),
        ({"weights": {"collaborative": -1, "content": 0, "profitability": 1}}, "not negative"),
        ({"interaction_weights": {"window": 0}}, "window"),
        ({"seed": "7"}, "seed must be a whole number|a whole number"),
        ({"surplus": 1}, "surplus"),
        ({"cold_start": {"signal": "segment_prior", "weight": 1e308}}, "weight 1e\\+308"),
        ({"cold_start": {"signal": "segment_prior", "portfolio_power": -1e308}}, "portfolio_power -1e\\+308"),
        ({"list_rules": {"exploration_share": 2}}, "from 0 to 1"),
        ({"list_rules": {"exploration_share": "1"}}, "malformed"),
        ({"list_rules": {"new_asset_days": 10**30}}, "new_asset_days"),
        ({"list_rules": {"surplus": 1}}, "surplus"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_named(changes: dict[str, Any], problem: str) -> None:
    values = build_configuration("ease_next_purchase").to_json()

    with pytest.raises(ConfigurationInvalid, match=problem):
        ModelConfiguration.from_json({**values, **changes})


def test_a_component_without_a_signal_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="component 'content' has no signal"):
        replace(build_configuration("ease"), content=())


def test_a_choice_that_a_signal_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match=r"signal 'profitability': horizon, .* must be positive"):
        build_configuration("ease", changes={"profitability": {"prior_windows": 0.0}})


def test_the_history_of_the_training_data_is_what_scoring_builds() -> None:
    data = planted_data()

    expected = build_history_matrix(
        data.id_map, data.histories(), interaction_weights=data.interaction_weights, now=data.now
    )

    assert len(data.interactions.occurred_at) > 10
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(data.history, part), getattr(expected, part))
