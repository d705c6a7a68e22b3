"""From rows to arrays: what a model is fitted on, cut off at a date.

Days are days since 1970-01-01, moments are seconds since then (UTC). C customers, A assets in ISIN order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import NotEnoughData
from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_data import TrainingRows
from shared.recommender.types import Asset, Customer, InteractionType

EPOCH = date(1970, 1, 1)
PRICE_LAG_DAYS = 30  # prices that end longer than this before a purchase do not confirm its date
INTERACTION_TYPES = tuple(InteractionType)


@dataclass(frozen=True)
class Purchases:
    """Buys, one per row: positions (P,) int32 and the day (P,) int32 of each; in order of the day."""

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
class TrainingData:
    """Everything that a model is fitted on, known at `as_of` (and `now` for interactions).

    Attributes of customers and assets are the latest known ones; they are not cut off.
    """

    id_map: AssetIdMap
    assets: tuple[Asset, ...]  # (A,), in the order of id_map
    customers: tuple[Customer, ...]  # (C,)
    purchases: Purchases
    close_prices: ClosePrices
    interactions: InteractionRows
    as_of: date
    now: datetime

    def known_at(self, cutoff: date) -> TrainingData:
        """Return what was known at the end of the day `cutoff`: no later row is in it."""
        day, moment = day_number(cutoff), end_of_day(cutoff)
        return replace(
            self,
            purchases=_take(self.purchases, self.purchases.day <= day),
            close_prices=_take(self.close_prices, self.close_prices.day <= day),
            interactions=_take(self.interactions, self.interactions.occurred_at <= moment.timestamp()),
            as_of=cutoff,
            now=min(moment, self.now),
        )


def build_training_data(rows: TrainingRows, *, now: datetime) -> TrainingData:
    """Build the arrays of everything known now; rows of assets outside the catalogue are left out.

    The newest purchase, or the newest price without any purchase, decides `as_of`, which is never later than `now`;
    later rows are left out. Raises NotEnoughData when there is no asset at all.
    """
    if not rows.assets:
        raise NotEnoughData("there is no asset to recommend: load the reference tables first")
    id_map = AssetIdMap.build(asset.isin for asset in rows.assets)
    by_isin = {asset.isin: asset for asset in rows.assets}
    customers = _all_customers(rows)
    customer_index = {customer.customer_id: index for index, customer in enumerate(customers)}
    asset_index = {isin: index for index, isin in enumerate(id_map.isins)}
    purchases = _build_purchases(rows.purchases, customer_index, asset_index)
    prices = _build_close_prices(rows.close_prices, asset_index)
    as_of = _as_of(purchases, prices, now)
    return TrainingData(
        id_map=id_map,
        assets=tuple(by_isin[isin] for isin in id_map.isins),
        customers=customers,
        purchases=_take(purchases, purchases.day <= day_number(as_of)),
        close_prices=_take(prices, prices.day <= day_number(as_of)),
        interactions=_build_interactions(rows.interactions, customer_index, asset_index),
        as_of=as_of,
        now=now,
    )


def day_number(day: date) -> int:
    """Return the number of days since 1970-01-01."""
    return (day - EPOCH).days


def date_of(day: int) -> date:
    """Return the date that a day number stands for."""
    return EPOCH + timedelta(days=int(day))


def end_of_day(day: date) -> datetime:
    """Return the last moment of this day in UTC."""
    return datetime.combine(day, time.max, tzinfo=UTC)


def _take(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    columns: dict[str, Any] = {name: values[mask] for name, values in vars(rows).items()}
    return type(rows)(**columns)


def _as_of(purchases: Purchases, prices: ClosePrices, now: datetime) -> date:
    """Return "now" of the data set: the newest purchase; without any, the newest price; never later than today.

    A purchase long after every price does not decide, as long as there are others: its date may be a mistake.
    """
    today = day_number(now.date())
    bought, priced = purchases.day[purchases.day <= today], prices.day[prices.day <= today]
    confirmed = bought[bought <= priced.max() + PRICE_LAG_DAYS] if len(priced) else bought
    for days in (confirmed, bought, priced):
        if len(days):
            return date_of(int(days.max()))
    return now.date()


def _all_customers(rows: TrainingRows) -> tuple[Customer, ...]:
    """Known customers, then those who only bought or clicked, in the order of their ids."""
    known = {customer.customer_id: customer for customer in rows.customers}
    active: Iterable[str] = pd.concat([rows.purchases["customer_id"], rows.interactions["customer_id"]]).unique()
    strangers = {str(customer_id) for customer_id in active} - known.keys()
    return tuple(known.get(name, Customer(name)) for name in sorted(known.keys() | strangers))


def _codes(column: pd.Series[Any], positions: Mapping[str, int]) -> NDArray[np.int32]:
    """Return positions, -1 for a name that is not in the map."""
    names = column.astype("category")
    table = np.array([positions.get(str(name), -1) for name in names.cat.categories] + [-1], dtype=np.int32)
    return table[names.cat.codes.to_numpy()]


def _build_purchases(frame: pd.DataFrame, customers: Mapping[str, int], assets: Mapping[str, int]) -> Purchases:
    customer, asset, day = (
        _codes(frame["customer_id"], customers),
        _codes(frame["isin"], assets),
        frame["day"].to_numpy(dtype=np.int32),
    )
    order = np.lexsort((asset, customer, day))
    rows = Purchases(customer[order], asset[order], day[order])
    return _take(rows, (rows.customer_index >= 0) & (rows.asset_index >= 0))


def _build_close_prices(frame: pd.DataFrame, assets: Mapping[str, int]) -> ClosePrices:
    asset, day = _codes(frame["isin"], assets), frame["day"].to_numpy(dtype=np.int32)
    close = frame["close_price"].to_numpy(dtype=np.float64)
    order = np.lexsort((close, day, asset))
    rows = ClosePrices(asset[order], day[order], close[order])
    return _take(rows, (rows.asset_index >= 0) & np.isfinite(rows.close) & (rows.close > 0))


def _build_interactions(
    frame: pd.DataFrame, customers: Mapping[str, int], assets: Mapping[str, int]
) -> InteractionRows:
    types = {kind.value: code for code, kind in enumerate(INTERACTION_TYPES)}
    occurred = frame["occurred_at"].to_numpy(dtype=np.float64)
    columns = (_codes(frame["customer_id"], customers), _codes(frame["isin"], assets))
    kind = _codes(frame["interaction_type"], types).astype(np.int8)
    rows = InteractionRows(*columns, kind, occurred)
    return _take(rows, (rows.customer_index >= 0) & (rows.asset_index >= 0) & (rows.type_code >= 0))
