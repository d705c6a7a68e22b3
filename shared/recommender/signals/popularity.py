"""How much of all demand an asset gets; with a negative weight, what the other signals have of it is taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.signals.trend import shrink
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Popularity(Signal):
    """Log shares of the assets among recent purchases that show demand, plus those among all first purchases.

    All collaborative signals contain popularity, so their sum counts it several times (Steck, "Item Popularity and
    Recommendation Accuracy", RecSys 2011). Additive smoothing as in `Trend`.
    """

    name = "popularity"
    arrays: ClassVar = {
        "log_shares": ArraySpec("log of the recent share plus log of the share of all time", ("assets",))
    }

    half_life_days: float = 120.0  # of a purchase that shows demand
    shrinkage: float = 10.0  # purchases with the shares of all time that the recent shares start with
    least_share: float = 1e-6  # of the purchases: an asset that nobody bought has this share
    entry_days: int = 14  # see TrainingData.first_purchases

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        purchases, asset_count = data.first_purchases(entry_days=self.entry_days), len(data.id_map)
        if not len(purchases.day):
            return {"log_shares": np.zeros(asset_count, np.float32)}
        all_time = np.bincount(purchases.asset_index, minlength=asset_count) / len(purchases.day)
        age_days = data.last_day - purchases.day.astype(np.float64)
        demand = purchases.shows_demand * time_decay(age_days, self.half_life_days)
        counts = np.bincount(purchases.asset_index, demand, minlength=asset_count).astype(np.float64)
        recent = shrink(counts, all_time, self.shrinkage)
        logs = [np.log(np.maximum(shares, self.least_share)) for shares in (recent, all_time)]
        return {"log_shares": np.ascontiguousarray(logs[0] + logs[1], np.float32)}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        return np.broadcast_to(arrays["log_shares"], batch.history.shape)
