"""Training data of any number of customers and assets, of FAR-Trans/synthesize.py but without files or a database."""

from __future__ import annotations

from datetime import UTC, datetime, time

import numpy as np

from shared.far_trans.synthetic.assets import SyntheticAsset, build_assets, build_prices
from shared.far_trans.synthetic.customers import Customers, build_customers
from shared.far_trans.synthetic.sizes import DAYS, Floats, build_sizes
from shared.far_trans.synthetic.transactions import draw_buys
from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_data import ClosePrices, InteractionRows, Purchases, TrainingData, date_of
from shared.recommender.types import Asset, Customer, InvestmentCapacity, RiskLevel

_BUYS_OF_TRANSACTIONS = 0.59
_DAY_NUMBERS = DAYS.astype("datetime64[D]").astype(np.int32)


def invent_training_data(scale: float, *, assets: int, seed: int = 7) -> TrainingData:
    """Return the data of a scale of customers and so many assets; the same arguments give the same arrays."""
    sizes, rng = build_sizes(scale, assets=assets), np.random.default_rng(seed)
    invented = build_assets(sizes, rng=rng)
    prices = build_prices(invented, rng=rng)
    customers = build_customers(sizes, rng=rng)
    counts = np.maximum((customers.transaction_counts * _BUYS_OF_TRANSACTIONS).astype(np.int64), 1)
    buys = draw_buys(customers, invented, counts, rng=rng)
    id_map = AssetIdMap.build(asset.isin for asset in invented)
    position = np.array([id_map.asset_index(asset.isin) for asset in invented], dtype=np.int32)
    day, customer, asset = _DAY_NUMBERS[buys.day], buys.customer.astype(np.int32), position[buys.asset]
    order = np.lexsort((asset, customer, day))
    no_rows = np.zeros(0, np.int32)
    as_of = date_of(int(_DAY_NUMBERS[-1]))
    return TrainingData(
        id_map=id_map,
        assets=tuple(_describe(invented[place]) for place in np.argsort(position).tolist()),
        customers=_describe_customers(customers),
        purchases=Purchases(customer[order], asset[order], day[order]),
        close_prices=_close_prices(invented, prices, position),
        interactions=InteractionRows(no_rows, no_rows, no_rows.astype(np.int8), np.zeros(0)),
        as_of=as_of,
        now=datetime.combine(as_of, time(12), tzinfo=UTC),
    )


def _close_prices(assets: list[SyntheticAsset], prices: Floats, position: np.ndarray) -> ClosePrices:
    order = np.argsort(position).tolist()
    lengths = [assets[place].last_day + 1 - assets[place].first_day for place in order]
    days = [_DAY_NUMBERS[assets[place].first_day : assets[place].last_day + 1] for place in order]
    close = [prices[place, assets[place].first_day : assets[place].last_day + 1] for place in order]
    index = np.repeat(np.arange(len(order), dtype=np.int32), lengths)
    return ClosePrices(index, np.concatenate(days), np.concatenate(close))


def _describe(asset: SyntheticAsset) -> Asset:
    first, last = (date_of(int(_DAY_NUMBERS[day])) for day in (asset.first_day, asset.last_day))
    described = (asset.category, asset.sub_category or None, asset.market_id, asset.sector or None)
    return Asset(asset.isin, *described, asset.industry or None, first, last)


def _describe_customers(customers: Customers) -> tuple[Customer, ...]:
    segments = zip(customers.ids, customers.risk.tolist(), customers.capacity.tolist(), strict=True)
    return tuple(
        Customer(name, RiskLevel(risk + 1) if risk >= 0 else None, InvestmentCapacity(capacity + 1))
        for name, risk, capacity in segments
    )
