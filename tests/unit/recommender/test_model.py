"""What a model refuses to be made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import InvalidWeights
from shared.recommender.model import LARGEST_VALUE, SEGMENT_COUNT
from shared.recommender.types import InteractionWeights
from tests.builders import build_model


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("asset_similarity", np.zeros((3, 4), np.float32)),
        ("asset_similarity", np.zeros((4, 4), np.float64)),
        ("content_similarity", np.full((4, 4), np.nan, np.float32)),
        ("content_similarity", np.asfortranarray(np.arange(16, dtype=np.float32).reshape(4, 4))),
        ("predicted_return", np.full(4, np.inf, np.float32)),
        ("predicted_return", np.full(4, -2 * LARGEST_VALUE, np.float32)),
        ("predicted_return", np.zeros((4, 1), np.float32)),
        ("asset_risk_level", np.array([0, 1, 2, 3], np.int8)),
        ("asset_risk_level", np.array([1, 2, 3, 5], np.int8)),
        ("asset_risk_level", np.ones(4, np.int64)),
        ("tradable", np.ones(4, np.int8)),
        ("segment_priors", np.zeros((SEGMENT_COUNT - 1, 4), np.float32)),
        ("next_purchase", np.zeros((4, 3), np.float32)),
        ("next_purchase_intercept", np.full(4, np.nan, np.float32)),
        ("portfolio_mix_prior", np.zeros((7, 4), np.float32)),
        ("trend", np.zeros((4, 1), np.float32)),
        ("trend", np.full(4, np.inf, np.float32)),
        ("asset_group", np.array([0, 1, 2, 8], np.int8)),
        ("asset_group", np.array([0, 1, 2, -1], np.int8)),
    ],
)
def test_arrays_of_another_shape_type_or_range_are_refused(name: str, array: NDArray[Any]) -> None:
    arguments: dict[str, Any] = {"assets": 4, name: array}
    with pytest.raises(ValueError, match=name):
        build_model(**arguments)


def test_a_model_may_have_no_assets() -> None:
    assert len(build_model(assets=0).id_map) == 0


def test_content_of_a_segment_is_its_prior_times_the_content_similarity() -> None:
    model = build_model(assets=6)
    expected = model.segment_priors.astype(np.float64) @ model.content_similarity.astype(np.float64)
    np.testing.assert_allclose(model.segment_content, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [{"click": -0.1}, {"view": math.nan}, {"watchlist": math.inf}, {"half_life_days": 0}, {"half_life_days": math.inf}],
)
def test_interaction_weights_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InvalidWeights):
        InteractionWeights(**fields)
