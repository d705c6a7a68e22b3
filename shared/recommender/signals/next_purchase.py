"""What holders of the same assets bought next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.asset_matrix import MatrixSignal, with_largest_diagonal, with_largest_sparse_diagonal
from shared.recommender.customer_sums import SummedSignal, Sums, as_sum
from shared.recommender.history import time_decay
from shared.recommender.neighbour_ridge import entries_of, nearest_features, solve_on_neighbours, with_itself
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores
from shared.recommender.training_data import FirstPurchases, TrainingData

Matrix: TypeAlias = "sparse.csr_array[np.float64, tuple[int, int]]"


@dataclass(frozen=True, kw_only=True)
class NextPurchase(MatrixSignal, SummedSignal):
    """A ridge regression of each day's basket on what its customer held before that day (docs/decisions/0010).

    A basket counts when it has a purchase that shows demand, half after each half-life. With F = [holdings, 1] and the
    weights W the solution is (F'WF + L)^-1 F'WY; the scores are history @ matrix + intercept. Nobody buys first what
    they own, so the diagonal is not fitted (see `with_largest_diagonal`).
    """

    name = "next_purchase"
    matrix_name = "matrix"
    arrays: ClassVar = {
        "matrix": ArraySpec("what holding asset i says for buying asset j next", ("assets", "assets")),
        "intercept": ArraySpec("what is bought next whatever is held", ("assets",)),
    }

    l2: float = 100.0  # of a holding, in baskets
    intercept_l2: float = 1e-3
    half_life_days: float = 180.0
    entry_days: int = 14  # see TrainingData.first_purchases

    def sum_customers(self, chunk: TrainingData, prepared: Arrays) -> Sums:
        holdings, bought, day = baskets_of(chunk, entry_days=self.entry_days)
        weight = time_decay(chunk.last_day - day.astype(np.float64), self.half_life_days)
        features = sparse.hstack([holdings, sparse.csr_array(np.ones((len(day), 1)))], format="csr")
        weighted = (sparse.diags_array(weight) @ features).T.tocsr()
        return {"gram": as_sum(weighted @ features), "target": as_sum(weighted @ bought)}

    def fit_sums(self, sums: Sums, prepared: Arrays, *, asset_count: int) -> Arrays:
        gram, target = sums["gram"], sums["target"]
        if not gram.nnz:
            return {**self.nothing(asset_count), "intercept": np.zeros(asset_count, np.float32)}
        penalty = np.append(np.full(asset_count, self.l2), self.intercept_l2)
        if not self.is_sparse(asset_count):
            solution = solve_ridge(gram.toarray(), penalty, target.toarray())
            intercept = np.ascontiguousarray(solution[-1], np.float32)
            return {"matrix": with_largest_diagonal(solution[:-1]), "intercept": intercept}
        nearest = nearest_features(target, self.neighbours, always=[asset_count])
        found = solve_on_neighbours(gram, penalty, with_itself(nearest), entries_of(target))
        intercept = found[[asset_count]].toarray()[0].astype(np.float32)
        return {**with_largest_sparse_diagonal(found[:asset_count]), "intercept": intercept}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        scores: Scores = super().score(arrays, batch) + arrays["intercept"]
        return scores


def solve_ridge(
    gram: NDArray[np.float64], penalty: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (gram + diag(penalty))^-1 target, for a gram F'F and a target F'Y: 0 where F has no entry."""
    used = np.flatnonzero(np.diag(gram))  # solving takes the third power of their number
    solution = np.zeros(target.shape)
    solution[used] = np.linalg.solve(gram[np.ix_(used, used)] + np.diag(penalty[used]), target[used])
    return solution


def baskets_of(data: TrainingData, *, entry_days: int) -> tuple[Matrix, Matrix, NDArray[np.int32]]:
    """Return `build_baskets` of the first purchases, made once for the data: several signals need the same."""

    def build() -> tuple[Matrix, Matrix, NDArray[np.int32]]:
        return build_baskets(data.first_purchases(entry_days=entry_days), asset_count=len(data.id_map))

    return data.derived(("baskets", entry_days), build)


def build_baskets(purchases: FirstPurchases, *, asset_count: int) -> tuple[Matrix, Matrix, NDArray[np.int32]]:
    """Return (N, A) what was held before each basket, (N, A) what was in it, and the day (N,) of each.

    The purchases are in order of customer and day, so a basket and what came before it are runs of rows.
    """
    customer, day = purchases.customer_index, purchases.day
    is_start = np.append(True, (np.diff(customer) != 0) | (np.diff(day) != 0))[: len(day)]
    basket_of = np.cumsum(is_start) - 1
    start = np.flatnonzero(is_start)
    is_chosen = np.zeros(len(start), dtype=np.bool_)
    is_chosen[basket_of[purchases.shows_demand]] = True
    chosen = np.flatnonzero(is_chosen)
    customer_start = np.searchsorted(customer, customer[start[chosen]])
    stop = np.append(start, len(day))[chosen + 1] if len(chosen) else np.zeros(0, np.int64)
    holdings = _runs(customer_start, start[chosen], purchases, asset_count)
    return holdings, _runs(start[chosen], stop, purchases, asset_count), day[start[chosen]]


def _runs(first: NDArray[np.int64], stop: NDArray[np.int64], purchases: FirstPurchases, asset_count: int) -> Matrix:
    """Return (N, A) ones at the assets of the rows first..stop of each run."""
    lengths = stop - first
    row_ends = np.append(0, np.cumsum(lengths))
    rows = np.arange(row_ends[-1]) + np.repeat(first - row_ends[:-1], lengths)
    assets = purchases.asset_index[rows]
    return sparse.csr_array((np.ones(len(rows)), assets, row_ends), shape=(len(first), asset_count))
