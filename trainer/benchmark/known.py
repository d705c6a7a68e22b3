"""What one time point lets an algorithm see: every row dated up to it, as arrays, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.id_map import AssetIdMap
from shared.recommender.pipeline import K
from shared.recommender.top_k import top_k
from shared.recommender.training_data import TrainingData, day_number

Counts = NDArray[np.float64]
Matrix = NDArray[np.float64]
Lists = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """One time point as `recommend` sees it: for whom, and from what; what they bought afterwards is not here."""

    time_point: date
    customer_ids: tuple[str, ...]
    isins: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class KnownData:
    """First buys and reference rows known at the end of a day. C customers, A assets, P first buys.

    Positions depend on the rows up to that day and the split alone, so that later rows cannot even order anything.
    """

    training: TrainingData

    @property
    def day(self) -> int:
        """The day itself, counted from 1970-01-01."""
        return day_number(self.training.as_of)

    @property
    def id_map(self) -> AssetIdMap:
        """Positions of the assets."""
        return self.training.id_map

    @cached_property
    def customer_index(self) -> NDArray[np.int64]:
        """(P,) who bought, in order of the day."""
        return self.training.purchases.customer_index.astype(np.int64)

    @cached_property
    def asset_index(self) -> NDArray[np.int64]:
        """(P,) what was bought."""
        return self.training.purchases.asset_index.astype(np.int64)

    @cached_property
    def bought_day(self) -> NDArray[np.int64]:
        """(P,) when."""
        return self.training.purchases.day.astype(np.int64)

    @cached_property
    def age_days(self) -> Counts:
        """(P,) how long ago."""
        return (self.day - self.bought_day).astype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """Customers and assets."""
        return len(self.training.customers), len(self.id_map)

    @cached_property
    def holdings(self) -> sparse.csr_array:
        """(C, A) 1.0 where the customer owns the asset."""
        return self.matrix(np.ones(len(self.bought_day)))

    @cached_property
    def bought_assets(self) -> NDArray[np.int64]:
        """Positions of the assets that anybody has bought, ascending."""
        return np.unique(self.asset_index)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Position of each customer id."""
        return {customer.customer_id: index for index, customer in enumerate(self.training.customers)}

    def matrix(self, values: Counts) -> sparse.csr_array:
        """Return (C, A) with one value per first buy."""
        return sparse.csr_array((values, (self.customer_index, self.asset_index)), shape=self.shape)

    def counts(self, values: Counts | None = None) -> Counts:
        """Return (A,) how often each asset was bought, each first buy counting `values`."""
        return np.bincount(self.asset_index, values, minlength=self.shape[1]).astype(np.float64)

    def customers_of(self, split: Split) -> NDArray[np.int64]:
        """Return the positions of the split's customers, in its order."""
        return np.array([self.positions[customer_id] for customer_id in split.customer_ids], dtype=np.int64)

    def earlier(self, day: date) -> KnownData:
        """Return what was known at an earlier day, at the same positions; for labels of learned rankers."""
        return KnownData(self.training.known_at(min(day, self.training.as_of)))


def candidates(known: KnownData, split: Split) -> NDArray[np.bool_]:
    """Return (B, A): in the split's assets and not owned by that customer."""
    allowed = np.zeros(known.shape[1], dtype=np.bool_)
    allowed[known.id_map.known_indices(split.isins)] = True
    owned = known.holdings[known.customers_of(split)].toarray() > 0
    return np.asarray(allowed[np.newaxis] & ~owned, dtype=np.bool_)


def rank(scores: Matrix, known: KnownData, split: Split) -> Lists:
    """Return (B, K) the best candidates by (B, A) scores, equal ones in ISIN order."""
    return top_k(np.where(candidates(known, split), scores, -np.inf), K)
