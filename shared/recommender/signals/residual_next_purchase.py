"""What holders of the same assets bought next beyond what everybody was buying at that time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.asset_matrix import MatrixSignal, with_largest_diagonal, with_largest_sparse_diagonal
from shared.recommender.customer_sums import SummedSignal, Sums, as_sum
from shared.recommender.history import time_decay
from shared.recommender.neighbour_ridge import (
    TargetOf,
    entries_of,
    nearest_features,
    solve_on_neighbours,
    with_itself,
)
from shared.recommender.signal import Arrays, ArraySpec
from shared.recommender.signals.next_purchase import Matrix, baskets_of, solve_ridge
from shared.recommender.signals.trend import shrink
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class ResidualNextPurchase(MatrixSignal, SummedSignal):
    """A ridge regression of each basket, minus what was to be expected on its day, on what its customer held before.

    The expected shares change with time, as the baselines in Koren, "Collaborative Filtering with Temporal Dynamics"
    (KDD 2009). They are the shares of all baskets near the day by a kernel (Nadaraya, "On Estimating Regression",
    1964), shrunk towards those of all days, without what the customer held. A later basket counts as an earlier one;
    none is later than the cutoff. With H (N, A) the holdings / size ** size_power, Y the baskets / size, Q the expected
    shares and the weights W, half after each half-life: S = (H'WH + l2 I)^-1 H'W(Y - Q). The scores are
    history @ S / (mean of Q + share_offset) ** popularity_power; a division by the size of the history would change
    nothing once the scores are standardised. The diagonal is not fitted (see `with_largest_diagonal`).
    """

    name = "residual_next_purchase"
    arrays: ClassVar = {
        "similarity": ArraySpec("what holding asset i says for buying asset j beyond its share", ("assets", "assets"))
    }

    l2: float = 40.0  # of a holding, in baskets
    half_life_days: float = 400.0  # of a basket
    longest_age_days: int = 1100  # older baskets do not count; this also bounds the memory of a fit
    size_power: float = 0.5  # of the number of assets held before a basket; 1 makes every portfolio count the same
    kernel_days: float = 20.0  # a basket counts 1/e for the expected shares so many days before or after it
    shrinkage: float = 20.0  # baskets with the shares of all days that the expected shares of a day start with
    least_count: float = 0.5  # baskets of each asset that the shares of all days start with
    popularity_power: float = 0.5  # of the mean expected share
    share_offset: float = 0.001  # added to the mean expected share
    entry_days: int = 14  # see TrainingData.first_purchases

    def count_customers(self, chunk: TrainingData) -> Sums:
        _, shares, day = self._baskets(chunk)
        row = day - (chunk.last_day - self.longest_age_days)
        by_day = sparse.csr_array(
            (np.ones(len(day)), (row, np.arange(len(day)))), shape=(self.longest_age_days + 1, len(day))
        )
        return {"shares_of_day": as_sum(by_day @ shares)}

    def prepare(self, counts: Sums) -> Arrays:
        """Return `row`, (D,) the rows of the counts that have a basket, and `of_day`, (D, A) expected shares."""
        rows = np.flatnonzero(np.diff(counts["shares_of_day"].indptr))
        shares = counts["shares_of_day"][rows].toarray()
        if not len(rows):
            return {"row": rows, "of_day": shares}
        all_days = shares.sum(axis=0) + self.least_count
        near = np.exp(-np.abs(rows[:, np.newaxis] - rows) / self.kernel_days) @ shares
        return {"row": rows, "of_day": shrink(near, all_days / all_days.sum(), self.shrinkage)}

    def sum_customers(self, chunk: TrainingData, prepared: Arrays) -> Sums:
        holdings, shares, day = self._baskets(chunk)
        row = day - (chunk.last_day - self.longest_age_days)
        expected = ExpectedShares.of_baskets(prepared["of_day"], holdings, np.searchsorted(prepared["row"], row))
        sizes = np.maximum(holdings.sum(axis=1), 1.0)
        features = _scale_rows(holdings, sizes**-self.size_power)
        weight = time_decay(chunk.last_day - day.astype(np.float64), self.half_life_days)
        weighted = sparse.csr_array(_scale_rows(features, weight).T)
        of_baskets = sparse.csr_array(weight[np.newaxis])
        return {
            "gram": as_sum(weighted @ features),
            "shares": as_sum(weighted @ shares),
            "by_day": as_sum(weighted @ expected.by_day),
            "held": as_sum(weighted @ expected.held),
            "weight_by_day": as_sum(of_baskets @ expected.by_day),
            "weight_held": as_sum(of_baskets @ expected.held),
            "weight": as_sum([[weight.sum()]]),
        }

    def fit_sums(self, sums: Sums, prepared: Arrays, *, asset_count: int) -> Arrays:
        weight, of_day = sums["weight"].sum(), prepared["of_day"]
        if not weight:
            return self.nothing(asset_count)
        mean_share = (sums["weight_by_day"].toarray() @ of_day - sums["weight_held"].toarray())[0] / weight
        popularity = (np.maximum(mean_share, 0.0) + self.share_offset) ** self.popularity_power
        penalty = np.full(asset_count, self.l2)
        if not self.is_sparse(asset_count):
            expected = sums["by_day"].toarray() @ of_day - sums["held"].toarray()
            solution = solve_ridge(sums["gram"].toarray(), penalty, sums["shares"].toarray() - expected)
            return {"similarity": with_largest_diagonal(solution / popularity)}
        nearest = with_itself(nearest_features(sums["shares"], self.neighbours))
        found = solve_on_neighbours(sums["gram"], penalty, nearest, _target_of(sums, of_day))
        return with_largest_sparse_diagonal(found / popularity)

    def _baskets(self, chunk: TrainingData) -> tuple[Matrix, Matrix, NDArray[np.int32]]:
        """Return what was held before each recent basket, (N, A), the shares of what was in it, and its day (N,)."""
        holdings, bought, day = baskets_of(chunk, entry_days=self.entry_days)
        recent = chunk.last_day - day <= self.longest_age_days
        holdings, bought, day = holdings[recent], bought[recent], day[recent]
        return holdings, _scale_rows(bought, 1.0 / bought.sum(axis=1)), day


@dataclass(frozen=True)
class ExpectedShares:
    """Q (N, A): the shares of each basket's day, 0 at what was held and scaled to the sum 1; never stored as a whole.

    Q = by_day @ of_day - held, for D days. by_day: (N, D), one entry in each row. of_day: (D, A). held: (N, A) sparse.
    """

    by_day: Matrix
    of_day: NDArray[np.float64]
    held: Matrix

    @classmethod
    def of_baskets(cls, of_day: NDArray[np.float64], holdings: Matrix, day_index: NDArray[np.intp]) -> ExpectedShares:
        """Build from the shares of each day and, for each basket, what was held and the position of its day."""
        shares_held = of_day[np.repeat(day_index, np.diff(holdings.indptr)), holdings.indices]
        held = sparse.csr_array((shares_held, holdings.indices, holdings.indptr), shape=holdings.shape)
        scale = 1.0 / (of_day.sum(axis=1)[day_index] - held.sum(axis=1))
        count = len(day_index)
        by_day = sparse.csr_array((scale, day_index, np.arange(count + 1)), shape=(count, len(of_day)))
        return cls(by_day, of_day, _scale_rows(held, scale))


def _target_of(sums: Sums, of_day: NDArray[np.float64]) -> TargetOf:
    """Return the function that computes H'W(Y - Q) for some holdings and some assets."""
    bought_or_held = entries_of((sums["shares"] + sums["held"]).tocsr())
    by_day = sums["by_day"]
    return lambda features, assets: bought_or_held(features, assets) - by_day[features].toarray() @ of_day[:, assets]


def _scale_rows(matrix: Matrix, factors: NDArray[np.float64]) -> Matrix:
    of_entries = np.repeat(factors, np.diff(matrix.indptr))
    return sparse.csr_array((matrix.data * of_entries, matrix.indices, matrix.indptr), shape=matrix.shape)
