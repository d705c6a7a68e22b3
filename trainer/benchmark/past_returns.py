"""Returns of the year before a date, from sparse and irregular prices; volatility and Sharpe ratio of holdings.

Of each week the last known price counts; a return runs from the asset's price before, however many weeks earlier. A log
return is divided by the square root of the days between its two prices, which makes returns over different spans
comparable (the variance of a random walk grows with time). The risk-free rate is 0, as the euro's was about then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.training_data import ClosePrices

WEEK_DAYS, WEEKS = 7, 52
LEAST_RETURNS = 4  # of an asset, and of holdings: below, nothing is known
DAYS_PER_YEAR = 365.0

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class PastReturns:
    """A assets, W weeks up to the date. known: (A,) at least LEAST_RETURNS returns; others are left out.

    scaled: (A, W) log return since the asset's price before, per square root of a day; 0 where there is none.
    present: (A, W) 1.0 where there is one. growth: (A,) log return a year, first price to last; 0 unless known.
    """

    known: NDArray[np.bool_]
    scaled: Figures
    present: Figures
    growth: Figures


@dataclass(frozen=True)
class Pool:
    """Sums over the assets of B holdings, which can be added; (B, W) scaled and present, (B,) the others."""

    scaled: Figures
    present: Figures
    growth: Figures
    known: Figures
    assets: Figures

    def __add__(self, other: Pool) -> Pool:
        return Pool(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    def portfolio_volatility(self) -> Figures:
        """Return (B,) annual volatilities of equal weights: sample deviation of the mean scaled return of a week.

        A week counts when at least half of the known assets have a return in it. NaN below LEAST_RETURNS
        weeks, and where fewer than half of the assets are known.
        """
        counts = (self.present > 0) & (2 * self.present >= self.known[:, np.newaxis])
        means = np.divide(self.scaled, self.present, out=np.zeros_like(self.scaled), where=counts)
        number = counts.sum(axis=1)
        enough = (number >= LEAST_RETURNS) & self.is_known()
        centre = means.sum(axis=1) / np.maximum(number, 1)
        squares = np.where(counts, (means - centre[:, np.newaxis]) ** 2, 0.0).sum(axis=1)
        variance = squares / np.maximum(number - 1, 1) * DAYS_PER_YEAR
        return np.where(enough, np.sqrt(variance), np.nan)

    def sharpe(self) -> Figures:
        """Return (B,) the mean log return a year of the known assets by the volatility; NaN where that is 0 or NaN."""
        volatility = self.portfolio_volatility()
        growth = self.growth / np.maximum(self.known, 1)
        ratios: Figures = np.divide(growth, volatility, out=np.full(len(growth), np.nan), where=volatility > 0)
        return ratios

    def is_known(self) -> NDArray[np.bool_]:
        """Return (B,) whether at least half of the assets, and one, are known."""
        known: NDArray[np.bool_] = (self.known > 0) & (2 * self.known >= self.assets)
        return known


def past_returns(prices: ClosePrices, *, day: int, asset_count: int) -> PastReturns:
    """Return what the prices of the WEEKS weeks up to the end of `day` say; no later one is looked at."""
    asset, date, close = _last_of_weeks(prices, day)
    same = asset[1:] == asset[:-1]
    days, returns = np.diff(date)[same].astype(np.float64), np.diff(np.log(close))[same]
    of, week = asset[1:][same], WEEKS - 1 - (day - date[1:][same]) // WEEK_DAYS
    count = np.bincount(of, minlength=asset_count)
    known = count >= LEAST_RETURNS
    scaled, present = np.zeros((asset_count, WEEKS)), np.zeros((asset_count, WEEKS))
    scaled[of, week], present[of, week] = returns / np.sqrt(days), 1.0
    total = np.bincount(of, returns, minlength=asset_count)
    spanned = np.bincount(of, days, minlength=asset_count)
    growth = np.divide(total * DAYS_PER_YEAR, spanned, out=np.zeros(asset_count), where=known)
    return PastReturns(known, scaled * known[:, np.newaxis], present * known[:, np.newaxis], growth)


def pool(membership: Any, past: PastReturns) -> Pool:
    """Return the sums over the assets of each row of (B, A) membership, 1.0 where the row holds the asset (sparse)."""
    return Pool(
        scaled=membership @ past.scaled,
        present=membership @ past.present,
        growth=membership @ past.growth,
        known=membership @ past.known.astype(np.float64),
        assets=membership @ np.ones(len(past.known)),
    )


def _last_of_weeks(prices: ClosePrices, day: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return asset, day and price of the last usable price of each asset and week, by asset and then day."""
    usable = (prices.day <= day) & (prices.day > day - WEEKS * WEEK_DAYS) & (prices.close > 0)
    usable &= np.isfinite(prices.close)
    asset, date = prices.asset_index[usable].astype(np.int64), prices.day[usable].astype(np.int64)
    key = asset * WEEKS + WEEKS - 1 - (day - date) // WEEK_DAYS
    last = np.append(key[1:] != key[:-1], True) if len(key) else np.zeros(0, dtype=np.bool_)
    return asset[last], date[last], prices.close[usable][last]
