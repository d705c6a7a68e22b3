"""Risk and concentration of the ten and of portfolios before and after them, against figures computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared.recommender.types import RiskLevel
from tests.unit.trainer.benchmark.small_truth import lists_of, small_truth
from tests.unit.trainer.benchmark.test_past_returns import A, B
from trainer.benchmark.ground_truth import GroundTruth
from trainer.benchmark.known import Lists
from trainer.benchmark.portfolio_metrics import PORTFOLIO_METRICS, hhi, portfolio_metrics

SECTORS = {"A": "banks", "B": "energy", "C": "banks"}  # of D it is not known
RETURNS = {"A": 0.02, "B": 0.04, "C": -0.03}


def truth_of(owned: str) -> GroundTruth:
    return small_truth(
        levels=dict.fromkeys("ABCD", 1),
        customers={"ann": RiskLevel.INCOME},
        owned={"ann": owned},
        returns=RETURNS,
        prices=[*A, *B],
        sectors=SECTORS,
    )


def figures(truth: GroundTruth, lists: Lists) -> dict[str, float]:
    return {name: float(values[0]) for name, values in portfolio_metrics(lists, truth).items()}


def test_of_a_list_whose_prices_are_known() -> None:
    # A and B have the volatility 0.583667 (test_past_returns), and come back to where they were: Sharpe 0.
    # Returns 0.02 and 0.04: mean 0.03, twelve times 0.36, by 0.583667 = 0.616790.
    # Spread: squares of 0.01 twice, 0.0002, root 0.014142.
    truth = truth_of("C")
    found = figures(truth, lists_of(truth, "AB"))

    assert found["volatility"] == pytest.approx(0.583667, abs=1e-6)
    assert found["sharpe"] == pytest.approx(0.0, abs=1e-9)
    assert found["known_price_share"] == 1.0
    assert found["realised_sharpe"] == pytest.approx(0.616790, abs=1e-6)
    assert found["realised_spread"] == pytest.approx(0.014142, abs=1e-6)


def test_of_a_list_half_known() -> None:
    # Of A and D only A is known, which is half: its volatility 1.167333. D has no return, so there is no spread.
    truth = truth_of("C")
    found = figures(truth, lists_of(truth, "AD"))

    assert found["known_price_share"] == 0.5
    assert found["volatility"] == pytest.approx(1.167333, abs=1e-6)
    assert np.isnan(found["realised_spread"])
    assert np.isnan(figures(truth, lists_of(truth, "ACD"))["volatility"])  # one of three


def test_concentration_before_and_after() -> None:
    # Owns A and C: by asset 2 x (1/2)^2 = 0.5, by sector all banks: 1.
    # With B and D: by asset 4 x (1/4)^2 = 0.25; by sector banks 2 of 3, energy 1 of 3: 4/9 + 1/9 = 0.555556.
    # Sectors are known of three of the four, prices of A and B.
    truth = truth_of("AC")
    found = figures(truth, lists_of(truth, "BD"))

    assert (found["asset_hhi_before"], found["asset_hhi_after"]) == (0.5, 0.25)
    assert (found["sector_hhi_before"], found["sector_hhi_after"]) == pytest.approx((1.0, 5 / 9))
    assert found["portfolio_known_sector_share"] == 0.75
    assert found["portfolio_known_price_share"] == 0.5


def test_portfolio_sharpe_before_and_after() -> None:
    # Log prices of A every fourth week 0, 0.28, 0.14, 0.42, 0.28 have the Sharpe ratio 1.042262 (test_past_returns).
    # B adds the returns 0, 0.56, -0.56, 0 and no growth. Means of both: 0.14, 0.21, -0.14, -0.07, their mean 0.035;
    # deviations 0.105, 0.175, -0.175, -0.105, squares 0.011025, 0.030625 twice each: 0.0833; by 28 and 3, times 365:
    # 0.361958, root 0.601630. Growth (0.9125 + 0) / 2 = 0.45625. Ratio 0.758357.
    logs = (0.0, 0.28, 0.14, 0.42, 0.28)
    rising = [("A", before, float(np.exp(log))) for before, log in zip((112, 84, 56, 28, 0), logs, strict=True)]
    truth = small_truth(
        levels=dict.fromkeys("AB", 1), customers={"ann": None}, owned={"ann": "A"}, prices=[*rising, *B]
    )
    found = figures(truth, lists_of(truth, "B"))

    assert found["portfolio_sharpe_before"] == pytest.approx(1.042262, abs=1e-6)
    assert found["portfolio_sharpe_after"] == pytest.approx(0.758357, abs=1e-6)


def test_before_and_after_exist_for_the_same_customers() -> None:
    pairs = [name for name in PORTFOLIO_METRICS if name.endswith(("_before", "_after"))]

    for owned, of_customer in (("", "AB"), ("A", "")):  # who owns nothing, and who has no list
        truth = truth_of(owned)
        found = figures(truth, lists_of(truth, of_customer))
        assert np.isnan([found[name] for name in pairs]).all()

    truth = truth_of("D")  # a sector only after the ten
    found = figures(truth, lists_of(truth, "AB"))
    assert np.isnan(found["sector_hhi_before"])
    assert np.isnan(found["sector_hhi_after"])


def test_hhi_lies_between_one_group_and_equal_groups() -> None:
    # (3/4)^2 + (1/4)^2 = 0.625.
    assert hhi(np.array([[4.0, 0.0], [2.0, 2.0], [3.0, 1.0]])).tolist() == [1.0, 0.5, 0.625]
    assert np.isnan(hhi(np.zeros((1, 2)))).all()
