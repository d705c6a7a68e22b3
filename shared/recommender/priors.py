"""What customers of a segment buy: the stand-in for the history that a cold customer does not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.recommender.dataset import Purchases
from shared.recommender.model import SEGMENT_COUNT, segment_index
from shared.recommender.types import Customer

HALF_LIFE_DAYS = 180.0
SHRINKAGE = 100.0  # purchases of the whole population that every segment starts with


def fit_segment_priors(
    purchases: Purchases, customers: Sequence[Customer], *, asset_count: int, last_day: int
) -> NDArray[np.float32]:
    """Return (SEGMENT_COUNT, A) popularity by segment, each row scaled so that its largest value is 1.

    A purchase counts half after HALF_LIFE_DAYS. A segment's shares are shrunk towards the population's, as if
    SHRINKAGE purchases of the population had been seen in it. Zeros when nobody bought anything.
    """
    segments = np.array([segment_index(c.risk_level, c.investment_capacity) for c in customers], dtype=np.int64)
    counts = np.zeros((SEGMENT_COUNT, asset_count))
    age = last_day - purchases.day.astype(np.float64)
    np.add.at(counts, (segments[purchases.customer_index], purchases.asset_index), 0.5 ** (age / HALF_LIFE_DAYS))
    total = counts.sum()
    if total <= 0:
        return np.zeros((SEGMENT_COUNT, asset_count), dtype=np.float32)
    population = counts.sum(axis=0) / total
    shares = (counts + SHRINKAGE * population) / (counts.sum(axis=1, keepdims=True) + SHRINKAGE)
    return np.ascontiguousarray(shares / shares.max(axis=1, keepdims=True), dtype=np.float32)
