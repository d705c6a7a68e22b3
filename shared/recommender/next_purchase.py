"""What is bought next by somebody who holds these assets: one ridge regression over all baskets in the records."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.demand import Demand

HALF_LIFE_DAYS = 180.0
L2 = 100.0
INTERCEPT_L2 = 1e-3

Matrix: TypeAlias = "sparse.csr_array[np.float64, tuple[int, int]]"


def fit_next_purchase(
    demand: Demand, *, asset_count: int, last_day: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (A, A) and (A,) float32 such that `holdings @ matrix + intercept` scores what is bought next.

    A basket is what one customer bought on one day, and counts when it holds evidence of demand; it is regressed on
    what they held before that day, and counts half after HALF_LIFE_DAYS. Ridge, F = [holdings, 1]:
    (F'WF + L)^-1 F'WY. As in `asset_similarity` the diagonal is not fitted (nobody buys first what they own) but is
    the largest value, because it is read for interactions alone. Zeros without any basket.
    """
    holdings, bought, basket_day = build_baskets(demand, asset_count=asset_count)
    if not len(basket_day):
        return np.zeros((asset_count, asset_count), np.float32), np.zeros(asset_count, np.float32)
    weight = 0.5 ** ((last_day - basket_day.astype(np.float64)) / HALF_LIFE_DAYS)
    features = sparse.hstack([holdings, sparse.csr_array(np.ones((len(basket_day), 1)))], format="csr")
    weighted = (sparse.diags_array(weight) @ features).T.tocsr()
    penalty = np.append(np.full(asset_count, L2), INTERCEPT_L2)
    gram = (weighted @ features).toarray() + np.diag(penalty)
    solution = np.linalg.solve(gram, (weighted @ bought).toarray())
    matrix, intercept = solution[:-1], solution[-1]
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, matrix.max())
    return np.ascontiguousarray(matrix, np.float32), np.ascontiguousarray(intercept, np.float32)


def build_baskets(demand: Demand, *, asset_count: int) -> tuple[Matrix, Matrix, NDArray[np.int32]]:
    """Return (N, A) what was held before each basket, (N, A) what was in it, and the day (N,) of each.

    Rows of `demand` are in order of customer and day, so a basket and what came before it are runs of rows.
    """
    customer, day = demand.customer_index, demand.day
    is_start = np.append(True, (np.diff(customer) != 0) | (np.diff(day) != 0))[: len(day)]
    basket_of = np.cumsum(is_start) - 1
    start = np.flatnonzero(is_start)
    chosen = np.unique(basket_of[demand.is_evidence])
    customer_start = np.searchsorted(customer, customer[start[chosen]])
    stop = np.append(start, len(day))[chosen + 1] if len(chosen) else np.zeros(0, np.int64)
    holdings = _runs(customer_start, start[chosen], demand, asset_count)
    return holdings, _runs(start[chosen], stop, demand, asset_count), day[start[chosen]]


def _runs(first: NDArray[np.int64], stop: NDArray[np.int64], demand: Demand, asset_count: int) -> Matrix:
    """Return (N, A) ones at the assets of the rows first..stop of each run."""
    lengths = stop - first
    row_ends = np.append(0, np.cumsum(lengths))
    rows = np.arange(row_ends[-1]) + np.repeat(first - row_ends[:-1], lengths)
    assets = demand.asset_index[rows]
    return sparse.csr_array((np.ones(len(rows)), assets, row_ends), shape=(len(first), asset_count))
