"""Neither memory, nor time, nor the model's "now" follows the date of a single row."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.artifacts.format import named_arrays
from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model, tradable_assets
from shared.recommender.price_grid import PriceGrid, price_grid
from shared.recommender.signals.portfolio_mix import MIX_COUNT
from shared.recommender.signals.predicted_return import VALIDATION
from shared.recommender.training_data import ClosePrices, date_of, day_number
from shared.recommender.training_rows import TrainingRows, build_training_data
from shared.recommender.types import SEGMENT_COUNT, Weights
from tests.unit.recommender.planted import AS_OF, NOW, build_data, build_prices, build_purchases, build_rows, isin_of

EXTREMES = (-719_162, -25_567, 7_304, 2_932_896, 2**31 - 1)  # years 1, 1900, 1989, 9999 and 5881580
ROWS = build_rows(customers=60, assets=12)
CONFIGURATION = build_configuration("ease_next_purchase", weights=Weights(1, 1, 1))
LONGEST_HISTORY_WEEKDAYS = 2_610


def grid_of(prices: ClosePrices, *, assets: int, last_day: date) -> PriceGrid:
    data = replace(build_data(customers=5, assets=assets), close_prices=prices, as_of=last_day)
    return price_grid(data, stale_after_weekdays=10, longest_history_weekdays=LONGEST_HISTORY_WEEKDAYS)


def with_purchase(day: date) -> TrainingRows:
    extra = build_purchases([("C0000", isin_of(0), day)])
    return replace(ROWS, purchases=pd.concat([ROWS.purchases, extra], ignore_index=True))


def with_price(day: date) -> TrainingRows:
    extra = build_prices([(isin_of(0), day, 5.0)])
    return replace(ROWS, close_prices=pd.concat([ROWS.close_prices, extra], ignore_index=True))


@pytest.mark.parametrize(
    ("rows", "now"),
    [
        (with_purchase(date(2062, 12, 31)), NOW),
        (with_purchase(date(9999, 12, 31)), NOW),
        (with_price(date(2062, 12, 31)), NOW),
        # In the past, and still long after every price:
        (with_purchase(date(2025, 3, 1)), datetime(2026, 11, 27, tzinfo=UTC)),
    ],
)
def test_one_row_far_ahead_does_not_move_the_date_of_the_model(rows: TrainingRows, now: datetime) -> None:
    data = build_training_data(rows, now=now)

    assert data.as_of == AS_OF
    assert data.purchases.day.max() <= day_number(AS_OF)
    assert tradable_assets(data).any()


def test_a_purchase_of_tomorrow_counts_as_known_today_at_the_latest() -> None:
    today = datetime(2022, 11, 29, 23, 0, tzinfo=UTC)

    data = build_training_data(with_purchase(date(2022, 11, 30)), now=today)

    assert data.as_of == today.date()


def test_without_any_purchase_the_newest_price_decides_and_without_any_price_today() -> None:
    nothing = replace(ROWS, purchases=build_purchases([]))

    odd = replace(with_price(date(2062, 12, 31)), purchases=build_purchases([]))

    assert build_training_data(nothing, now=NOW).as_of == AS_OF
    assert build_training_data(odd, now=NOW).as_of == AS_OF
    assert build_training_data(replace(nothing, close_prices=build_prices([])), now=NOW).as_of == NOW.date()


@pytest.mark.parametrize("day", EXTREMES)
def test_a_price_of_any_date_adds_no_row_to_the_grid(day: int) -> None:
    prices = build_data(customers=5, assets=3).close_prices
    odd = ClosePrices(
        np.append(prices.asset_index, np.int32(0)), np.append(prices.day, np.int32(day)), np.append(prices.close, 5.0)
    )
    usual = grid_of(prices, assets=3, last_day=AS_OF)

    grid = grid_of(odd, assets=3, last_day=AS_OF)

    assert grid.prices.shape == usual.prices.shape
    np.testing.assert_array_equal(grid.prices, usual.prices)


@pytest.mark.parametrize("days", [EXTREMES, range(7_305, 19_325, 7)], ids=["extremes", "every week since 1990"])
def test_the_grid_is_bounded_whatever_the_dates(days: tuple[int, ...]) -> None:
    column = np.array(days, dtype=np.int32)
    prices = ClosePrices(np.zeros(len(column), dtype=np.int32), column, np.ones(len(column)))
    for last_day in (*EXTREMES[:-1], day_number(AS_OF)):  # the last one is beyond every date
        grid = grid_of(prices, assets=2, last_day=date_of(last_day))
        assert len(grid.prices) <= LONGEST_HISTORY_WEEKDAYS


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most that was allocated at one time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rows", [with_price(date(1990, 1, 1)), with_purchase(date(1990, 1, 1))], ids=["price", "buy"])
def test_one_row_of_1990_costs_no_memory(rows: TrainingRows) -> None:
    def fit(rows: TrainingRows) -> int:
        return peak_bytes(lambda: fit_model(build_training_data(rows, now=NOW), CONFIGURATION, version="v1"))

    usual = fit(ROWS)

    assert fit(rows) <= 1.1 * usual


@settings(max_examples=25, deadline=None)
@given(
    days=st.lists(st.dates(date(1990, 1, 1), date(2022, 12, 2)), max_size=8),
    prices=st.lists(st.dates(date(1990, 1, 1), date(2022, 12, 2)), max_size=8),
)
def test_a_model_is_finite_and_its_arrays_follow_assets_alone(days: list[date], prices: list[date]) -> None:
    rows = replace(
        ROWS,
        purchases=build_purchases([(f"C{number:04d}", isin_of(number % 12), day) for number, day in enumerate(days)]),
        close_prices=build_prices([(isin_of(number % 12), day, 5.0) for number, day in enumerate(prices)]),
    )
    data = build_training_data(rows, now=NOW)

    with np.errstate(over="raise", invalid="ignore", divide="ignore"):
        model = fit_model(data, CONFIGURATION, version="v1")

    assert data.as_of <= NOW.date()
    for name, values in named_arrays(model).items():
        assert set(values.shape) <= {12, SEGMENT_COUNT, MIX_COUNT, len(VALIDATION)}, name
        assert np.isfinite(values).all(), name
