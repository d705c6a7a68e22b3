"""Item-item similarity: what owning one asset says for another (EASE)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.training_data import TrainingData


class SimilaritySignal(Signal):
    """A signal whose scores are the customer's history times a matrix of assets by assets."""

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        return np.asarray(batch.history @ arrays["similarity"])


@dataclass(frozen=True, kw_only=True)
class ItemItem(SimilaritySignal):
    """Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), eq. 8, in closed form.

    X (C, A) are the histories: P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj off the diagonal; the scores are history @ B.
    With a half-life of rows, a customer's row of X counts by the age of their latest purchase, which weights the
    squared errors of the fit; the history that is scored stays whole.
    """

    name = "item_item"
    arrays: ClassVar = {"similarity": ArraySpec("what owning asset i says for asset j", ("assets", "assets"))}

    l2: float = 500.0  # added to the diagonal of X'X, in customers
    row_half_life_days: float | None = None

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        history, asset_count = data.history, len(data.id_map)
        if history.nnz == 0:
            return {"similarity": np.zeros((asset_count, asset_count), np.float32)}
        gram = (history.T @ (history if self.row_half_life_days is None else self._weigh_rows(data))).toarray()
        precision = np.linalg.inv(gram.astype(np.float64) + self.l2 * np.eye(asset_count))
        return {"similarity": with_largest_diagonal((precision / -np.diag(precision)).astype(np.float32))}

    def _weigh_rows(self, data: TrainingData) -> Any:
        latest = np.full(len(data.customers), -np.inf)
        np.maximum.at(latest, data.purchases.customer_index, data.purchases.day.astype(np.float64))
        return (
            sparse.diags_array(time_decay(data.last_day - latest, self.row_half_life_days or math.inf)) @ data.history
        )


def with_largest_diagonal(matrix: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return (A, A) float32 with the largest value between two assets on the diagonal.

    An asset is then at least as near to itself as any two are to each other (docs/decisions/0008). The diagonal counts
    for interactions alone, because what a customer owns is no candidate.
    """
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, matrix.max())
    return np.ascontiguousarray(matrix, dtype=np.float32)
