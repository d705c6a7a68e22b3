"""Close prices as a matrix of weekdays by assets, and the indicators that are known at a row of it.

D weekdays (the last is the newest weekday up to the cutoff), A assets. Every figure at row d uses rows <= d only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.recommender.training_data import TrainingData

WINDOW_WEEKDAYS = 126  # six months: the longest window of a technical indicator

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class PriceGrid:
    """Carried-forward prices (D, A), NaN where unknown; observations: real ones in the WINDOW_WEEKDAYS up to a row."""

    prices: Matrix
    observations: NDArray[np.int32]

    def is_known(self, row: int, least_observations: int) -> NDArray[np.bool_]:
        """Return (A,) which assets have a price at this row, and enough real prices for indicators."""
        known: NDArray[np.bool_] = np.isfinite(self.prices[row]) & (self.observations[row] >= least_observations)
        return known


def price_grid(data: TrainingData, *, stale_after_weekdays: int, longest_history_weekdays: int) -> PriceGrid:
    """Return the prices up to the last day by weekdays; a price of a weekend counts for the Friday before.

    A price is carried forward for `stale_after_weekdays`. The first row is the oldest price of the last
    `longest_history_weekdays`: the size does not depend on a date that may be a mistake. Made once for the data.
    """
    key = ("price grid", stale_after_weekdays, longest_history_weekdays)
    return data.derived(key, lambda: _build_grid(data, stale_after_weekdays, longest_history_weekdays))


def technical_indicators(grid: PriceGrid, row: int) -> dict[str, Matrix]:
    """Return technical indicators (A,) by name, the window in weekdays at the end of the name; NaN where unknown."""
    window = grid.prices[max(0, row - WINDOW_WEEKDAYS) : row + 1]
    with _missing_prices():
        returns = np.diff(np.log(window), axis=0)
        indicators = {
            **{f"momentum_{days}": momentum(window, days) for days in (21, 63, 126)},
            **{f"volatility_{days}": _volatility(window, returns[-days:]) for days in (21, 126)},
            **{f"average_ratio_{days}": window[-1] / np.nanmean(window[-days:], axis=0) - 1 for days in (21, 63, 126)},
            "drawdown_126": window[-1] / np.nanmax(window, axis=0) - 1,
            "rsi_14": _relative_strength(returns[-14:]),
            "market_momentum_63": np.full(window.shape[1], np.nanmedian(momentum(window, 63))),
        }
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in indicators.items()}


def momentum_ranks(grid: PriceGrid, row: int) -> dict[str, Matrix]:
    """Return the ranks (A,) of past returns in [-0.5, 0.5], the highest return first; 0 where unknown.

    Two prices are enough for a return, so this also works on sparse prices.
    """
    lags = (21, 64, 129, 261)
    with _missing_prices():
        return {f"momentum_rank_{days}": centred_ranks(momentum(grid.prices[: row + 1], days)) for days in lags}


def market_betas(grid: PriceGrid, row: int) -> Matrix:
    """Return (A,) sensitivities to the equally weighted market over WINDOW_WEEKDAYS, NaN where unknown."""
    window = grid.prices[max(0, row - WINDOW_WEEKDAYS) : row + 1]
    with _missing_prices():
        returns = np.diff(np.log(window), axis=0)
        market = np.nanmean(returns, axis=1, keepdims=True)
        known = np.isfinite(returns)
        centred = np.where(known, returns - np.nanmean(returns, axis=0), 0.0)
        market_centred = np.where(known, market - np.nanmean(np.where(known, market, np.nan), axis=0), 0.0)
        betas = (centred * market_centred).sum(axis=0) / (market_centred**2).sum(axis=0)
    return np.where(np.isfinite(betas), betas, np.nan)


def momentum(prices: Matrix, days: int) -> Matrix:
    """Return (A,) returns over so many rows up to the last one."""
    return prices[-1] / prices[-1 - days] - 1 if len(prices) > days else _unknown(prices)


def centred_ranks(values: Matrix) -> Matrix:
    """Return (A,) ranks in [-0.5, 0.5], the largest value highest, the mean rank for equal ones, 0 where unknown."""
    ranks = np.zeros(len(values))
    known = np.isfinite(values)
    _, place, count = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks[known] = ((np.cumsum(count) - count / 2) / max(known.sum(), 1) - 0.5)[place]
    return ranks


def _build_grid(data: TrainingData, stale_after_weekdays: int, longest_history_weekdays: int) -> PriceGrid:
    prices, asset_count = data.close_prices, len(data.id_map)
    rows = _weekday_rows(prices.day)
    last = int(_weekday_rows(np.array([data.last_day]))[0])
    kept = (rows <= last) & (rows > last - longest_history_weekdays)
    if not kept.any():
        return PriceGrid(np.empty((0, asset_count)), np.empty((0, asset_count), dtype=np.int32))
    first = int(rows[kept].min())
    grid = np.full((last - first + 1, asset_count), np.nan)
    grid[rows[kept] - first, prices.asset_index[kept]] = prices.close[kept]
    seen = np.isfinite(grid)
    return PriceGrid(_carry_forward(grid, seen, stale_after_weekdays), _trailing_count(seen))


def _weekday_rows(days: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number weekdays consecutively; day 0 (1970-01-01) is a Thursday."""
    weeks, weekday = np.divmod(days.astype(np.int64) + 3, 7)
    return weeks * 5 + np.minimum(weekday, 4)


def _carry_forward(grid: Matrix, seen: NDArray[np.bool_], stale_after_weekdays: int) -> Matrix:
    row_numbers = np.arange(len(grid))[:, None]
    latest = np.maximum.accumulate(np.where(seen, row_numbers, -1), axis=0)
    carried = np.take_along_axis(grid, np.maximum(latest, 0), axis=0)
    fresh = (latest >= 0) & (row_numbers - latest <= stale_after_weekdays)
    return np.where(fresh, carried, np.nan)


def _trailing_count(seen: NDArray[np.bool_]) -> NDArray[np.int32]:
    total = np.cumsum(seen, axis=0, dtype=np.int32)
    before = np.zeros_like(total)
    before[WINDOW_WEEKDAYS:] = total[:-WINDOW_WEEKDAYS]
    return total - before


@contextmanager
def _missing_prices() -> Iterator[None]:
    """Let a column without prices be NaN without a warning."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _unknown(window: Matrix) -> Matrix:
    return np.full(window.shape[1], np.nan)


def _volatility(window: Matrix, returns: Matrix) -> Matrix:
    return np.nanstd(returns, axis=0) if len(returns) else _unknown(window)


def _relative_strength(returns: Matrix) -> Matrix:
    """Relative strength index as a fraction in [0, 1] (Wilder 1978), plain means of gains and losses."""
    gains = np.nansum(np.clip(returns, 0, None), axis=0)
    losses = np.nansum(np.clip(-returns, 0, None), axis=0)
    strength: Matrix = gains / (gains + losses)
    return strength
