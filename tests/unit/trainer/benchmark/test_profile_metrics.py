"""Profile coherence, its lift over random lists, and the regret, against figures computed by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recommender.types import RiskLevel
from tests.unit.trainer.benchmark.small_truth import lists_of, small_truth
from trainer.benchmark.ground_truth import GroundTruth
from trainer.benchmark.known import Lists
from trainer.benchmark.profile_metrics import PROFILE_METRICS, expected_share, profile_metrics

LEVELS = {"A": 1, "B": 1, "C": 2, "D": 3, "E": 3, "F": 3}
RETURNS = {"A": 0.01, "C": 0.03, "D": 0.20, "E": -0.10}  # of B and F it is not known


def truth_of(level: RiskLevel | None, owned: str = "") -> GroundTruth:
    return small_truth(levels=LEVELS, customers={"ann": level}, owned={"ann": owned}, returns=RETURNS)


def figures(truth: GroundTruth, lists: Lists) -> dict[str, float]:
    return {name: float(values[0]) for name, values in profile_metrics(lists, truth).items()}


def test_of_an_income_customer() -> None:
    # Level 2. List A C D E: distances 1 0 1 1, so coherent 4/4, the same level 1/4, at most level 2: A and C, 2/4.
    # Candidates A to F (owns none): coherent 6/6, the same 1/6, suitable A B C 3/6.
    # Lifts: 1 / 1 = 1, (1/4) / (1/6) = 1.5, (2/4) / (3/6) = 1.
    # Suitable with a known return: A 0.01, C 0.03, mean 0.02. List: (0.01 + 0.03 + 0.20 - 0.10) / 4 = 0.035.
    truth = truth_of(RiskLevel.INCOME)

    assert figures(truth, lists_of(truth, "ACDE")) == pytest.approx(
        {
            **{"profile_coherence": 1.0, "profile_match": 0.25, "suitable_places": 0.5},
            **{"profile_coherence_lift": 1.0, "profile_match_lift": 1.5, "suitable_places_lift": 1.0},
            "regret": 0.02 - 0.035,
        }
    )


def test_of_an_aggressive_customer_for_whose_level_there_is_no_asset() -> None:
    # Level 4. List A D: distances 3 1, coherent 1/2, the same 0/2, suitable 2/2.
    # Candidates without the owned F: A B C D E, coherent D E 2/5, the same 0/5, suitable 5/5.
    # Lifts: (1/2) / (2/5) = 1.25; by 0 there is none; 1. Best known A C D E: 0.14 / 4 = 0.035; list 0.21 / 2 = 0.105.
    truth = truth_of(RiskLevel.AGGRESSIVE, owned="F")
    found = figures(truth, lists_of(truth, "AD"))

    assert np.isnan(found.pop("profile_match_lift"))
    assert found == pytest.approx(
        {
            **{"profile_coherence": 0.5, "profile_match": 0.0, "suitable_places": 1.0},
            **{"profile_coherence_lift": 1.25, "suitable_places_lift": 1.0, "regret": 0.035 - 0.105},
        }
    )


def test_without_a_known_level_only_suitability_has_a_figure() -> None:
    # Counts as level 1: of A D one is suitable, of the six candidates A and B. (1/2) / (2/6) = 1.5.
    # The only suitable known return is A's 0.01; the list earns (0.01 + 0.20) / 2 = 0.105.
    truth = truth_of(None)
    found = figures(truth, lists_of(truth, "AD"))

    assert {name for name, value in found.items() if np.isnan(value)} == set(PROFILE_METRICS[:2]) | {
        "profile_coherence_lift",
        "profile_match_lift",
    }
    assert found["suitable_places"] == 0.5
    assert found["suitable_places_lift"] == pytest.approx(1.5)
    assert found["regret"] == pytest.approx(0.01 - 0.105)


def test_without_a_list_or_a_known_return_there_is_no_figure() -> None:
    truth = truth_of(RiskLevel.INCOME)

    assert np.isnan([*figures(truth, lists_of(truth, "")).values()]).all()
    assert np.isnan(figures(truth, lists_of(truth, "BF"))["regret"])


def test_the_best_ten_are_ten() -> None:
    # Twelve suitable assets with returns 0.01 to 0.12: the best ten are 0.03 to 0.12, mean 0.075. The list has 0.01.
    names = "ABCDEFGHIJKL"
    returns = {name: (place + 1) / 100 for place, name in enumerate(names)}
    truth = small_truth(levels=dict.fromkeys(names, 1), customers={"ann": RiskLevel.INCOME}, returns=returns)

    assert figures(truth, lists_of(truth, "A"))["regret"] == pytest.approx(0.075 - 0.01)


@given(
    obeyed=st.lists(st.booleans(), min_size=1, max_size=7),
    length=st.integers(1, 4),
    candidates=st.lists(st.booleans(), min_size=7, max_size=7),
)
def test_the_expected_share_is_the_mean_over_all_random_lists(
    obeyed: list[bool], length: int, candidates: list[bool]
) -> None:
    allowed = candidates[: len(obeyed)]
    lists = list(combinations([place for place, may in enumerate(allowed) if may], length))
    expected = expected_share(np.array([obeyed]), np.array([allowed]))[0]

    if lists:
        assert expected == pytest.approx(np.mean([[obeyed[place] for place in of_list] for of_list in lists]))
    elif not any(allowed):
        assert np.isnan(expected)
