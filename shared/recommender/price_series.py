"""Close prices as they are, on irregular days, and what they say about each asset at a day. A assets.

No price is carried to a day that has none, so two prices in a year are enough. A figure at a day uses prices up to that
day only, and takes time in proportion to the assets and their prices in the window, whatever the dates are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.recommender.training_data import ClosePrices, TrainingData

_LONGER_THAN_ANY_DATE = 2**33  # days: keys of one asset never reach those of the next
_BELOW_ANY_LOG_PRICE = -1e4  # finite: differences of rows without a price are left out, without a warning

Values = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PriceSeries:
    """Prices by asset and then day, one per day. N prices.

    keys: (N,) asset and day in one number, ascending. days: (N,). log_prices: (N + 1,), the last below any other.
    first_rows: (A,) where each asset begins. squared_rates: (N + 1,) sums up to a row of squared log returns per day,
    0 for the first price of an asset.
    """

    keys: Rows
    days: Rows
    log_prices: Values
    first_rows: Rows
    squared_rates: Values
    _ends: dict[int, Rows] = field(default_factory=dict, init=False, repr=False)

    def ends(self, day: int) -> Rows:
        """Return (A,) the row after the last price up to a day; an asset without one gets its first row."""
        if day not in self._ends:
            sought = np.arange(len(self.first_rows), dtype=np.int64) * _LONGER_THAN_ANY_DATE + day
            self._ends[day] = np.searchsorted(self.keys, sought, side="right").astype(np.int64)
        return self._ends[day]

    def counts(self, day: int) -> Rows:
        """Return (A,) the number of prices up to a day."""
        return self.ends(day) - self.first_rows

    def ages(self, day: int) -> Values:
        """Return (A,) days since the last price, infinite without one."""
        last, ends = self._days_before(self.ends(day)), self.ends(day)
        return np.where(ends > self.first_rows, day - last, np.inf)

    def log_prices_at(self, day: int, *, tolerance_days: int) -> Values:
        """Return (A,) logarithms of the last prices up to a day, NaN where none is as recent as the tolerance."""
        return np.where(self.ages(day) <= tolerance_days, self._log_prices_before(self.ends(day)), np.nan)

    def nearness_to_high(self, day: int, *, window_days: int) -> Values:
        """Return (A,) log(last price / highest price) of the window, 0 at the high; NaN below two prices in it."""
        begins, ends = self.ends(day - window_days), self.ends(day)
        bounds = np.stack([begins, ends], axis=1).ravel()
        highest = np.maximum.reduceat(self.log_prices, bounds)[::2]
        return np.where(ends - begins >= 2, self._log_prices_before(ends) - highest, np.nan)

    def momentum(self, day: int, *, days: int) -> Values:
        """Return (A,) log returns per day since the last price that is at least so many days old, however old it is.

        NaN where there is no such price, or none after it.
        """
        now, then = self.ends(day), self.ends(day - days)
        gained = self._log_prices_before(now) - self._log_prices_before(then)
        elapsed = np.maximum(self._days_before(now) - self._days_before(then), 1)
        return np.where((then > self.first_rows) & (now > then), gained / elapsed, np.nan)

    def root_mean_square_returns(self, day: int, *, window_days: int) -> Values:
        """Return (A,) the root mean square of log returns per square root of a day; NaN below two in the window."""
        begins, ends = np.maximum(self.ends(day - window_days), self.first_rows + 1), self.ends(day)
        count = ends - begins
        total = self.squared_rates[ends] - self.squared_rates[np.minimum(begins, ends)]
        return np.where(count >= 2, np.sqrt(np.maximum(total, 0.0) / np.maximum(count, 1)), np.nan)

    def _log_prices_before(self, ends: Rows) -> Values:
        return self.log_prices[ends - 1]

    def _days_before(self, ends: Rows) -> Rows:
        return self.days[ends - 1] if len(self.days) else np.zeros(len(ends), dtype=np.int64)


def price_series(data: TrainingData) -> PriceSeries:
    """Return the close prices of the data as series; made once for the data."""
    return data.derived("price series", lambda: build_series(data.close_prices, len(data.id_map)))


def build_series(prices: ClosePrices, asset_count: int) -> PriceSeries:
    """Return these prices, sorted by asset and then day, as series of so many assets."""
    keys = prices.asset_index.astype(np.int64) * _LONGER_THAN_ANY_DATE + prices.day
    kept = np.append(keys[1:] != keys[:-1], True)[: len(keys)]  # of two prices of one day, the last
    keys, assets, days = keys[kept], prices.asset_index[kept], prices.day[kept].astype(np.int64)
    log_prices = np.append(np.log(prices.close[kept]), _BELOW_ANY_LOG_PRICE)
    follows = np.append(False, assets[1:] == assets[:-1])[: len(assets)]
    elapsed = np.where(follows, np.diff(days, prepend=0), 1)
    squared = np.where(follows, np.diff(log_prices[:-1], prepend=0.0) ** 2 / elapsed, 0.0)
    first_rows = np.searchsorted(assets, np.arange(asset_count)).astype(np.int64)
    return PriceSeries(keys, days, log_prices, first_rows, np.append(0.0, np.cumsum(squared)))
