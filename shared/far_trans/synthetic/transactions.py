"""Invented transactions: buys follow preferred sectors, segments and fashion; sells follow earlier buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.far_trans.synthetic.assets import SyntheticAsset
from shared.far_trans.synthetic.buys import Buys, draw_buys
from shared.far_trans.synthetic.customers import UNKNOWN, Customers
from shared.far_trans.synthetic.prices import Floats
from shared.far_trans.synthetic.quotas import Integers, settle
from shared.far_trans.synthetic.sizes import Sizes

CHANNELS = ("Internet Banking", "Phone Banking", "Branch")
_CHANNEL_SHARES = {"Stock": (0.76, 0.2, 0.04), "Bond": (0.43, 0.0, 0.57), "MTF": (0.003, 0.0, 0.997)}
_FIRST_TRANSACTION_ID = 7_000_000
_HOLDING_DAYS = 45.0
_PART_SALES = 0.25
_TYPICAL_EUROS, _EUROS_SPREAD = 1_100.0, 1.35
_CAPACITY_FACTORS = np.array([0.7, 1.3, 2.4, 6.0, 1.0])  # the last one: unknown


@dataclass(frozen=True)
class Transactions:
    """Arrays over transactions, in the order of the file: by day, buys of a day before its sells."""

    customer: Integers
    asset: Integers
    day: Integers
    is_buy: NDArray[np.bool_]
    units: Floats
    total_value: Floats
    channel: Integers
    transaction_id: Integers


def build_transactions(
    customers: Customers, assets: list[SyntheticAsset], prices: Floats, *, sizes: Sizes, rng: np.random.Generator
) -> Transactions:
    """Return all transactions of a scale; nobody sells what they have not bought before."""
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
    order = np.lexsort((rng.random(len(day)), ~is_buy, day))
    return Transactions(
        customer=customer[order],
        asset=asset[order],
        day=day[order],
        is_buy=is_buy[order],
        units=units[order],
        total_value=np.round(units * prices[asset, day], 4)[order],
        channel=_draw_channels(assets, asset[order], rng=rng),
        transaction_id=_number(len(day), sizes.shared_transaction_ids, rng=rng),
    )


def _draw_sell_counts(transaction_counts: Integers, sells: int, *, rng: np.random.Generator) -> Integers:
    """Return how many sells each customer has: at most one for each buy."""
    most = transaction_counts // 2
    most[0] = 0  # the demo customer keeps everything
    expected = transaction_counts * (sells / transaction_counts.sum())
    counts = np.minimum((expected + rng.random(len(expected))).astype(np.int64), most)
    return settle(counts, sells, lower=np.zeros_like(counts), upper=most, rng=rng)


def _choose_sold(buys: Buys, sell_counts: Integers, *, rng: np.random.Generator) -> Integers:
    """Return positions of buys that are sold later: of each customer as many as they sell."""
    order = np.lexsort((rng.random(len(buys.customer)), buys.customer))
    customers = buys.customer[order]
    place = np.arange(len(order)) - np.searchsorted(customers, customers)
    return order[place < sell_counts[customers]]


def _draw_sell_days(buys: Buys, sold: Integers, assets: list[SyntheticAsset], *, rng: np.random.Generator) -> Integers:
    last_day = np.array([asset.last_day for asset in assets])[buys.asset[sold]]
    held = 1 + rng.exponential(_HOLDING_DAYS, len(sold)).astype(np.int64)
    days: Integers = np.minimum(buys.day[sold] + held, last_day)
    return days


def _draw_units(
    customers: Customers, assets: list[SyntheticAsset], buys: Buys, prices: Floats, *, rng: np.random.Generator
) -> Floats:
    """Return units for a sum that suits the customer: whole ones, of funds to a thousandth."""
    factors = _CAPACITY_FACTORS[np.where(customers.capacity == UNKNOWN, 4, customers.capacity)][buys.customer]
    euros = _TYPICAL_EUROS * factors * np.exp(_EUROS_SPREAD * rng.standard_normal(len(factors)))
    exact = euros / prices[buys.asset, buys.day]
    is_fund = np.array([asset.category == "MTF" for asset in assets])[buys.asset]
    return np.where(is_fund, np.maximum(np.round(exact, 3), 0.001), np.maximum(np.round(exact), 1.0))


def _draw_sold_units(units: Floats, *, rng: np.random.Generator) -> Floats:
    """Return all of the units or, for some, about half of them; never more than were bought."""
    half = np.where(units == np.round(units), np.ceil(units / 2), np.round(units / 2, 3))
    is_part = (rng.random(len(units)) < _PART_SALES) & (half > 0)
    return np.where(is_part, half, units)


def _draw_channels(assets: list[SyntheticAsset], asset: Integers, *, rng: np.random.Generator) -> Integers:
    edges = np.cumsum([_CHANNEL_SHARES[one.category] for one in assets], axis=1)[asset]
    channels: Integers = (rng.random(len(asset))[:, None] > edges).sum(axis=1)
    return np.minimum(channels, len(CHANNELS) - 1)


def _number(count: int, shared: int, *, rng: np.random.Generator) -> Integers:
    """Return rising ids; `shared` pairs of neighbours have the same one, as in the published file."""
    pairs = rng.choice(count // 2, size=shared, replace=False)
    steps = np.ones(count, dtype=np.int64)
    steps[2 * pairs + 1] = 0
    return _FIRST_TRANSACTION_ID + np.cumsum(steps)
