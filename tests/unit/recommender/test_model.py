"""What a model refuses to be made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import InvalidWeights
from shared.recommender.signal import LARGEST_VALUE
from shared.recommender.types import SEGMENT_COUNT, InteractionWeights
from tests.builders import build_model


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("item_item.similarity", np.zeros((3, 4), np.float32)),
        ("item_item.similarity", np.zeros((4, 4), np.float64)),
        ("content.similarity", np.full((4, 4), np.nan, np.float32)),
        ("content.similarity", np.asfortranarray(np.arange(16, dtype=np.float32).reshape(4, 4))),
        ("profitability.predicted_return", np.full(4, np.inf, np.float32)),
        ("profitability.predicted_return", np.full(4, -2 * LARGEST_VALUE, np.float32)),
        ("profitability.predicted_return", np.zeros((4, 1), np.float32)),
        ("catalogue.risk_level", np.array([0, 1, 2, 3], np.int8)),
        ("catalogue.risk_level", np.array([1, 2, 3, 5], np.int8)),
        ("catalogue.risk_level", np.ones(4, np.int64)),
        ("catalogue.tradable", np.ones(4, np.int8)),
        ("segment_prior.popularity", np.zeros((SEGMENT_COUNT - 1, 4), np.float32)),
        ("next_purchase.matrix", np.zeros((4, 3), np.float32)),
        ("next_purchase.intercept", np.full(4, np.nan, np.float32)),
        ("portfolio_mix.log_shares", np.zeros((7, 4), np.float32)),
        ("trend.log_shares", np.zeros((4, 1), np.float32)),
        ("trend.log_shares", np.full(4, np.inf, np.float32)),
        ("portfolio_mix.asset_group", np.array([0, 1, 2, 8], np.int8)),
        ("portfolio_mix.asset_group", np.array([0, 1, 2, -1], np.int8)),
    ],
)
def test_arrays_of_another_shape_type_or_range_are_refused(name: str, array: NDArray[Any]) -> None:
    of_catalogue = {"catalogue.risk_level": "asset_risk_level", "catalogue.tradable": "tradable"}
    arguments: dict[str, Any] = {of_catalogue[name]: array} if name in of_catalogue else {"arrays": {name: array}}
    with pytest.raises(ValueError, match=name):
        build_model(assets=4, **arguments)


def test_a_model_may_have_no_assets() -> None:
    assert len(build_model(assets=0).id_map) == 0


def test_content_of_a_segment_is_its_prior_times_the_content_similarity() -> None:
    model = build_model(assets=6)
    priors = model.signals["segment_prior"]["popularity"].astype(np.float64)
    expected = priors @ model.signals["content"]["similarity"].astype(np.float64)
    np.testing.assert_allclose(model.segments["content"][0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"window": 0},
        {"window": 1_001},
        {"window": 2.5},
        {"click": -0.1},
        {"view": math.nan},
        {"watchlist": math.inf},
        {"half_life_days": 0},
        {"half_life_days": math.inf},
    ],
)
def test_interaction_weights_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidWeights):
        InteractionWeights(**fields)
