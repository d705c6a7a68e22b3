"""Similarity of the vectors that LightFM learns for the assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.asset_matrix import MatrixSignal, with_largest_diagonal
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores
from shared.recommender.training_data import TrainingData

FACTOR_ARRAYS = {
    "vectors": ArraySpec("vectors of the assets, as columns", ("factors", "assets")),
    "biases": ArraySpec("biases of the assets", ("assets",)),
    "diagonal_gain": ArraySpec("what an asset says for itself beyond its vector and bias", ("assets",)),
}
_BLOCK = 512  # assets that are compared with all others at a time


@dataclass(frozen=True, kw_only=True)
class LightFm(MatrixSignal):
    """LightFM with WARP loss (Kula, "Metadata Embeddings for User and Item Cold-start", CBRecSys 2015).

    A customer is the sum of the representations of what they own, which makes the score linear in the history:
    S_ij = q_i . q_j + b_j with the vectors q and the biases b of the assets. Above `dense_assets` assets, S is never
    computed: the scores come from the vectors.
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
            return self.nothing(len(data.id_map))
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
        if not self.is_sparse(len(data.id_map)):
            return {"similarity": with_largest_diagonal(vectors @ vectors.T + biases[None, :])}
        itself = np.einsum("af,af->a", vectors, vectors) + biases
        return {
            "vectors": np.ascontiguousarray(vectors.T),
            "biases": biases,
            "diagonal_gain": (_largest_between_two(vectors, biases) - itself).astype(np.float32),
        }

    def specs(self, asset_count: int) -> Mapping[str, ArraySpec]:
        return FACTOR_ARRAYS if self.is_sparse(asset_count) else self.arrays

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        if "similarity" in arrays:
            return super().score(arrays, batch)
        history, vectors = batch.history, arrays["vectors"]
        # Sparse times dense adds up row by row: a dense product would be rounded otherwise in another batch.
        scores = np.asarray(sparse.csr_array(history @ vectors.T) @ vectors)
        scores += history.sum(axis=1)[:, np.newaxis] * arrays["biases"]
        rows = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
        scores[rows, history.indices] += history.data * arrays["diagonal_gain"][history.indices]
        return scores

    def check(self, arrays: Arrays, *, asset_count: int) -> None:
        """Any arrays of these shapes fit together."""

    def nothing(self, asset_count: int) -> Arrays:
        if not self.is_sparse(asset_count):
            return super().nothing(asset_count)
        none = np.zeros(asset_count, np.float32)
        return {"vectors": np.zeros((self.factors, asset_count), np.float32), "biases": none, "diagonal_gain": none}

    @classmethod
    def is_available(cls) -> bool:
        return find_spec("lightfm") is not None


def _largest_between_two(vectors: NDArray[np.float32], biases: NDArray[np.float32]) -> float:
    """Return the largest S_ij of two assets, at least 0."""
    largest = 0.0
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T + biases
        block[np.arange(len(block)), np.arange(start, start + len(block))] = 0.0
        largest = max(largest, float(block.max()))
    return largest
