"""Item-item similarity of what is bought together on one day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from shared.recommender.customer_sums import Sums, as_sum
from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays
from shared.recommender.signals.item_item import AutoencoderSignal
from shared.recommender.signals.next_purchase import baskets_of
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Basket(AutoencoderSignal):
    """EASE (see `ItemItem`) over baskets instead of customers.

    Y (N, A) has a row for each basket with a purchase that shows demand, W their weights, half after each half-life:
    P = (Y'WY + l2 I)^-1. Assets that are bought together in one decision are nearer to each other than those that a
    customer came to own over years. The scores are history @ B.
    """

    name = "basket"

    l2: float = 30.0  # added to the diagonal of Y'WY, in baskets
    half_life_days: float = 360.0
    entry_days: int = 14  # see TrainingData.first_purchases

    def sum_customers(self, chunk: TrainingData, prepared: Arrays) -> Sums:
        _, bought, day = baskets_of(chunk, entry_days=self.entry_days)
        weight = time_decay(chunk.last_day - day.astype(np.float64), self.half_life_days)
        return {"gram": as_sum(bought.T @ (sparse.diags_array(weight) @ bought))}

    def fit_sums(self, sums: Sums, prepared: Arrays, *, asset_count: int) -> Arrays:
        return self.fit_autoencoder(sums["gram"], penalty=np.full(asset_count, self.l2))
