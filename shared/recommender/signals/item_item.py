"""Item-item similarity: what owning one asset says for another (EASE)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.asset_matrix import MatrixSignal, with_largest_diagonal, with_largest_sparse_diagonal
from shared.recommender.customer_sums import SumMatrix, SummedSignal, Sums, as_sum
from shared.recommender.history import HistoryMatrix, time_decay
from shared.recommender.neighbour_ridge import (
    entries_of,
    nearest_features,
    solve_on_neighbours,
    without_diagonal,
)
from shared.recommender.signal import Arrays, ArraySpec
from shared.recommender.training_data import TrainingData


class AutoencoderSignal(MatrixSignal, SummedSignal):
    """A signal whose matrix is that of a linear autoencoder; the scores are history @ similarity."""

    arrays: ClassVar = {"similarity": ArraySpec("what owning asset i says for asset j", ("assets", "assets"))}

    def fit_autoencoder(
        self, gram: SumMatrix, *, penalty: NDArray[np.float64], scale: NDArray[np.float64] | None = None
    ) -> Arrays:
        """Return the arrays of (A, A) sums; each column is divided by `scale` (A,), if there is one.

        In the sparse form the column of an asset is the regression on those assets alone that it is most often with.
        """
        asset_count = gram.shape[0]
        if not gram.nnz:
            return self.nothing(asset_count)
        if not self.is_sparse(asset_count):
            dense = fit_autoencoder(gram.toarray(), penalty=penalty)
            return {"similarity": dense if scale is None else with_largest_diagonal(dense / scale)}
        together = without_diagonal(gram)
        nearest = nearest_features(together, self.neighbours)
        similarity = solve_on_neighbours(gram, penalty, nearest, entries_of(together))
        return with_largest_sparse_diagonal(similarity if scale is None else similarity / scale)


@dataclass(frozen=True, kw_only=True)
class ItemItem(AutoencoderSignal):
    """Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), eq. 8, in closed form.

    X (C, A) are the histories: P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj off the diagonal; the scores are history @ B.
    An owned asset counts `least_entry` in X, and the rest by the age of its latest purchase. With a half-life of rows,
    a customer's row of X counts by the age of their latest purchase, which weights the squared errors of the fit. The
    history that is scored stays whole.
    """

    name = "item_item"

    l2: float = 500.0  # added to the diagonal of X'X, in customers
    least_entry: float = 1.0  # 1: the age of a purchase does not count
    entry_half_life_days: float = 78.0
    row_half_life_days: float | None = None

    def sum_customers(self, chunk: TrainingData, prepared: Arrays) -> Sums:
        history = self._weigh_entries(chunk)
        weighted = history if self.row_half_life_days is None else self._weigh_rows(chunk, history)
        return {"gram": as_sum(history.T @ weighted)}

    def fit_sums(self, sums: Sums, prepared: Arrays, *, asset_count: int) -> Arrays:
        return self.fit_autoencoder(sums["gram"], penalty=np.full(asset_count, self.l2))

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
