"""What the lists of a time point are compared with, as arrays that are made once for any number of algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.recommender.candidates import accepted_risk_level
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.pipeline import K
from trainer.benchmark.known import KnownData, Lists, Split, candidates
from trainer.benchmark.past_returns import PastReturns, past_returns

Figures = NDArray[np.float64]
Mask = NDArray[np.bool_]
Derived = TypeVar("Derived")


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What the lists of a time point are compared with: later purchases and returns, and what was known at it.

    asset_levels: (A,) by `known.id_map`. None without reference tables. B below is the customers who bought something.
    """

    split: Split
    known: KnownData
    relevant: Mapping[str, frozenset[str]]
    monthly_returns: Mapping[str, float]
    asset_levels: NDArray[np.int8] | None
    _derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def market_return(self) -> float:
        """The mean known monthly return of the time point's assets, NaN without any."""
        return float(np.mean(self.known_returns)) if self.known_returns else float("nan")

    @property
    def known_returns(self) -> list[float]:
        """The monthly returns of those of the time point's assets whose return is known."""
        return [self.monthly_returns[isin] for isin in self.split.isins if isin in self.monthly_returns]

    @cached_property
    def customer_ids(self) -> tuple[str, ...]:
        """(B,) the customers who bought something, in the order of the split."""
        return tuple(name for name in self.split.customer_ids if self.relevant.get(name))

    @cached_property
    def customers(self) -> NDArray[np.int64]:
        """(B,) their positions in `known`."""
        return np.array([self.known.positions[name] for name in self.customer_ids], dtype=np.int64)

    @cached_property
    def relevant_mask(self) -> Mask:
        """(B, A) what each bought afterwards."""
        mask = np.zeros((len(self.customer_ids), self.known.shape[1]), dtype=np.bool_)
        for row, name in enumerate(self.customer_ids):
            mask[row, self.known.id_map.known_indices(sorted(self.relevant[name]))] = True
        return mask

    @cached_property
    def relevant_counts(self) -> NDArray[np.int64]:
        """(B,) how many assets each bought afterwards."""
        return np.array([len(self.relevant[name]) for name in self.customer_ids], dtype=np.int64)

    @cached_property
    def returns(self) -> Figures:
        """(A,) monthly returns after the time point, NaN where unknown."""
        return np.array([self.monthly_returns.get(isin, np.nan) for isin in self.known.id_map.isins])

    @cached_property
    def novelty(self) -> Figures:
        """(A,) -log2 of the share of customers who own the asset, one more in both."""
        everyone = len(np.unique(self.known.customer_index))
        return np.asarray(-np.log2((self.known.counts() + 1.0) / (everyone + 1.0)))

    @cached_property
    def candidates(self) -> Mask:
        """(B, A) the assets of the time point that the customer does not own."""
        rows = pd.Index(self.split.customer_ids).get_indexer(pd.Index(self.customer_ids))
        return candidates(self.known, self.split)[rows]

    @cached_property
    def suitable(self) -> Mask | None:
        """(B, A) whether the customer's risk level accepts the asset; without a known level, as the least one."""
        if self.asset_levels is None:
            return None
        customers = self.known.training.customers
        accepted = [accepted_risk_level(customers[position]) for position in self.customers]
        return np.asarray(self.asset_levels[np.newaxis] <= np.array(accepted, dtype=np.int8)[:, np.newaxis])

    @cached_property
    def past_returns(self) -> PastReturns:
        """What the prices known at the time point say."""
        return past_returns(self.known.training.close_prices, day=self.known.day, asset_count=self.known.shape[1])

    def derived(self, key: str, build: Callable[[], Derived]) -> Derived:
        """Return what `build` makes of these arrays, made once for each key."""
        if key not in self._derived:
            self._derived[key] = build()
        value: Derived = self._derived[key]
        return value

    def positions_of(self, frame: pd.DataFrame) -> Lists:
        """Return the (B, K) asset positions of a frame of lists, NO_ASSET where there is none; others are left out."""
        row = self._customer_rows.get_indexer(pd.Index(frame["customerID"]))
        asset = self._asset_rows.get_indexer(pd.Index(frame["ISIN"]))
        ours = row >= 0
        lists = np.full((len(self.customer_ids), K), NO_ASSET, dtype=np.int64)
        lists[row[ours], frame["rank"].to_numpy()[ours] - 1] = asset[ours]
        return lists

    def hits(self, lists: Lists) -> Mask:
        """Return (B, K): bought afterwards."""
        hits: Mask = take(self.relevant_mask, lists) & (lists != NO_ASSET)
        return hits

    def at_places(self, values: Figures, lists: Lists) -> Figures:
        """Return (B, K) the (A,) values of the places, NaN where there is no asset."""
        return np.where(lists != NO_ASSET, values[np.maximum(lists, 0)], np.nan)

    def unsuitable_at(self, lists: Lists) -> Figures:
        """Return (B, K) 1.0 where a place is above the customer's risk level, NaN where that is not known."""
        if self.suitable is None:
            return np.full(lists.shape, np.nan)
        return np.where(lists != NO_ASSET, ~take(self.suitable, lists), np.nan)

    @cached_property
    def _customer_rows(self) -> pd.Index[Any]:
        return pd.Index(self.customer_ids)

    @cached_property
    def _asset_rows(self) -> pd.Index[Any]:
        return pd.Index(self.known.id_map.isins)


def take(mask: Mask, lists: Lists) -> Mask:
    """Return (B, K) what (B, A) says of the places; without meaning where there is no asset."""
    taken: Mask = np.take_along_axis(mask, np.maximum(lists, 0), axis=1)
    return taken


def row_means(values: Figures) -> Figures:
    """Return (B,) means of the known values of each row, NaN where none is."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    means: Figures = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return means


def mean_of_known(values: pd.Series[Any]) -> float:
    """Return the mean of the values that exist, NaN when none does."""
    present = values.dropna()
    return float(present.mean()) if len(present) else float("nan")
