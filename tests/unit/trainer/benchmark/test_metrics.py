"""Figures of single customers that no other file has, by hand."""

from __future__ import annotations

from shared.recommender.types import RiskLevel
from tests.unit.trainer.benchmark.small_truth import lists_of, small_truth
from trainer.benchmark.metrics import evaluate_customers


def test_a_place_is_unpriced_without_a_price_in_the_year_up_to_the_time_point() -> None:
    # A has a price of the day itself, B one that is 364 days old, C one of 365 days, D none.
    truth = small_truth(
        levels=dict.fromkeys("ABCD", 1),
        customers={"ann": RiskLevel.INCOME, "bob": None},
        prices=[("A", 0, 1.0), ("B", 364, 1.0), ("C", 365, 1.0)],
    )
    customers = evaluate_customers(lists_of(truth, "ABCD", "AB"), truth)

    assert customers["unpriced_places"].tolist() == [0.5, 0.0]
