"""Close prices from a market factor, a factor per sector, slow drifts and noise of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.far_trans.synthetic.assets import SyntheticAsset
from shared.far_trans.synthetic.calendar import DAY_COUNT, find_day

Floats = NDArray[np.float64]

_REGIME_DAYS = 125
_REGIME_PERSISTENCE = 0.5
_DECIMALS = 4
_LEAST_PRICE = 0.001


@dataclass(frozen=True)
class _Behaviour:
    """Daily figures: how much of the market and sector factors an asset takes, its drift and its noise."""

    market: float
    sector: float
    drift: float
    noise: float
    start_price: float
    start_spread: float


_STOCK = _Behaviour(market=1.0, sector=1.0, drift=0.0008, noise=0.016, start_price=5.0, start_spread=1.3)
_EQUITY_FUND = _Behaviour(market=0.8, sector=0.0, drift=0.0003, noise=0.004, start_price=15.0, start_spread=0.9)
_BOND = _Behaviour(market=0.08, sector=0.0, drift=0.0001, noise=0.0025, start_price=100.0, start_spread=0.03)
_BOND_FUND = _Behaviour(market=0.1, sector=0.0, drift=0.0001, noise=0.0015, start_price=12.0, start_spread=0.7)
_MONEY_MARKET = _Behaviour(market=0.0, sector=0.0, drift=0.00002, noise=0.0002, start_price=10.0, start_spread=0.5)


def build_prices(assets: list[SyntheticAsset], *, rng: np.random.Generator) -> Floats:
    """Return euros, shape (assets, days); outside an asset's own days the figures mean nothing."""
    behaviours = [_get_behaviour(asset) for asset in assets]
    sectors = sorted({asset.sector for asset in assets})
    sector_of = np.array([sectors.index(asset.sector) for asset in assets])
    market = _build_market_factor(rng=rng)
    sector_factors = rng.normal(0.0, 0.007, (len(sectors), DAY_COUNT))
    beta = _column(behaviours, "market") * rng.normal(1.0, 0.25, len(assets))
    noise = _column(behaviours, "noise") * rng.uniform(0.6, 1.5, len(assets))
    drifts = _build_drifts(_column(behaviours, "drift"), rng=rng)
    returns = beta[:, None] * market + drifts + noise[:, None] * rng.standard_normal((len(assets), DAY_COUNT))
    returns += _column(behaviours, "sector")[:, None] * sector_factors[sector_of]
    spread = _column(behaviours, "start_spread") * rng.standard_normal(len(assets))
    start = _column(behaviours, "start_price") * np.exp(spread)
    prices = start[:, None] * np.exp(np.cumsum(returns, axis=1))
    return np.maximum(prices, _LEAST_PRICE).round(_DECIMALS)


def _get_behaviour(asset: SyntheticAsset) -> _Behaviour:
    if asset.category == "Stock":
        return _STOCK
    if asset.category == "Bond":
        return _BOND
    funds = {"Money Market": _MONEY_MARKET, "Bond": _BOND_FUND, "Balanced": _BOND_FUND}
    return funds.get(asset.sub_category, _EQUITY_FUND)


def _column(behaviours: list[_Behaviour], name: str) -> Floats:
    return np.array([getattr(behaviour, name) for behaviour in behaviours])


def _build_market_factor(*, rng: np.random.Generator) -> Floats:
    """Return daily returns with a fall in spring 2020, a recovery after it, and more noise meanwhile."""
    factor = rng.normal(0.0002, 0.009, DAY_COUNT)
    fall, turn, recovery = (find_day(text) for text in ("2020-02-20", "2020-03-24", "2020-06-10"))
    factor[fall:turn] = 2.5 * factor[fall:turn] - 0.015
    factor[turn:recovery] = 1.5 * factor[turn:recovery] + 0.004
    return factor


def _build_drifts(scales: Floats, *, rng: np.random.Generator) -> Floats:
    """Return daily drifts that hold for half a year and partly outlast it, so that past returns tell something."""
    regime_count = -(-DAY_COUNT // _REGIME_DAYS)
    shocks = rng.standard_normal((len(scales), regime_count))
    for regime in range(1, regime_count):
        fresh = np.sqrt(1 - _REGIME_PERSISTENCE**2) * shocks[:, regime]
        shocks[:, regime] = _REGIME_PERSISTENCE * shocks[:, regime - 1] + fresh
    daily = np.repeat(shocks, _REGIME_DAYS, axis=1)[:, :DAY_COUNT]
    return scales[:, None] * daily
