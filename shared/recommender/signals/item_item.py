"""Item-item similarity: what owning one asset says for another (EASE)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.history import HistoryMatrix, time_decay
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
    An owned asset counts `least_entry` in X, and the rest by the age of its latest purchase. With a half-life of rows,
    a customer's row of X counts by the age of their latest purchase, which weights the squared errors of the fit. The
    history that is scored stays whole.
    """

    name = "item_item"
    arrays: ClassVar = {"similarity": ArraySpec("what owning asset i says for asset j", ("assets", "assets"))}

    l2: float = 500.0  # added to the diagonal of X'X, in customers
    least_entry: float = 1.0  # 1: the age of a purchase does not count
    entry_half_life_days: float = 78.0
    row_half_life_days: float | None = None

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        if data.history.nnz == 0:
            return {"similarity": np.zeros((len(data.id_map), len(data.id_map)), np.float32)}
        history = self._weigh_entries(data)
        gram = (history.T @ (history if self.row_half_life_days is None else self._weigh_rows(data, history))).toarray()
        return {"similarity": fit_autoencoder(gram, penalty=np.full(len(gram), self.l2))}

    def _weigh_entries(self, data: TrainingData) -> HistoryMatrix:
        if self.least_entry == 1.0:
            return data.history
        purchases, shape = data.purchases, (len(data.customers), len(data.id_map))
        pairs = purchases.customer_index.astype(np.int64) * shape[1] + purchases.asset_index
        latest = np.unique(pairs[::-1], return_index=True)[1]  # rows are in order of the day
        customer, asset, day = (column[::-1][latest] for column in vars(purchases).values())
        age = data.last_day - day.astype(np.float64)
        lost = (1.0 - self.least_entry) * (1.0 - time_decay(age, self.entry_half_life_days))
        return data.history - sparse.csr_array((lost.astype(np.float32), (customer, asset)), shape=shape)

    def _weigh_rows(self, data: TrainingData, history: HistoryMatrix) -> Any:
        latest = np.full(len(data.customers), -np.inf)
        np.maximum.at(latest, data.purchases.customer_index, data.purchases.day.astype(np.float64))
        return sparse.diags_array(time_decay(data.last_day - latest, self.row_half_life_days or math.inf)) @ history


def fit_autoencoder(gram: NDArray[np.floating[Any]], *, penalty: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return B (A, A) of a linear autoencoder: P = (gram + diag(penalty))^-1, B_ij = -P_ij / P_jj."""
    used = np.flatnonzero(np.diag(gram))  # for other assets B is 0, and inverting takes the third power of their number
    precision = np.linalg.inv(gram[np.ix_(used, used)].astype(np.float64) + np.diag(penalty[used]))
    similarity = np.zeros(gram.shape, dtype=np.float32)
    similarity[np.ix_(used, used)] = precision / -np.diag(precision)
    return with_largest_diagonal(similarity)


def with_largest_diagonal(matrix: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return (A, A) float32 with the largest value between two assets on the diagonal.

    An asset is then at least as near to itself as any two are to each other (docs/decisions/0008). The diagonal counts
    for interactions alone, because what a customer owns is no candidate.
    """
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, matrix.max())
    return np.ascontiguousarray(matrix, dtype=np.float32)
