"""Similarity of the vectors that LightFM learns for the assets."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from scipy import sparse

from shared.recommender.signal import Arrays, ArraySpec
from shared.recommender.signals.item_item import SimilaritySignal, with_largest_diagonal
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class LightFm(SimilaritySignal):
    """LightFM with WARP loss (Kula, "Metadata Embeddings for User and Item Cold-start", CBRecSys 2015).

    A customer is the sum of the representations of what they own, which makes the score linear in the history:
    S_ij = q_i . q_j + b_j with the vectors q and the biases b of the assets.
    """

    name = "lightfm"
    arrays: ClassVar = {"similarity": ArraySpec("what owning asset i says for asset j", ("assets", "assets"))}

    factors: int = 32  # length of a vector
    epochs: int = 10
    learning_rate: float = 0.05
    most_samples: int = 10  # negative assets drawn for one purchase, until one is ranked above it

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        history = data.history
        if history.nnz == 0:
            return {"similarity": np.zeros((len(data.id_map), len(data.id_map)), np.float32)}
        from lightfm import LightFM  # built from source: a machine may lack the compiler

        model = LightFM(
            no_components=self.factors,
            loss="warp",
            learning_rate=self.learning_rate,
            max_sampled=self.most_samples,
            random_state=random_state,
        )
        weights = history.tocoo()
        positives = sparse.coo_array((np.ones_like(weights.data), weights.coords), shape=weights.shape)
        # One thread: several write the same vectors without locks, and no two runs would agree.
        model.fit(
            sparse.coo_matrix(positives),
            sample_weight=sparse.coo_matrix(weights),
            epochs=self.epochs,
            num_threads=1,
        )
        biases, vectors = model.get_item_representations()
        return {"similarity": with_largest_diagonal(vectors @ vectors.T + biases[None, :])}

    @classmethod
    def is_available(cls) -> bool:
        return find_spec("lightfm") is not None
