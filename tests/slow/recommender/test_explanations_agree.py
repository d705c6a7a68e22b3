"""Explanations agree with the scorer on 10,000 random pairs of customer and asset, over random models and histories."""

from __future__ import annotations

import pytest

from tests.unit.recommender.test_explanation import agree

TESTS = 10
USUAL_RULES = {"catalogue", "tradable", "risk_level", "held", "option_exclude", "option_categories"}


@pytest.mark.parametrize("number", range(TESTS))
def test_explanations_agree_with_the_scorer_on_a_tenth_of_ten_thousand_pairs(number: int) -> None:
    counts = agree(range(100 + number, 200, TESTS), histories=20, pairs=5)

    assert sum(counts[state] for state in ("listed", "refused", "below")) == 1_000
    assert min(counts[state] for state in ("listed", "refused", "below")) > 50
    assert {rule for rule in USUAL_RULES if not counts[rule]} == set()
