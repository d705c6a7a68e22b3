"""Prices and purchases up to a date, as the rules of a policy look at them."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from shared.number_bounds import MAX_NUMBER, MIN_PRICE
from shared.recommender.id_map import AssetIdMap
from shared.recommender.policy.market import Market
from shared.recommender.training_data import ClosePrices

# `days` back from `as_of`: what a rule does not look at is not read.
_PERIOD = "{day} <= CAST(:as_of AS date) AND {day} > CAST(:as_of AS date) - CAST(:days AS integer)"
_PRICES = f"""
SELECT isin, priced_on - DATE '1970-01-01' AS day, close_price FROM all_close_prices
WHERE {_PERIOD.format(day="priced_on")} AND close_price BETWEEN {MIN_PRICE} AND {MAX_NUMBER}
"""
_PURCHASES = f"""
SELECT isin, traded_on - DATE '1970-01-01' AS day FROM all_transactions
WHERE transaction_type = 'Buy' AND {_PERIOD.format(day="traded_on")}
"""


def fetch_market(connection: Connection, id_map: AssetIdMap, *, as_of: date, days: int) -> Market:
    """Return the rows of the assets of `id_map` in the `days` up to `as_of`; prices by asset and then day."""
    period = {"as_of": as_of, "days": days}
    prices = [
        (index, row.day, row.close_price)
        for row in connection.execute(text(_PRICES), period)
        for index in id_map.known_indices([row.isin])
    ]
    prices.sort()
    bought = [
        (index, row.day)
        for row in connection.execute(text(_PURCHASES), period)
        for index in id_map.known_indices([row.isin])
    ]
    asset, day, close = _columns(prices, 3)
    trade_asset, trade_day = _columns(bought, 2)
    return Market(
        ClosePrices(asset.astype(np.int32), day.astype(np.int32), close),
        trade_asset.astype(np.int32),
        trade_day.astype(np.int32),
    )


def _columns(rows: list[Any], count: int) -> Any:
    return np.array(rows, dtype=np.float64).reshape(-1, count).T
