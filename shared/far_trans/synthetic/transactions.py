"""Invented transactions: buys follow preferred sectors, segments and fashion; sells follow earlier buys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shared.far_trans.synthetic.assets import SyntheticAsset
from shared.far_trans.synthetic.catalogue import SECTOR_NAMES
from shared.far_trans.synthetic.customers import UNKNOWN, Customers
from shared.far_trans.synthetic.sizes import (
    DAY_COUNT,
    DAY_TEXTS,
    MONTH_COUNT,
    MONTH_OF_DAY,
    Floats,
    Integers,
    Rng,
    Sizes,
    find_day,
    make_persistent,
    settle,
)

# Rows: risk levels and unknown; columns: asset levels 1 to 3.
_LEVEL_AFFINITY = np.array([[25.0, 8.0, 0.4], [6.0, 6.0, 0.7], [1.0, 2.0, 1.0], [0.2, 0.5, 1.2], [10.0, 3.0, 0.8]])
# By capacity, the last one unknown: those who have more buy more bonds and funds.
_BOND_AFFINITY = np.array([0.5, 0.8, 1.6, 3.0, 1.0])
_PREFERENCE_SHARE = np.array([0.55, 0.65, 0.75, 0.8, 0.5])
_FASHION_SPREAD, _FASHION_PERSISTENCE = 0.3, 0.85
_NEW_ISSUE_BOOST, _NEW_ISSUE_MONTHS = 6.0, 3.0
_FREQUENT_BUYS = 60

_CHANNELS = np.array(["Internet Banking", "Phone Banking", "Branch"], dtype=object)
_CHANNEL_SHARES = {"Stock": (0.76, 0.2, 0.04), "Bond": (0.43, 0.0, 0.57), "MTF": (0.003, 0.0, 0.997)}
_FIRST_TRANSACTION_ID = 7_000_000
_HOLDING_DAYS = 45.0
_PART_SALES = 0.25
_TYPICAL_EUROS, _EUROS_SPREAD = 1_100.0, 1.35
_CAPACITY_FACTORS = np.array([0.7, 1.3, 2.4, 6.0, 1.0])  # the last one: unknown


@dataclass(frozen=True)
class Buys:
    """Arrays over buys."""

    customer: Integers
    asset: Integers
    day: Integers


def build_transaction_rows(
    customers: Customers, assets: list[SyntheticAsset], prices: Floats, *, sizes: Sizes, rng: Rng
) -> Iterable[tuple[object, ...]]:
    """Return the rows of transactions.csv by day, the buys of a day before its sells.

    A customer sells only what they bought before.
    """
    sell_counts = _draw_sell_counts(customers.transaction_counts, sizes.sells, rng=rng)
    buys = draw_buys(customers, assets, customers.transaction_counts - sell_counts, rng=rng)
    units = _draw_units(customers, assets, buys, prices, rng=rng)
    sold = _choose_sold(buys, sell_counts, rng=rng)
    sell_days = _draw_sell_days(buys, sold, assets, rng=rng)
    customer = np.concatenate([buys.customer, buys.customer[sold]])
    asset = np.concatenate([buys.asset, buys.asset[sold]])
    day = np.concatenate([buys.day, sell_days])
    is_buy = np.arange(len(day)) < len(buys.day)
    units = np.concatenate([units, _draw_sold_units(units[sold], rng=rng)])
    total_value = np.round(units * prices[asset, day], 4)
    order = np.lexsort((rng.random(len(day)), ~is_buy, day))
    channel = _draw_channels(assets, asset[order], rng=rng)
    columns = (
        np.array(customers.ids, dtype=object)[customer[order]],
        np.array([one.isin for one in assets], dtype=object)[asset[order]],
        _draw_ids(len(day), sizes.shared_transaction_ids, rng=rng),
        np.array(["Sell", "Buy"], dtype=object)[is_buy[order].astype(np.int64)],
        DAY_TEXTS[day[order]],
        total_value[order],
        units[order],
        _CHANNELS[channel],
        np.array([one.market_id for one in assets], dtype=object)[asset[order]],
    )
    return zip(*(column.tolist() for column in columns), strict=True)


def draw_buys(customers: Customers, assets: list[SyntheticAsset], buy_counts: Integers, *, rng: Rng) -> Buys:
    """Return that many buys of each customer, each of an asset that has prices in the month of the buy.

    The motive of a buy is a preferred sector of the customer or the segment of the customer.
    """
    customer = np.repeat(np.arange(len(buy_counts)), buy_counts)
    day = _draw_days(customers, customer, rng=rng)
    traded = [asset for asset in assets if asset.popularity > 0]
    demand = _draw_demand(traded, rng=rng)
    risk = np.where(customers.risk == UNKNOWN, 4, customers.risk)
    capacity = np.where(customers.capacity == UNKNOWN, 4, customers.capacity)
    follows_preference = rng.random(len(customer)) < _PREFERENCE_SHARE[risk][customer]
    preference = customers.preferred_sectors[customer, (rng.random(len(customer)) < 0.35).astype(np.int64)]
    segment = len(SECTOR_NAMES) + risk[customer] * 5 + capacity[customer]
    motive = np.where(follows_preference, preference, segment)
    asset = _draw_assets(demand, _build_affinities(traded), MONTH_OF_DAY[day], motive, rng=rng)
    return let_every_asset_be_bought(Buys(customer, asset, day), traded, rng=rng)


def _draw_days(customers: Customers, customer: Integers, *, rng: Rng) -> Integers:
    """Return a day for each buy, after its customer joined; some customers stop after a while."""
    busy = np.linspace(0.8, 1.4, DAY_COUNT)
    for start, end, factor in (("2018-01-02", "2018-02-15", 2.0), ("2020-02-24", "2020-04-15", 2.2)):
        busy[find_day(start) : find_day(end)] *= factor
    busy[find_day("2020-11-01") : find_day("2021-04-01")] *= 1.7
    elapsed = np.concatenate([[0.0], np.cumsum(busy) / busy.sum()])
    count = len(customers.ids)
    span = np.where(rng.random(count) < 0.3, rng.uniform(0.1, 0.5, count), 1.0)
    start_at = elapsed[customers.joined]
    draws = start_at[customer] + rng.random(len(customer)) * ((1 - start_at) * span)[customer]
    days: Integers = np.searchsorted(elapsed, draws, side="right") - 1
    return np.clip(days, customers.joined[customer], DAY_COUNT - 1)


def _draw_demand(traded: list[SyntheticAsset], *, rng: Rng) -> Floats:
    """Return the demand for each asset by month, shape (months, assets); 0 where it has no prices all month."""
    popularity = np.array([asset.popularity for asset in traded])
    first = np.array([asset.first_day for asset in traded])
    last = np.array([asset.last_day for asset in traded])
    months = np.arange(MONTH_COUNT)
    first_of_month = np.searchsorted(MONTH_OF_DAY, months)
    last_of_month = np.searchsorted(MONTH_OF_DAY, months, side="right") - 1
    is_open = (first <= first_of_month[:, None]) & (last >= last_of_month[:, None])
    age_months = np.maximum(months[:, None] - MONTH_OF_DAY[first], 0)
    is_new_issue = first > last_of_month[0]
    boost = 1 + _NEW_ISSUE_BOOST * is_new_issue * np.exp(-age_months / _NEW_ISSUE_MONTHS)
    fashion = rng.normal(0.0, _FASHION_SPREAD, (MONTH_COUNT, len(traded)))
    make_persistent(fashion, _FASHION_PERSISTENCE)
    demand: Floats = popularity * np.exp(fashion) * boost * is_open
    return demand


def _build_affinities(traded: list[SyntheticAsset]) -> Floats:
    """Return the affinity of each motive to each asset: the sectors, then risk level x capacity."""
    sector = np.array([[asset.sector == name for asset in traded] for name in SECTOR_NAMES], dtype=float)
    level = np.array([asset.level for asset in traded]) - 1
    is_bond_or_fund = np.array([asset.category != "Stock" for asset in traded])
    segments = [
        _LEVEL_AFFINITY[risk, level] * np.where(is_bond_or_fund, bonds, 1.0)
        for risk in range(len(_LEVEL_AFFINITY))
        for bonds in _BOND_AFFINITY
    ]
    return np.vstack([sector, segments])


def _draw_assets(demand: Floats, affinities: Floats, month: Integers, motive: Integers, *, rng: Rng) -> Integers:
    """Return an asset for each buy: one draw from (demand of the month) x (affinity of the motive)."""
    group = month * len(affinities) + motive
    order = np.argsort(group, kind="stable")
    draws = rng.random(len(group))
    assets = np.empty(len(group), dtype=np.int64)
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        of_month = demand[month[members[0]]]
        edges = np.cumsum(of_month * affinities[motive[members[0]]])
        if edges[-1] == 0:  # no asset of this sector has prices in that month
            edges = np.cumsum(of_month)
        assets[members] = np.searchsorted(edges, draws[members] * edges[-1], side="right")
    return assets


def let_every_asset_be_bought(buys: Buys, traded: list[SyntheticAsset], *, rng: Rng) -> Buys:
    """Give each asset without a buy one buy of an asset that has many."""
    asset = buys.asset.copy()
    counts = np.bincount(asset, minlength=len(traded))
    for missing in np.flatnonzero(counts == 0).tolist():
        has_price = (buys.day >= traded[missing].first_day) & (buys.day <= traded[missing].last_day)
        spare = np.flatnonzero(has_price & (counts[asset] > _FREQUENT_BUYS) & (buys.customer != 0))
        moved = int(rng.choice(spare))
        counts[asset[moved]] -= 1
        asset[moved] = missing
        counts[missing] += 1
    return Buys(buys.customer, asset, buys.day)


def _draw_sell_counts(transaction_counts: Integers, sells: int, *, rng: Rng) -> Integers:
    """Return how many sells each customer has: at most one for each buy."""
    most = transaction_counts // 2
    most[0] = 0  # the demo customer sells nothing
    expected = transaction_counts * (sells / transaction_counts.sum())
    counts = np.minimum((expected + rng.random(len(expected))).astype(np.int64), most)
    return settle(counts, sells, lower=np.zeros_like(counts), upper=most, rng=rng)


def _choose_sold(buys: Buys, sell_counts: Integers, *, rng: Rng) -> Integers:
    """Return positions of buys that are sold later: of each customer as many as they sell."""
    order = np.lexsort((rng.random(len(buys.customer)), buys.customer))
    customers = buys.customer[order]
    place = np.arange(len(order)) - np.searchsorted(customers, customers)
    return order[place < sell_counts[customers]]


def _draw_sell_days(buys: Buys, sold: Integers, assets: list[SyntheticAsset], *, rng: Rng) -> Integers:
    last_day = np.array([asset.last_day for asset in assets])[buys.asset[sold]]
    held = 1 + rng.exponential(_HOLDING_DAYS, len(sold)).astype(np.int64)
    days: Integers = np.minimum(buys.day[sold] + held, last_day)
    return days


def _draw_units(customers: Customers, assets: list[SyntheticAsset], buys: Buys, prices: Floats, *, rng: Rng) -> Floats:
    """Return units for an amount that fits the customer's capacity: whole ones, of funds to a thousandth."""
    factors = _CAPACITY_FACTORS[np.where(customers.capacity == UNKNOWN, 4, customers.capacity)][buys.customer]
    euros = _TYPICAL_EUROS * factors * np.exp(_EUROS_SPREAD * rng.standard_normal(len(factors)))
    exact = euros / prices[buys.asset, buys.day]
    is_fund = np.array([asset.category == "MTF" for asset in assets])[buys.asset]
    return np.where(is_fund, np.maximum(np.round(exact, 3), 0.001), np.maximum(np.round(exact), 1.0))


def _draw_sold_units(units: Floats, *, rng: Rng) -> Floats:
    """Return all of the units or, for some, about half of them; never more than were bought."""
    half = np.where(units == np.round(units), np.ceil(units / 2), np.round(units / 2, 3))
    is_part = (rng.random(len(units)) < _PART_SALES) & (half > 0)
    return np.where(is_part, half, units)


def _draw_channels(assets: list[SyntheticAsset], asset: Integers, *, rng: Rng) -> Integers:
    edges = np.cumsum([_CHANNEL_SHARES[one.category] for one in assets], axis=1)[asset]
    channels: Integers = (rng.random(len(asset))[:, None] > edges).sum(axis=1)
    return np.minimum(channels, len(_CHANNELS) - 1)


def _draw_ids(count: int, shared: int, *, rng: Rng) -> Integers:
    """Return rising ids; `shared` pairs of neighbours have the same one, as in the published file."""
    pairs = rng.choice(count // 2, size=shared, replace=False)
    steps = np.ones(count, dtype=np.int64)
    steps[2 * pairs + 1] = 0
    return _FIRST_TRANSACTION_ID + np.cumsum(steps)
