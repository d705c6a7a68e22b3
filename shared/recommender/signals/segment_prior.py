"""What customers of a segment buy: it stands in for the history that a cold customer does not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.signals.trend import shrink
from shared.recommender.training_data import TrainingData
from shared.recommender.types import SEGMENT_COUNT, Customer, segment_index


@dataclass(frozen=True, kw_only=True)
class SegmentPrior(Signal):
    """Popularity by segment (risk level x investment capacity), the most popular asset 1 (smoothing as in `Trend`)."""

    name = "segment_prior"
    arrays: ClassVar = {"popularity": ArraySpec("popularity by segment, scaled to [0, 1]", (SEGMENT_COUNT, "assets"))}

    half_life_days: float = 180.0  # of a purchase
    shrinkage: float = 100.0  # purchases with the shares of the whole population that every segment starts with

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        purchases = data.purchases
        segments = np.array([_segment(customer) for customer in data.customers], dtype=np.int64)
        counts = np.zeros((SEGMENT_COUNT, len(data.id_map)))
        weights = time_decay(data.last_day - purchases.day.astype(np.float64), self.half_life_days)
        np.add.at(counts, (segments[purchases.customer_index], purchases.asset_index), weights)
        total = counts.sum()
        if total <= 0:
            return {"popularity": counts.astype(np.float32)}
        shares = shrink(counts, counts.sum(axis=0) / total, self.shrinkage)
        popularity = shares / shares.max(axis=1, keepdims=True)
        return {"popularity": np.ascontiguousarray(popularity, dtype=np.float32)}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        return np.asarray(arrays["popularity"][[_segment(history.customer) for history in batch.histories]])


def _segment(customer: Customer) -> int:
    return segment_index(customer.risk_level, customer.investment_capacity)
