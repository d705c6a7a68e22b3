"""What holders of the same assets bought next beyond what everybody was buying at that time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays, ArraySpec
from shared.recommender.signals.item_item import SimilaritySignal, with_largest_diagonal
from shared.recommender.signals.next_purchase import Matrix, build_baskets
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class ResidualNextPurchase(SimilaritySignal):
    """A ridge regression of each basket, minus what was to be expected on its day, on what its customer held before.

    Expected shares that change with time, as the baselines of Koren, "Collaborative Filtering with Temporal Dynamics"
    (KDD 2009): all baskets near the day, weighted by a kernel (Nadaraya, "On Estimating Regression", 1964) and shrunk
    towards the shares of all days, without what the customer held. Days after the basket count, days after the cutoff
    are not known. With H (N, A) holdings / size ** size_power, Y the baskets / their size, Q the expected shares and
    the weights W, half after each half-life: S = (H'WH + l2 I)^-1 H'W(Y - Q). The scores are
    history @ S / (mean expected share + share_offset) ** popularity_power; standardising undoes the size of the history.
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

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        asset_count = len(data.id_map)
        baskets = build_baskets(data.first_purchases(entry_days=self.entry_days), asset_count=asset_count)
        recent = data.last_day - baskets[2] <= self.longest_age_days
        if not recent.any():
            return {"similarity": np.zeros((asset_count, asset_count), np.float32)}
        holdings, bought, day = (of_baskets[recent] for of_baskets in baskets)
        shares = sparse.diags_array(1.0 / bought.sum(axis=1)) @ bought
        weight = time_decay(data.last_day - day.astype(np.float64), self.half_life_days)
        scale = np.maximum(holdings.sum(axis=1), 1.0) ** -self.size_power
        features = sparse.diags_array(scale) @ holdings
        weighted = (sparse.diags_array(weight) @ features).T.tocsr()
        expected = self._expect(shares, holdings, day)
        target = (weighted @ shares).toarray() - expected.times(weighted)
        solution = np.linalg.solve((weighted @ features).toarray() + self.l2 * np.eye(asset_count), target)
        mean_share = expected.times(sparse.csr_array(weight[np.newaxis]))[0] / weight.sum()
        return {"similarity": with_largest_diagonal(solution / self._popularity(mean_share))}

    def _expect(self, shares: Matrix, holdings: Matrix, day: NDArray[np.int32]) -> ExpectedShares:
        days, day_index = np.unique(day, return_inverse=True)
        by_day = sparse.csr_array((np.ones(len(day)), (day_index, np.arange(len(day)))), shape=(len(days), len(day)))
        counts = (by_day @ shares).toarray()
        all_days = counts.sum(axis=0) + self.least_count
        near = np.exp(-np.abs(days[:, np.newaxis] - days) / self.kernel_days) @ counts
        near += self.shrinkage * all_days / all_days.sum()
        return ExpectedShares.of_baskets(near / near.sum(axis=1, keepdims=True), holdings, day_index)

    def _popularity(self, mean_share: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((np.maximum(mean_share, 0.0) + self.share_offset) ** self.popularity_power)


@dataclass(frozen=True)
class ExpectedShares:
    """Q (N, A): the shares of each basket's day, 0 at what was held and scaled to the sum 1; never stored as a whole.

    Q = by_day @ of_day - held, with D days. by_day: (N, D), one entry in each row. of_day: (D, A). held: (N, A) sparse.
    """

    by_day: Matrix
    of_day: NDArray[np.float64]
    held: Matrix

    @classmethod
    def of_baskets(
        cls, of_day: NDArray[np.float64], holdings: Matrix, day_index: NDArray[np.intp]
    ) -> ExpectedShares:
        """Build from the shares of each day and, for each basket, what was held and the position of its day."""
        held = holdings.copy()
        held.data = of_day[np.repeat(day_index, np.diff(holdings.indptr)), holdings.indices]
        scale = 1.0 / (of_day.sum(axis=1)[day_index] - held.sum(axis=1))
        row_ends = np.arange(len(day_index) + 1)
        by_day = sparse.csr_array((scale, day_index, row_ends), shape=(len(day_index), len(of_day)))
        return cls(by_day, of_day, sparse.diags_array(scale) @ held)

    def times(self, left: Matrix) -> NDArray[np.float64]:
        """Return left @ Q for a sparse (M, N)."""
        product: NDArray[np.float64] = (left @ self.by_day).toarray() @ self.of_day - (left @ self.held).toarray()
        return product
