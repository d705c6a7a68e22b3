"""Who buys what, when: a mixture of each customer's preferred sectors and of what their segment buys that month."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.far_trans.synthetic.assets import SyntheticAsset
from shared.far_trans.synthetic.calendar import (
    DAY_COUNT,
    FIRST_DAY_OF_MONTH,
    LAST_DAY_OF_MONTH,
    MONTH_COUNT,
    MONTH_OF_DAY,
    find_day,
)
from shared.far_trans.synthetic.customers import SECTORS, UNKNOWN, Customers
from shared.far_trans.synthetic.prices import Floats
from shared.far_trans.synthetic.quotas import Integers

# Rows: risk levels and unknown; columns: asset levels 1 to 3.
_LEVEL_AFFINITY = np.array([[25.0, 8.0, 0.4], [6.0, 6.0, 0.7], [1.0, 2.0, 1.0], [0.2, 0.5, 1.2], [10.0, 3.0, 0.8]])
# By capacity, the last one unknown: those who have more buy more bonds and funds.
_BOND_AFFINITY = np.array([0.5, 0.8, 1.6, 3.0, 1.0])
_PREFERENCE_SHARE = np.array([0.55, 0.65, 0.75, 0.8, 0.5])
_FASHION_SPREAD, _FASHION_PERSISTENCE = 0.3, 0.85
_NEW_ISSUE_BOOST, _NEW_ISSUE_MONTHS = 6.0, 3.0
_FREQUENT_BUYS = 60


@dataclass(frozen=True)
class Buys:
    """Arrays over buys."""

    customer: Integers
    asset: Integers
    day: Integers


def draw_buys(
    customers: Customers, assets: list[SyntheticAsset], buy_counts: Integers, *, rng: np.random.Generator
) -> Buys:
    """Return that many buys of each customer, each of an asset that has prices in the month of the buy."""
    customer = np.repeat(np.arange(len(buy_counts)), buy_counts)
    day = _draw_days(customers, customer, rng=rng)
    traded = [asset for asset in assets if asset.popularity > 0]
    demand = _build_demand(traded, rng=rng)
    risk = np.where(customers.risk == UNKNOWN, 4, customers.risk)
    capacity = np.where(customers.capacity == UNKNOWN, 4, customers.capacity)
    follows_preference = rng.random(len(customer)) < _PREFERENCE_SHARE[risk][customer]
    preference = customers.preferred_sectors[customer, (rng.random(len(customer)) < 0.35).astype(np.int64)]
    segment = len(SECTORS) + risk[customer] * 5 + capacity[customer]
    motive = np.where(follows_preference, preference, segment)
    asset = _draw_assets(demand, _build_affinities(traded), MONTH_OF_DAY[day], motive, rng=rng)
    return let_every_asset_be_bought(Buys(customer, asset, day), traded, rng=rng)


def _draw_days(customers: Customers, customer: Integers, *, rng: np.random.Generator) -> Integers:
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


def _build_demand(traded: list[SyntheticAsset], *, rng: np.random.Generator) -> Floats:
    """Return the pull of each asset in each month, shape (months, assets); 0 where it has no prices all month."""
    popularity = np.array([asset.popularity for asset in traded])
    first = np.array([asset.first_day for asset in traded])
    last = np.array([asset.last_day for asset in traded])
    is_open = (first <= FIRST_DAY_OF_MONTH[:, None]) & (last >= LAST_DAY_OF_MONTH[:, None])
    age_months = np.maximum(np.arange(MONTH_COUNT)[:, None] - MONTH_OF_DAY[first], 0)
    is_new_issue = first > LAST_DAY_OF_MONTH[0]
    boost = 1 + _NEW_ISSUE_BOOST * is_new_issue * np.exp(-age_months / _NEW_ISSUE_MONTHS)
    demand: Floats = popularity * _draw_fashion(len(traded), rng=rng) * boost * is_open
    return demand


def _draw_fashion(asset_count: int, *, rng: np.random.Generator) -> Floats:
    """Return factors around 1 that drift from month to month; shape (months, assets)."""
    shocks = rng.normal(0.0, _FASHION_SPREAD, (MONTH_COUNT, asset_count))
    fresh = np.sqrt(1 - _FASHION_PERSISTENCE**2)
    for month in range(1, MONTH_COUNT):
        shocks[month] = _FASHION_PERSISTENCE * shocks[month - 1] + fresh * shocks[month]
    return np.exp(shocks)


def _build_affinities(traded: list[SyntheticAsset]) -> Floats:
    """Return how much each motive is drawn to each asset: the sectors, then risk level x capacity."""
    sector = np.array([[asset.sector == name for asset in traded] for name in SECTORS], dtype=float)
    level = np.array([asset.level for asset in traded]) - 1
    is_bond_or_fund = np.array([asset.category != "Stock" for asset in traded])
    segments = [
        _LEVEL_AFFINITY[risk, level] * np.where(is_bond_or_fund, bonds, 1.0)
        for risk in range(len(_LEVEL_AFFINITY))
        for bonds in _BOND_AFFINITY
    ]
    return np.vstack([sector, segments])


def _draw_assets(
    demand: Floats, affinities: Floats, month: Integers, motive: Integers, *, rng: np.random.Generator
) -> Integers:
    """Return an asset for each buy: one draw from (demand of the month) x (affinity of the motive)."""
    group = month * len(affinities) + motive
    order = np.argsort(group, kind="stable")
    draws = rng.random(len(group))
    assets = np.empty(len(group), dtype=np.int64)
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        pull = demand[month[members[0]]]
        edges = np.cumsum(pull * affinities[motive[members[0]]])
        if edges[-1] == 0:  # nothing of this sector has prices in that month
            edges = np.cumsum(pull)
        assets[members] = np.searchsorted(edges, draws[members] * edges[-1], side="right")
    return assets


def let_every_asset_be_bought(buys: Buys, traded: list[SyntheticAsset], *, rng: np.random.Generator) -> Buys:
    """Give each asset that nobody chose one buy of an asset that many chose."""
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
