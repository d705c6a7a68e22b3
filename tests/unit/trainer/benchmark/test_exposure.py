"""Coverage, Gini coefficient and cold customers and assets, against figures computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.recommender.types import RiskLevel
from tests.unit.trainer.benchmark.small_truth import lists_of, small_truth
from trainer.benchmark.exposure import cold_metrics, exposure_metrics, gini
from trainer.benchmark.ground_truth import GroundTruth
from trainer.benchmark.metrics import evaluate_customers, summarise_risk_levels, summarise_time_point


@pytest.fixture
def truth() -> GroundTruth:
    """Nobody has bought D; bob has bought nothing."""
    customers = {"ann": RiskLevel.INCOME, "bob": RiskLevel.INCOME, "cat": None}
    owned, relevant = {"ann": "AB", "cat": "C"}, {"ann": "CD", "bob": "B"}
    return small_truth(levels=dict.fromkeys("ABCD", 1), customers=customers, owned=owned, relevant=relevant)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([2.0, 2.0, 2.0], 0.0),
        ([0.0, 0.0, 6.0], 2 / 3),  # 1 - 1/3
        ([1.0, 3.0, 0.0, 0.0], 0.625),  # ascending 0 0 1 3 by -3 -1 1 3: 10 / (4 x 4)
    ],
)
def test_gini(counts: list[float], expected: float) -> None:
    assert gini(np.array(counts)) == pytest.approx(expected)


def test_gini_without_a_place_does_not_exist() -> None:
    assert math.isnan(gini(np.zeros(3)))


def test_exposure_counts_places_of_all_lists(truth: GroundTruth) -> None:
    # Places: A 2, B 1, C 0, D 1. Covered 3 of 4. Ascending 0 1 1 2 by -3 -1 1 3: 6 / (4 x 4) = 0.375. D is 1 of 4.
    lists = lists_of(truth, "D", "AB", "A")

    assert exposure_metrics(lists, truth) == pytest.approx(
        {"coverage": 0.75, "exposure_gini": 0.375, "cold_asset_place_share": 0.25}
    )


def test_cold_customers_and_cold_assets_have_figures_of_their_own(truth: GroundTruth) -> None:
    # bob (cold) finds B at rank 2: 1 / log2(3) = 0.630930, the best possible 1.
    # ann alone bought the cold D, listed at rank 2: 0.630930; that C, which is not cold, comes first counts nothing.
    lists = lists_of(truth, "CD", "AB", "A")
    found = cold_metrics(evaluate_customers(lists, truth), lists, truth)

    assert found == pytest.approx(
        {
            **{"cold_customers": 1, "ndcg_at_10_cold_customers": 0.630930},
            **{"cold_asset_buyers": 1, "ndcg_at_10_cold_assets": 0.630930},
        },
        abs=1e-6,
    )


def test_without_cold_customers_and_buyers_there_is_no_figure() -> None:
    truth = small_truth(levels={"A": 1, "B": 1}, customers={"ann": None}, owned={"ann": "A"}, relevant={"ann": "A"})
    lists = lists_of(truth, "B")
    found = cold_metrics(evaluate_customers(lists, truth), lists, truth)

    assert (found["cold_customers"], found["cold_asset_buyers"]) == (0, 0)
    assert math.isnan(found["ndcg_at_10_cold_customers"])
    assert math.isnan(found["ndcg_at_10_cold_assets"])


def test_each_mean_has_the_share_of_customers_that_it_is_of(truth: GroundTruth) -> None:
    # cat's risk level is not known, so coherence exists for two of three: ann 1, bob 1. Levels: 1 beside INCOME's 2.
    lists = lists_of(truth, "CD", "AB", "A")
    customers = evaluate_customers(lists, truth)
    point = summarise_time_point(customers, lists, truth)
    levels = summarise_risk_levels(customers, lists, truth)

    assert point["profile_coherence"] == 1.0
    assert point["known_share"]["profile_coherence"] == pytest.approx(2 / 3)
    assert {level: summary["customers"] for level, summary in levels.items()} == {"income": 2, "unknown": 1}
    assert levels["income"]["known_share"]["profile_coherence"] == 1.0
    assert math.isnan(levels["unknown"]["profile_coherence"])
    assert levels["unknown"]["known_share"]["profile_coherence"] == 0.0
    assert levels["unknown"]["coverage"] == 0.25  # cat's list has one of the four assets
