"""From database rows to the arrays that signals are fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import NotEnoughData
from shared.number_bounds import MAX_NUMBER, MIN_PRICE
from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_data import (
    INTERACTION_TYPES,
    ClosePrices,
    InteractionRows,
    Purchases,
    TrainingData,
    date_of,
    day_number,
    take_rows,
)
from shared.recommender.types import Asset, Customer

PRICE_LAG_DAYS = 30  # prices that end longer than this before a purchase do not confirm its date


@dataclass(frozen=True)
class TrainingRows:
    """One consistent snapshot of all rows that a model is fitted on.

    purchases: customer_id, isin, day. recorded_purchases: the same, of executed orders that arrived as events.
    close_prices: isin, day, close_price. interactions: customer_id, isin, interaction_type, occurred_at, in the order
    of the log. Days count from 1970-01-01, occurred_at is seconds since
    then (UTC). ignored: for each table, how many rows were left out because of an impossible date.
    """

    assets: tuple[Asset, ...]
    customers: tuple[Customer, ...]
    purchases: pd.DataFrame
    close_prices: pd.DataFrame
    interactions: pd.DataFrame
    recorded_purchases: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["customer_id", "isin", "day"])
    )
    ignored: Mapping[str, int] = field(default_factory=dict)


def build_training_data(rows: TrainingRows, *, now: datetime) -> TrainingData:
    """Return the arrays of everything known at `now`, without rows of assets that are not in the catalogue.

    The newest purchase decides `as_of`, without purchases the newest price; never later than `now`. Later rows are
    left out. A recorded purchase never decides `as_of`, which follows the market data: a later one counts at `as_of`.
    Raises NotEnoughData when there is no asset.
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
    recorded = _build_purchases(rows.recorded_purchases, customer_index, asset_index)
    purchases = _join(take_rows(purchases, purchases.day <= day_number(as_of)), recorded, latest=day_number(as_of))
    return TrainingData(
        id_map=id_map,
        assets=tuple(by_isin[isin] for isin in id_map.isins),
        customers=customers,
        purchases=purchases,
        close_prices=take_rows(prices, prices.day <= day_number(as_of)),
        interactions=_build_interactions(rows.interactions, customer_index, asset_index),
        as_of=as_of,
        now=now,
    )


def _as_of(purchases: Purchases, prices: ClosePrices, now: datetime) -> date:
    """Return the day of the newest purchase; without purchases, of the newest price; never later than today.

    A purchase long after every price does not decide while there are others: its date may be a mistake.
    """
    today = day_number(now.date())
    bought, priced = purchases.day[purchases.day <= today], prices.day[prices.day <= today]
    confirmed = bought[bought <= priced.max() + PRICE_LAG_DAYS] if len(priced) else bought
    for days in (confirmed, bought, priced):
        if len(days):
            return date_of(int(days.max()))
    return now.date()


def _all_customers(rows: TrainingRows) -> tuple[Customer, ...]:
    """Return all customers by id: the described ones and those who only bought or interacted."""
    known = {customer.customer_id: customer for customer in rows.customers}
    frames = (rows.purchases, rows.recorded_purchases, rows.interactions)
    active = chain.from_iterable(frame["customer_id"].unique() for frame in frames)  # no column of all names as objects
    others = {str(customer_id) for customer_id in active} - known.keys()
    return tuple(known.get(name, Customer(name)) for name in sorted(known.keys() | others))


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
    rows = _in_order(Purchases(customer, asset, day))
    return take_rows(rows, (rows.customer_index >= 0) & (rows.asset_index >= 0))


def _join(purchases: Purchases, recorded: Purchases, *, latest: int) -> Purchases:
    """Return both in order of the day; a recorded purchase after `latest` counts on that day."""
    day = np.minimum(recorded.day, np.int32(latest))
    recorded = Purchases(recorded.customer_index, recorded.asset_index, day)
    columns = {name: np.concatenate([values, vars(recorded)[name]]) for name, values in vars(purchases).items()}
    return _in_order(Purchases(**columns))


def _in_order(rows: Purchases) -> Purchases:
    order = np.lexsort((rows.asset_index, rows.customer_index, rows.day))
    return Purchases(rows.customer_index[order], rows.asset_index[order], rows.day[order])


def _build_close_prices(frame: pd.DataFrame, assets: Mapping[str, int]) -> ClosePrices:
    asset, day = _codes(frame["isin"], assets), frame["day"].to_numpy(dtype=np.int32)
    close = frame["close_price"].to_numpy(dtype=np.float64)
    order = np.lexsort((close, day, asset))
    rows = ClosePrices(asset[order], day[order], close[order])
    # The loader rejects other prices, but it is not the only writer. NaN compares false.
    return take_rows(rows, (rows.asset_index >= 0) & (rows.close >= MIN_PRICE) & (rows.close <= MAX_NUMBER))


def _build_interactions(
    frame: pd.DataFrame, customers: Mapping[str, int], assets: Mapping[str, int]
) -> InteractionRows:
    types = {kind.value: code for code, kind in enumerate(INTERACTION_TYPES)}
    occurred = frame["occurred_at"].to_numpy(dtype=np.float64)
    columns = (_codes(frame["customer_id"], customers), _codes(frame["isin"], assets))
    kind = _codes(frame["interaction_type"], types).astype(np.int8)
    rows = InteractionRows(*columns, kind, occurred)
    return take_rows(rows, (rows.customer_index >= 0) & (rows.asset_index >= 0) & (rows.type_code >= 0))
