"""What signals are fitted on: arrays of everything that was known at a date. C customers, A assets in ISIN order.

Days are days since 1970-01-01, moments are seconds since then (UTC).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.history import HistoryMatrix, build_history_matrix
from shared.recommender.id_map import AssetIdMap
from shared.recommender.types import (
    DEFAULT_INTERACTION_WEIGHTS,
    HISTORY_TYPES,
    Asset,
    Customer,
    CustomerHistory,
    Interaction,
    InteractionWeights,
)

if TYPE_CHECKING:
    from shared.recommender.signal import FittingEngine

EPOCH = date(1970, 1, 1)
INTERACTION_TYPES = HISTORY_TYPES

Derived = TypeVar("Derived")


@dataclass(frozen=True)
class Purchases:
    """Purchases, one per row: positions (P,) int32 and the day (P,) int32 of each; in order of the day."""

    customer_index: NDArray[np.int32]
    asset_index: NDArray[np.int32]
    day: NDArray[np.int32]


@dataclass(frozen=True)
class ClosePrices:
    """Close prices, one per row, sorted by asset and then day; close (N,) float64 in the asset's currency."""

    asset_index: NDArray[np.int32]
    day: NDArray[np.int32]
    close: NDArray[np.float64]


@dataclass(frozen=True)
class InteractionRows:
    """Interactions in the order of the log: type_code indexes INTERACTION_TYPES, occurred_at (I,) float64 seconds."""

    customer_index: NDArray[np.int32]
    asset_index: NDArray[np.int32]
    type_code: NDArray[np.int8]
    occurred_at: NDArray[np.float64]


Rows = TypeVar("Rows", Purchases, ClosePrices, InteractionRows)


@dataclass(frozen=True)
class FirstPurchases:
    """The first purchase of every customer and asset, (F,) each, by customer and then day.

    shows_demand: whether the row says what is wanted now. An asset that enters the records brings along what was held
    before, and those rows look like purchases of that day.
    """

    customer_index: NDArray[np.int32]
    asset_index: NDArray[np.int32]
    day: NDArray[np.int32]
    shows_demand: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Everything that a model is fitted on, known at `as_of` (interactions: at `now`).

    Attributes of customers and assets are the latest known ones; `known_at` does not change them.
    """

    id_map: AssetIdMap
    assets: tuple[Asset, ...]  # (A,), in the order of id_map
    customers: tuple[Customer, ...]  # (C,)
    purchases: Purchases
    close_prices: ClosePrices
    interactions: InteractionRows
    as_of: date
    now: datetime
    interaction_weights: InteractionWeights = DEFAULT_INTERACTION_WEIGHTS
    engine: FittingEngine | None = None  # fits the signals on these data and on those of earlier cutoffs; None: here
    first_days: NDArray[np.int64] | None = None  # `asset_first_days` of all customers, where only some are here
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def last_day(self) -> int:
        """The day number of `as_of`."""
        return day_number(self.as_of)

    @cached_property
    def asset_first_days(self) -> NDArray[np.int64]:
        """(A,) the day of the first purchase of each asset by anybody, a very late one for an asset without any."""
        if self.first_days is not None:
            return self.first_days
        earliest = np.full(len(self.id_map), np.iinfo(np.int64).max)
        np.minimum.at(earliest, self.purchases.asset_index, self.purchases.day)
        return earliest

    @cached_property
    def history(self) -> HistoryMatrix:
        """(C, A) float32: the customers as `build_history_matrix` returns them."""
        shape, pairs = (len(self.customers), len(self.id_map)), self.owned_pairs().astype(np.int32)
        owned = sparse.csr_array((np.ones(len(pairs), np.float32), tuple(pairs.T)), shape=shape)
        active = np.unique(self.interactions.customer_index)
        if not len(active):
            return owned
        weights, histories = self.interaction_weights, self.histories(active.tolist())
        interacted = build_history_matrix(self.id_map, histories, interaction_weights=weights, now=self.now)
        positions = (active, np.arange(len(active), dtype=np.int32))
        spread = sparse.csr_array((np.ones(len(active), np.float32), positions), shape=(shape[0], len(active)))
        history: HistoryMatrix = owned + spread @ (interacted - owned[active])
        history.sort_indices()  # the order of the rows decides the order in which LightFM learns
        return history

    def known_at(self, cutoff: date) -> TrainingData:
        """Return what was known at the end of the day `cutoff`: no later row is in it."""
        day, moment = day_number(cutoff), end_of_day(cutoff)
        return replace(
            self,
            purchases=take_rows(self.purchases, self.purchases.day <= day),
            close_prices=take_rows(self.close_prices, self.close_prices.day <= day),
            interactions=take_rows(self.interactions, self.interactions.occurred_at <= moment.timestamp()),
            as_of=cutoff,
            now=min(moment, self.now),
        )

    def histories(self, customer_indices: Iterable[int] | None = None) -> list[CustomerHistory]:
        """Return the histories of all customers, or of the given positions, in order; owned assets by ISIN."""
        positions = list(range(len(self.customers)) if customer_indices is None else customer_indices)
        pairs = self.owned_pairs()
        starts, ends = (np.searchsorted(pairs[:, 0], positions, side=side).tolist() for side in ("left", "right"))
        interactions = self._interactions_of(positions)
        return [
            CustomerHistory(
                self.customers[position],
                owned=tuple(self.id_map.isins_of(pairs[start:end, 1].tolist())),
                interactions=tuple(interactions.get(position, ())),
            )
            for position, start, end in zip(positions, starts, ends, strict=True)
        ]

    def owned_pairs(self) -> NDArray[np.int64]:
        """Return (O, 2) customer and asset positions of everything ever bought, once each, in order."""
        count = max(len(self.id_map), 1)
        pairs = np.sort(self.purchases.customer_index.astype(np.int64) * count + self.purchases.asset_index)
        pairs = pairs[np.append(True, np.diff(pairs) != 0)[: len(pairs)]]  # np.unique takes three times as long
        return np.stack(np.divmod(pairs, count), axis=1)

    def first_purchases(self, *, entry_days: int) -> FirstPurchases:
        """Return the first purchases. One shows demand when it is later than the asset's first purchase by anybody by
        more than `entry_days`: until then its holders may still be entered (docs/decisions/0010 and 0024).
        """
        key = ("first purchases", entry_days)
        return self.derived(key, lambda: _first_purchases(self.purchases, self.asset_first_days, entry_days))

    def derived(self, key: Hashable, build: Callable[[], Derived]) -> Derived:
        """Return what `build` makes of these data, made once for each key: several signals may need the same."""
        if key not in self._derived:
            self._derived[key] = build()
        value: Derived = self._derived[key]
        return value

    def _interactions_of(self, customers: Sequence[int]) -> dict[int, list[Interaction]]:
        rows = take_rows(self.interactions, np.isin(self.interactions.customer_index, customers))
        columns = (rows.customer_index, rows.asset_index, rows.type_code, rows.occurred_at)
        found: dict[int, list[Interaction]] = defaultdict(list)
        for customer, asset, code, seconds in zip(*(column.tolist() for column in columns), strict=True):
            moment = datetime.fromtimestamp(seconds, tz=UTC)
            found[customer].append(Interaction(self.id_map.isins[asset], INTERACTION_TYPES[code], moment))
        return found


def take_rows(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    """Return the rows where the mask is true."""
    columns: dict[str, Any] = {name: values[mask] for name, values in vars(rows).items()}
    return type(rows)(**columns)


def day_number(day: date) -> int:
    """Return the number of days since 1970-01-01."""
    return (day - EPOCH).days


def date_of(day: int) -> date:
    """Return the date of a day number."""
    return EPOCH + timedelta(days=int(day))


def end_of_day(day: date) -> datetime:
    """Return the last moment of this day in UTC."""
    return datetime.combine(day, time.max, tzinfo=UTC)


def _first_purchases(purchases: Purchases, asset_first_days: NDArray[np.int64], entry_days: int) -> FirstPurchases:
    pairs = purchases.customer_index.astype(np.int64) * len(asset_first_days) + purchases.asset_index
    first = np.unique(pairs, return_index=True)[1]  # rows are in order of the day, so the first one is the earliest
    customer, asset, day = (column[first] for column in vars(purchases).values())
    order = np.lexsort((asset, day, customer))
    customer, asset, day = customer[order], asset[order], day[order]
    return FirstPurchases(customer, asset, day, shows_demand=day - asset_first_days[asset] > entry_days)
