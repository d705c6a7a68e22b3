"""Item-item similarity: what owning one asset says for another (EASE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.dataset import TrainingData
from shared.recommender.history import time_decay
from shared.recommender.signal import ArraySpec, Arrays, Batch, Scores, Signal


@dataclass(frozen=True, kw_only=True)
class ItemItem(Signal):
    """Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), eq. 8, in closed form.

    X (C, A) are the histories: P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj off the diagonal; the scores are history @ B.
    With a half-life of rows, a customer's row of X counts by the age of their latest purchase, which weights the squared
    errors of the fit; the history that is scored stays whole.
    """

    name = "item_item"
    arrays = {"similarity": ArraySpec("what owning asset i (row) says for asset j (column)", ("assets", "assets"))}

    l2: float = 500.0  # added to the diagonal of X'X, in customers
    row_half_life_days: float | None = None

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        history, asset_count = data.history, len(data.id_map)
        if history.nnz == 0:
            return {"similarity": np.zeros((asset_count, asset_count), np.float32)}
        weighted = history
        if self.row_half_life_days is not None:
            weighted = sparse.csr_array(sparse.diags_array(_row_weights(data, self.row_half_life_days)) @ history)
        gram = (history.T @ weighted).toarray().astype(np.float64)
        precision = np.linalg.inv(gram + self.l2 * np.eye(asset_count))
        return {"similarity": with_largest_diagonal((precision / -np.diag(precision)).astype(np.float32))}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        scores: Scores = batch.history @ arrays["similarity"]
        return scores


def with_largest_diagonal(matrix: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return (A, A) float32 with the largest value between two assets on the diagonal.

    An asset is then at least as near to itself as any two are to each other (docs/decisions/0008). The diagonal counts
    for interactions alone, because what a customer owns is no candidate.
    """
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, matrix.max())
    return np.ascontiguousarray(matrix, dtype=np.float32)


def _row_weights(data: TrainingData, half_life_days: float) -> NDArray[np.float64]:
    latest = np.full(len(data.customers), -np.inf)
    np.maximum.at(latest, data.purchases.customer_index, data.purchases.day.astype(np.float64))
    return time_decay(data.last_day - latest, half_life_days)
