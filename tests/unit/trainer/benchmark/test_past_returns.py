"""Volatility and Sharpe ratio from sparse prices, against figures computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_data import day_number
from tests.unit.trainer.benchmark.small_truth import DAY, Price, close_prices
from trainer.benchmark.past_returns import PastReturns, past_returns, pool

E = math.e
# Every fourth week. A: log prices 0, 0.28, 0, 0.28, 0.  B: 0, 0, 0.56, 0, 0.  Days between: 28, root 5.2915.
A: list[Price] = [("A", 112, 1.0), ("A", 84, E**0.28), ("A", 56, 1.0), ("A", 28, E**0.28), ("A", 0, 1.0)]
B: list[Price] = [("B", 112, 1.0), ("B", 84, 1.0), ("B", 56, E**0.56), ("B", 28, 1.0), ("B", 0, 1.0)]
ID_MAP = AssetIdMap.build("ABC")


def past(*prices: Price) -> PastReturns:
    return past_returns(close_prices(ID_MAP, prices), day=day_number(DAY), asset_count=3)


def of(assets: str, returns: PastReturns) -> tuple[float, float]:
    """Return volatility and Sharpe ratio of these assets."""
    holdings = pool(sparse.csr_array([[float(isin in assets) for isin in "ABC"]]), returns)
    return float(holdings.portfolio_volatility()[0]), float(holdings.sharpe()[0])


def test_volatility_of_one_asset_is_the_sample_deviation_of_returns_per_root_of_days() -> None:
    # Returns 0.28, -0.28, 0.28, -0.28 over 28 days: scaled by root 28 they are +-0.052915, mean 0,
    # sum of squares 4 x 0.0028 = 0.0112, by 3 = 0.0037333, a year x 365 = 1.362667, root 1.167333.
    assert of("A", past(*A))[0] == pytest.approx(1.167333, abs=1e-6)


def test_volatility_of_two_is_that_of_their_mean_return() -> None:
    # B: 0, 0.56, -0.56, 0. Means of A and B: 0.14, 0.14, -0.14, -0.14; scaled +-0.0264575, squares 0.0007 each,
    # 4 x 0.0007 / 3 x 365 = 0.340667, root 0.583667: half of A alone, for A and B move against each other.
    assert of("AB", past(*A, *B))[0] == pytest.approx(0.583667, abs=1e-6)


def test_returns_over_different_spans_are_made_comparable() -> None:
    # Spans 7, 28, 7, 28 days with returns 0.07, 0.14, 0.07, 0.14: scaled 0.026458 each, so they do not vary at all.
    total = (0.0, 0.07, 0.21, 0.28, 0.42)
    steady = [("A", before, E**log) for before, log in zip((70, 63, 35, 28, 0), total, strict=True)]

    assert of("A", past(*steady))[0] == pytest.approx(0.0, abs=1e-9)


def test_sharpe_is_growth_a_year_by_volatility() -> None:
    # Returns 0.28, -0.14, 0.28, -0.14 over 112 days: growth 0.28 x 365 / 112 = 0.9125 a year. Scaled by root 28:
    # 0.0529150, -0.0264575 twice each; mean 0.0132288; deviations +-0.0396863, squares 0.001575; 4 x 0.001575 / 3 x 365
    # = 0.7665, root 0.875500. Ratio 0.9125 / 0.8755 = 1.042262.
    logs = (0.0, 0.28, 0.14, 0.42, 0.28)
    rising = [("A", before, E**log) for before, log in zip((112, 84, 56, 28, 0), logs, strict=True)]

    assert of("A", past(*rising)) == pytest.approx((0.8755, 1.042262), abs=1e-6)


def test_only_the_last_price_of_a_week_counts() -> None:
    # Day 3 before is in the week of day 0; day 7 before is not.
    assert of("A", past(*A, ("A", 3, 50.0))) == pytest.approx(of("A", past(*A)), nan_ok=True)
    assert of("A", past(*A, ("A", 7, 50.0)))[0] != pytest.approx(of("A", past(*A))[0])


def test_four_returns_are_needed() -> None:
    assert not past(*A[1:]).known[0]
    assert math.isnan(of("A", past(*A[1:]))[0])
    assert past(*A).known.tolist() == [True, False, False]


def test_half_of_the_assets_must_be_known() -> None:
    returns = past(*A)

    assert of("AB", returns)[0] == pytest.approx(of("A", returns)[0])  # one of two
    assert np.isnan(of("ABC", returns)).all()  # one of three


def test_a_week_counts_when_half_of_the_known_assets_have_a_return_in_it() -> None:
    # C moves in weeks of its own, with A and B silent: with three known, one alone is no return of the holdings.
    c = [("C", 105 - 14 * step, E ** (step % 2)) for step in range(6)]

    assert of("ABC", past(*A, *B, *c))[0] == pytest.approx(of("AB", past(*A, *B))[0])


def test_prices_older_than_a_year_and_such_that_are_none_are_left_out() -> None:
    broken = [("A", 14, 0.0), ("A", 14, -1.0), ("A", 42, math.nan), ("A", 364, 9.0)]

    assert of("A", past(*A, *broken)) == pytest.approx(of("A", past(*A)), nan_ok=True)
    assert of("A", past(*A, ("A", 363, 9.0)))[0] != pytest.approx(of("A", past(*A))[0])  # 52 weeks are 364 days


@given(later=st.lists(st.tuples(st.sampled_from("ABC"), st.integers(-400, -1), st.floats(0.01, 1e6)), max_size=20))
def test_no_later_price_changes_anything(later: list[Price]) -> None:
    told, blind = past(*A, *B, *later), past(*A, *B)

    for name, values in vars(blind).items():
        np.testing.assert_array_equal(values, getattr(told, name))
