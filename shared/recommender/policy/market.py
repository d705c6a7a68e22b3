"""What prices and purchases say of assets at a day, for the rules of a policy. A assets; nothing later is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.recommender.policy.rules import Policy
from shared.recommender.price_series import PriceSeries, build_series
from shared.recommender.training_data import ClosePrices, TrainingData, take_rows

YEAR_DAYS = 365.0
_APART = 1_000.0  # larger than any difference of logarithms of prices within the loader's bounds

Values = NDArray[np.float64]
Days = NDArray[np.int64]


@dataclass(frozen=True)
class Market:
    """Close prices, and purchases by anybody, one per row: asset_index (P,) and day (P,)."""

    prices: ClosePrices
    trade_asset: NDArray[np.int32]
    trade_day: NDArray[np.int32]


NO_MARKET = Market(
    ClosePrices(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float64)),
    np.empty(0, np.int32),
    np.empty(0, np.int32),
)


@dataclass(frozen=True)
class MarketFigures:
    """(A,) arrays at a day. NaN: too few prices. price_age_days: infinite without a price in the window of the policy.

    volatility: of log returns, annual. drawdown: the largest fall from an earlier price of the window, as a fraction.
    """

    volatility: Values
    volatility_prices: Days
    drawdown: Values
    drawdown_prices: Days
    recent_prices: Days
    price_age_days: Values
    trades: Days


def market_of(data: TrainingData) -> Market:
    """Return the prices and purchases of the data."""
    return Market(data.close_prices, data.purchases.asset_index, data.purchases.day)


def measure_market(market: Market, policy: Policy, *, day: int, asset_count: int) -> MarketFigures:
    """Return what the rules of the policy need, from rows of the `window_days` of the policy up to `day`."""
    days = market.prices.day
    known = take_rows(market.prices, (days <= day) & (days > day - policy.window_days))
    series = build_series(known, asset_count)
    rules = policy.assets
    volatility, volatility_prices = np.full(asset_count, np.nan), np.zeros(asset_count, dtype=np.int64)
    drawdown, drawdown_prices = volatility.copy(), volatility_prices.copy()
    if rules.volatility:
        volatility_prices = _counts(series, day, rules.volatility.window_days)
        deviation = series.root_mean_square_returns(day, window_days=rules.volatility.window_days)
        enough = volatility_prices >= rules.volatility.least_prices
        volatility = np.where(enough, deviation * math.sqrt(YEAR_DAYS), np.nan)
    if rules.drawdown:
        drawdown_prices = _counts(series, day, rules.drawdown.window_days)
        falls = largest_falls(known, day=day, window_days=rules.drawdown.window_days, asset_count=asset_count)
        drawdown = np.where(drawdown_prices >= rules.drawdown.least_prices, falls, np.nan)
    missing = rules.missing_prices
    return MarketFigures(
        volatility=volatility,
        volatility_prices=volatility_prices,
        drawdown=drawdown,
        drawdown_prices=drawdown_prices,
        recent_prices=_counts(series, day, missing.window_days) if missing else np.zeros(asset_count, dtype=np.int64),
        price_age_days=series.ages(day),
        trades=_trades(market, policy, day, asset_count),
    )


def largest_falls(prices: ClosePrices, *, day: int, window_days: int, asset_count: int) -> Values:
    """Return (A,) 1 - price / highest earlier price of the window, at its largest; 0 where no price fell."""
    rows = take_rows(prices, (prices.day <= day) & (prices.day > day - window_days))
    # Rows are sorted by asset: with a step between assets one running maximum serves them all.
    steps = rows.asset_index.astype(np.float64) * _APART
    logarithms = np.log(rows.close)
    highest = np.maximum.accumulate(logarithms + steps) - steps
    falls = np.zeros(asset_count)
    np.maximum.at(falls, rows.asset_index, -np.expm1(np.minimum(logarithms - highest, 0.0)))
    return falls


def _counts(series: PriceSeries, day: int, window_days: int) -> Days:
    return series.counts(day) - series.counts(day - window_days)


def _trades(market: Market, policy: Policy, day: int, asset_count: int) -> Days:
    if policy.liquidity is None:
        return np.zeros(asset_count, dtype=np.int64)
    recent = (market.trade_day <= day) & (market.trade_day > day - policy.liquidity.window_days)
    return np.bincount(market.trade_asset[recent], minlength=asset_count).astype(np.int64)
