"""What customers with similar portfolios bought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.history import HistoryMatrix, time_decay
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.training_data import FirstPurchases, TrainingData


@dataclass(frozen=True, kw_only=True)
class UserKnn(Signal):
    """User-based nearest neighbours (Herlocker et al., "An Algorithmic Framework for Performing Collaborative
    Filtering", SIGIR 1999): purchases of all customers, weighted by the cosine of their holdings to this customer's.

    Holdings count by inverse frequency. Neighbours are the customers with the latest purchases that show demand. The
    arrays are their purchases in compressed rows without customer ids; who is scored may be among the neighbours,
    which changes no list, because what they bought they own.
    """

    name = "user_knn"
    arrays: ClassVar = {
        "rarity": ArraySpec("log(1 + customers / (1 + owners)) of each asset", ("assets",)),
        "row_ends": ArraySpec("0, then where each neighbour's purchases end", ("row ends",), "int32", 0, 2**31 - 1),
        "asset_index": ArraySpec("asset of each purchase", ("purchases",), "int32", 0, 2**31 - 1),
        "holding": ArraySpec("rarity of the asset, each neighbour's row of length one", ("purchases",)),
        "purchase_weight": ArraySpec("how much the purchase says", ("purchases",)),
    }

    similarity_power: float = 2.0  # of the cosine
    half_life_days: float = 360.0  # of a purchase that shows demand
    least_purchase_weight: float = 0.2  # of a purchase that is old or does not show demand
    most_neighbours: int = 50_000  # customers, those with the latest purchases: a model does not grow with the others
    entry_days: int = 14  # see TrainingData.first_purchases

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        purchases = data.first_purchases(entry_days=self.entry_days)
        customer, asset = purchases.customer_index, purchases.asset_index
        owners = np.bincount(asset, minlength=len(data.id_map))
        rarity = np.log1p(len(np.unique(customer)) / (1.0 + owners))
        demand = purchases.shows_demand * time_decay(
            data.last_day - purchases.day.astype(np.float64), self.half_life_days
        )
        is_neighbour = np.bincount(customer, purchases.shows_demand, minlength=len(data.customers)) > 0
        is_neighbour &= self._are_latest(data, purchases, is_neighbour)
        rows = is_neighbour[customer]
        lengths = np.bincount(customer[rows], minlength=len(data.customers))[is_neighbour]
        norms = np.sqrt(np.bincount(customer, rarity[asset] ** 2, minlength=len(data.customers)))
        return {
            "rarity": rarity.astype(np.float32),
            "row_ends": np.append(0, np.cumsum(lengths)).astype(np.int32),
            "asset_index": asset[rows],
            "holding": (rarity[asset] / norms[customer])[rows].astype(np.float32),
            "purchase_weight": (demand + self.least_purchase_weight)[rows].astype(np.float32),
        }

    def _are_latest(
        self, data: TrainingData, purchases: FirstPurchases, is_neighbour: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return (C,) which customers are among the latest `most_neighbours`, equal ones by position."""
        latest = np.full(len(data.customers), -1, dtype=np.int64)
        demand = purchases.shows_demand
        np.maximum.at(latest, purchases.customer_index[demand], purchases.day[demand])
        kept = np.zeros(len(latest), dtype=np.bool_)
        kept[np.argsort(-np.where(is_neighbour, latest, -1), kind="stable")[: self.most_neighbours]] = True
        return kept

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        asset_count = len(batch.id_map)
        rare = sparse.csr_array(batch.history.multiply(arrays["rarity"][np.newaxis]))
        norms = np.sqrt(rare.multiply(rare).sum(axis=1))
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        similarity = sparse.diags_array(inverse) @ rare @ _by_neighbour(arrays, "holding", asset_count).T
        similarity.data **= self.similarity_power
        return np.asarray((similarity @ _by_neighbour(arrays, "purchase_weight", asset_count)).toarray())

    def check(self, arrays: Arrays, *, asset_count: int) -> None:
        if not len(arrays["row_ends"]):
            raise ValueError("user_knn.row_ends is empty")
        _by_neighbour(arrays, "holding", asset_count).check_format(full_check=True)


def _by_neighbour(arrays: Arrays, name: str, asset_count: int) -> HistoryMatrix:
    rows = (arrays[name], arrays["asset_index"], arrays["row_ends"])
    return sparse.csr_array(rows, shape=(len(arrays["row_ends"]) - 1, asset_count))
