"""Weights and interaction weights keep their word."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidWeights
from shared.recommender.id_map import AssetIdMap
from shared.recommender.types import (
    SEGMENT_COUNT,
    InteractionType,
    InteractionWeights,
    InvestmentCapacity,
    RiskLevel,
    Weights,
    segment_index,
)

finite = st.floats(min_value=0, max_value=1e300, allow_nan=False)


@pytest.mark.parametrize("values", [(-1.0, 1, 1), (0, 0, 0), (math.nan, 1, 1), (math.inf, 1, 1), (1e308, 1e308, 0)])
def test_weights_that_mean_nothing_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidWeights):
        Weights(*values)


@given(st.tuples(finite, finite, finite).filter(lambda values: sum(values) > 0))
def test_normalised_weights_sum_to_one(values: tuple[float, float, float]) -> None:
    weights = Weights(*values).normalised()

    assert weights.collaborative + weights.content + weights.profitability == pytest.approx(1.0)


def test_only_what_shows_interest_adds_history() -> None:
    weights = InteractionWeights(click=0.5, view=0.2, watchlist=0.8)

    assert [weights.of(kind) for kind in InteractionType] == [0.5, 0.2, 0.8, 0.0, 0.0, 0.0, 0.0]


def test_every_segment_has_a_row_of_its_own() -> None:
    rows = {segment_index(level, capacity) for level in (None, *RiskLevel) for capacity in InvestmentCapacity}

    assert rows == set(range(SEGMENT_COUNT))


def test_the_id_map_refuses_doubles_and_keeps_the_order() -> None:
    id_map = AssetIdMap.build(["C", "A", "B", "A"])

    assert id_map.isins == ("A", "B", "C")
    assert id_map.known_indices(["B", "unknown", "C"]) == [1, 2]
    with pytest.raises(ValueError, match="unique"):
        AssetIdMap(("A", "A"))
