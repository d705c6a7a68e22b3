"""Close prices as one matrix of weekdays by assets, and what can be read from it at a date.

D weekdays (the last is the newest weekday up to the cutoff), A assets. Every figure at row d uses rows <= d only.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.recommender.dataset import ClosePrices

STALE_AFTER_WEEKDAYS = 10  # a price is carried forward this long, then the asset has none
HORIZON_WEEKDAYS = 126  # six months
LONGEST_GRID_WEEKDAYS = 2_610  # ten years: older prices teach nothing of today, and memory must not follow a date
ENOUGH_OBSERVATIONS = 20  # real prices within six months, below that indicators say nothing
FEATURE_NAMES = (
    *(f"momentum_{days}" for days in (21, 63, 126)),
    *(f"volatility_{days}" for days in (21, 126)),
    *(f"average_ratio_{days}" for days in (21, 63, 126)),
    "drawdown_126",
    "rsi_14",
    "market_momentum_63",
)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class PriceGrid:
    """Carried-forward prices (D, A), NaN where unknown, and how many real prices the six months before had."""

    prices: Matrix
    observations: NDArray[np.int32]

    def enough(self, row: int) -> NDArray[np.bool_]:
        """Return which assets (A,) have a current price and enough real ones before it."""
        enough: NDArray[np.bool_] = np.isfinite(self.prices[row]) & (self.observations[row] >= ENOUGH_OBSERVATIONS)
        return enough


def build_price_grid(prices: ClosePrices, *, asset_count: int, last_day: int) -> PriceGrid:
    """Lay prices dated up to `last_day` on weekdays; a weekend's price counts for the Friday before.

    The first row is the oldest price within LONGEST_GRID_WEEKDAYS of the last row: older ones are left out.
    """
    rows = _weekday_rows(prices.day)
    last = int(_weekday_rows(np.array([last_day]))[0])
    kept = (rows <= last) & (rows > last - LONGEST_GRID_WEEKDAYS)
    if not kept.any():
        return PriceGrid(np.empty((0, asset_count)), np.empty((0, asset_count), dtype=np.int32))
    first = int(rows[kept].min())
    grid = np.full((last - first + 1, asset_count), np.nan)
    grid[rows[kept] - first, prices.asset_index[kept]] = prices.close[kept]
    seen = np.isfinite(grid)
    return PriceGrid(_carry_forward(grid, seen), _trailing_count(seen))


def price_features(grid: PriceGrid, row: int) -> Matrix:
    """Return (A, len(FEATURE_NAMES)) technical indicators known at this row, NaN where not computable."""
    window = grid.prices[max(0, row - HORIZON_WEEKDAYS) : row + 1]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # columns without any price are NaN, as promised
        returns = np.diff(np.log(window), axis=0)
        momenta = [_momentum(window, days) for days in (21, 63, 126)]
        volatilities = [np.nanstd(returns[-days:], axis=0) if len(returns) else _unknown(window) for days in (21, 126)]
        ratios = [window[-1] / np.nanmean(window[-days:], axis=0) - 1 for days in (21, 63, 126)]
        drawdown = window[-1] / np.nanmax(window, axis=0) - 1
        market = np.full(window.shape[1], np.nanmedian(momenta[1]))
        features = [*momenta, *volatilities, *ratios, drawdown, _relative_strength(returns[-14:]), market]
    matrix = np.stack(features, axis=1)
    return np.where(np.isfinite(matrix), matrix, np.nan)


def market_betas(grid: PriceGrid, row: int) -> NDArray[np.float64]:
    """Return (A,) sensitivities to the equally weighted market over six months, NaN where not computable."""
    window = grid.prices[max(0, row - HORIZON_WEEKDAYS) : row + 1]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        returns = np.diff(np.log(window), axis=0)
        market = np.nanmean(returns, axis=1, keepdims=True)
        known = np.isfinite(returns)
        centred = np.where(known, returns - np.nanmean(returns, axis=0), 0.0)
        market_centred = np.where(known, market - np.nanmean(np.where(known, market, np.nan), axis=0), 0.0)
        betas = (centred * market_centred).sum(axis=0) / (market_centred**2).sum(axis=0)
    return np.where(np.isfinite(betas), betas, np.nan)


def _weekday_rows(days: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number weekdays consecutively; day 0 (1970-01-01) is a Thursday."""
    weeks, weekday = np.divmod(days.astype(np.int64) + 3, 7)
    return weeks * 5 + np.minimum(weekday, 4)


def _carry_forward(grid: Matrix, seen: NDArray[np.bool_]) -> Matrix:
    row_numbers = np.arange(len(grid))[:, None]
    latest = np.maximum.accumulate(np.where(seen, row_numbers, -1), axis=0)
    carried = np.take_along_axis(grid, np.maximum(latest, 0), axis=0)
    fresh = (latest >= 0) & (row_numbers - latest <= STALE_AFTER_WEEKDAYS)
    return np.where(fresh, carried, np.nan)


def _trailing_count(seen: NDArray[np.bool_]) -> NDArray[np.int32]:
    total = np.cumsum(seen, axis=0, dtype=np.int32)
    before = np.zeros_like(total)
    before[HORIZON_WEEKDAYS:] = total[:-HORIZON_WEEKDAYS]
    return total - before


def _unknown(window: Matrix) -> Matrix:
    return np.full(window.shape[1], np.nan)


def _momentum(window: Matrix, days: int) -> Matrix:
    return window[-1] / window[-1 - days] - 1 if len(window) > days else _unknown(window)


def _relative_strength(returns: Matrix) -> Matrix:
    """Relative strength index as a fraction in [0, 1] (Wilder 1978), plain means of gains and losses."""
    gains = np.nansum(np.clip(returns, 0, None), axis=0)
    losses = np.nansum(np.clip(-returns, 0, None), axis=0)
    strength: Matrix = gains / (gains + losses)
    return strength
