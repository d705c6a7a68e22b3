"""What all customers have been buying in the last days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.training_data import FirstPurchases, TrainingData

Shares = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Trend(Signal):
    """Log shares of the assets among the purchases of the last days that show demand (docs/decisions/0013).

    Additive smoothing with a prior (Zhai & Lafferty, "A Study of Smoothing Methods for Language Models", SIGIR 2001):
    the days' shares are shrunk towards those of the last weeks, and these towards all first purchases.
    """

    name = "trend"
    arrays: ClassVar = {"log_shares": ArraySpec("log(1 + share_scale * share) of recent purchases", ("assets",))}

    half_life_days: float = 7.0
    shrinkage: float = 20.0  # purchases with the shares of the last weeks that the trend starts with
    weeks_half_life_days: float = 30.0
    weeks_shrinkage: float = 10.0  # purchases with the shares of all first purchases that the last weeks start with
    share_scale: float = 1000.0  # shares above about 1 / share_scale differ from none
    entry_days: int = 14  # see TrainingData.first_purchases

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        purchases, asset_count = data.first_purchases(entry_days=self.entry_days), len(data.id_map)
        if not len(purchases.day):
            return {"log_shares": np.zeros(asset_count, np.float32)}
        weeks = weeks_shares(data, purchases, half_life_days=self.weeks_half_life_days, shrinkage=self.weeks_shrinkage)
        days = _count_demand(data, purchases, self.half_life_days)
        return {"log_shares": log_shares(shrink(days, weeks, self.shrinkage), self.share_scale)}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        return np.broadcast_to(arrays["log_shares"], batch.history.shape)


def weeks_shares(data: TrainingData, purchases: FirstPurchases, *, half_life_days: float, shrinkage: float) -> Shares:
    """Return (A,) shares of the recent purchases that show demand, shrunk towards those of all first purchases."""
    all_time = np.bincount(purchases.asset_index, minlength=len(data.id_map)) / len(purchases.asset_index)
    return shrink(_count_demand(data, purchases, half_life_days), all_time, shrinkage)


def shrink(counts: Shares, prior: Shares, purchases: float) -> Shares:
    """Return (..., A) shares of the counts after so many purchases with the prior's shares."""
    return np.asarray((counts + purchases * prior) / (counts.sum(axis=-1, keepdims=True) + purchases))


def log_shares(shares: Shares, share_scale: float) -> NDArray[np.float32]:
    """Return log(1 + share_scale * share) as float32."""
    return np.ascontiguousarray(np.log1p(share_scale * shares), dtype=np.float32)


def _count_demand(data: TrainingData, purchases: FirstPurchases, half_life_days: float) -> Shares:
    age_days = data.last_day - purchases.day.astype(np.float64)
    counted = purchases.shows_demand * time_decay(age_days, half_life_days)
    return np.bincount(purchases.asset_index, counted, minlength=len(data.id_map)).astype(np.float64)
