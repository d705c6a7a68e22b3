"""Item-item similarity that must predict each asset without it (EDLAE)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.recommender.customer_sums import Sums, as_sum
from shared.recommender.signal import Arrays
from shared.recommender.signals.item_item import AutoencoderSignal
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Edlae(AutoencoderSignal):
    """Steck, "Autoencoders that don't overfit towards the Identity" (NeurIPS 2020), in closed form.

    As `ItemItem`, with dropout at the rate p: P = (X'X + l2 I + p / (1 - p) diag(X'X))^-1. The more customers own
    an asset, the more its weights shrink. With `popularity_power` the score of an asset with n owners is divided by
    n ** popularity_power, so that assets with many owners do not come first for everybody (normalisation by asset, Park
    et al., "Why is Normalization Necessary for Linear Recommenders?", SIGIR 2025).
    """

    name = "edlae"

    l2: float = 300.0  # added to the diagonal of X'X, in customers
    dropout: float = 0.3  # share of the history that is hidden from the fit, in [0, 1)
    popularity_power: float = 0.0  # of the number of owners; 0: it does not count

    def sum_customers(self, chunk: TrainingData, prepared: Arrays) -> Sums:
        return {"gram": as_sum(chunk.history.T @ chunk.history)}

    def fit_sums(self, sums: Sums, prepared: Arrays, *, asset_count: int) -> Arrays:
        owners = sums["gram"].diagonal()
        penalty = self.l2 + self.dropout / (1.0 - self.dropout) * owners
        return self.fit_autoencoder(
            sums["gram"], penalty=penalty, scale=np.maximum(owners, 1.0) ** self.popularity_power
        )
