"""Item-item similarity that must predict each asset without it (EDLAE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shared.recommender.signal import Arrays, ArraySpec
from shared.recommender.signals.item_item import SimilaritySignal, fit_autoencoder, with_largest_diagonal
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Edlae(SimilaritySignal):
    """Steck, "Autoencoders that don't overfit towards the Identity" (NeurIPS 2020), in closed form.

    As `ItemItem`, with dropout at the rate p: P = (X'X + l2 I + p / (1 - p) diag(X'X))^-1. The more customers own
    an asset, the more its weights shrink. With `popularity_power` the score of an asset with n owners is divided by
    n ** popularity_power, so that assets with many owners do not come first for everybody (normalisation by asset, Park
    et al., "Why is Normalization Necessary for Linear Recommenders?", SIGIR 2025).
    """

    name = "edlae"
    arrays: ClassVar = {"similarity": ArraySpec("what owning asset i says for asset j", ("assets", "assets"))}

    l2: float = 300.0  # added to the diagonal of X'X, in customers
    dropout: float = 0.3  # share of the history that is hidden from the fit, in [0, 1)
    popularity_power: float = 0.0  # of the number of owners; 0: it does not count

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        gram = (data.history.T @ data.history).toarray().astype(np.float64)
        if data.history.nnz == 0:
            return {"similarity": np.zeros(gram.shape, np.float32)}
        owners = np.diag(gram)
        penalty = self.l2 + self.dropout / (1.0 - self.dropout) * owners
        similarity = fit_autoencoder(gram, penalty=penalty)
        return {"similarity": with_largest_diagonal(similarity / np.maximum(owners, 1.0) ** self.popularity_power)}
