"""Item-item similarity of what is bought together on one day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse

from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays, ArraySpec
from shared.recommender.signals.item_item import SimilaritySignal, fit_autoencoder
from shared.recommender.signals.next_purchase import build_baskets
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Basket(SimilaritySignal):
    """EASE (see `ItemItem`) over baskets instead of customers.

    Y (N, A) has a row for each basket with a purchase that shows demand, W their weights, half after each half-life:
    P = (Y'WY + l2 I)^-1. Assets that are bought together in one decision are nearer to each other than those that a
    customer came to own over years. The scores are history @ B.
    """

    name = "basket"
    arrays: ClassVar = {"similarity": ArraySpec("what owning asset i says for asset j", ("assets", "assets"))}

    l2: float = 30.0  # added to the diagonal of Y'WY, in baskets
    half_life_days: float = 360.0
    entry_days: int = 14  # see TrainingData.first_purchases

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        asset_count = len(data.id_map)
        purchases = data.first_purchases(entry_days=self.entry_days)
        _, bought, day = build_baskets(purchases, asset_count=asset_count)
        if not len(day):
            return {"similarity": np.zeros((asset_count, asset_count), np.float32)}
        weight = time_decay(data.last_day - day.astype(np.float64), self.half_life_days)
        gram = (bought.T @ (sparse.diags_array(weight) @ bought)).toarray()
        return {"similarity": fit_autoencoder(gram, penalty=np.full(asset_count, self.l2))}
