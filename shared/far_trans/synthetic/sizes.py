"""How many rows a scale has, the days that they fall on, and whole numbers that sum to a given total."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Rng = np.random.Generator

# A day is a position in DAYS: the weekdays of the published period.
_ALL_DAYS = np.arange(np.datetime64("2018-01-02"), np.datetime64("2022-11-30"))
DAYS = _ALL_DAYS[np.is_busday(_ALL_DAYS)]
DAY_COUNT = len(DAYS)
DAY_TEXTS = DAYS.astype(str).astype(object)
_MONTHS = DAYS.astype("datetime64[M]")
MONTH_OF_DAY = (_MONTHS - _MONTHS[0]).astype(np.int64)
MONTH_COUNT = int(MONTH_OF_DAY[-1]) + 1

_CUSTOMERS, _MIN_CUSTOMERS = 29_090, 300
_ASSETS, _MIN_ASSETS = 806, 150


def find_day(text: str) -> int:
    """Return the position of a date, or of the next weekday."""
    return int(np.searchsorted(DAYS, np.datetime64(text)))


@dataclass(frozen=True)
class Sizes:
    """Row counts; transactions = buys + sells."""

    customers: int
    customer_versions: int
    assets: int
    asset_versions: int
    traded_assets: int
    close_prices: int
    buys: int
    sells: int
    shared_transaction_ids: int


def build_sizes(scale: float, *, assets: int | None = None) -> Sizes:
    """Return the counts for a scale; 1 has the published ones, a small one 300 customers and 150 assets.

    With `assets` the catalogue has so many, whatever the scale, and prices to match. Raises ValueError.
    """
    if not (math.isfinite(scale) and 0 < scale <= 100):
        raise ValueError("the scale must be more than 0 and at most 100")
    if assets is not None and assets < _MIN_ASSETS:
        raise ValueError(f"a catalogue has at least {_MIN_ASSETS} assets")
    customers = max(_MIN_CUSTOMERS, round(_CUSTOMERS * scale))
    assets = assets or max(_MIN_ASSETS, round(_ASSETS * scale))
    customer_rows = {"customer_versions": 32_468, "buys": 228_913, "sells": 159_136, "shared_transaction_ids": 14_500}
    asset_rows = {"asset_versions": 836, "traded_assets": 321, "close_prices": 703_303}
    return Sizes(
        customers=customers,
        assets=assets,
        **{name: round(count * customers / _CUSTOMERS) for name, count in customer_rows.items()},
        **{name: round(count * assets / _ASSETS) for name, count in asset_rows.items()},
    )


def allocate(total: int, weights: Mapping[str, float], *, floors: Mapping[str, int] | None = None) -> dict[str, int]:
    """Divide `total` in proportion to the weights (largest remainder); each name gets at least its floor."""
    shares = {name: (floors or {}).get(name, 0) for name in weights}
    rest = total - sum(shares.values())
    if rest < 0:
        raise ValueError("the floors need more than there is")
    # A name whose floor exceeds its share gets no more; the others divide the rest.
    wanted = {name: max(0.0, total * weight / sum(weights.values()) - shares[name]) for name, weight in weights.items()}
    exact = {name: rest * want / (sum(wanted.values()) or 1.0) for name, want in wanted.items()}
    for name, value in exact.items():
        shares[name] += int(value)
    by_remainder = sorted(exact, key=lambda name: int(exact[name]) - exact[name])
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def settle(values: Integers, total: int, *, lower: Integers, upper: Integers, rng: Rng) -> Integers:
    """Return `values` changed by single steps at random places, within their bounds, until they sum to `total`."""
    values = values.copy()
    while difference := total - int(values.sum()):
        step = 1 if difference > 0 else -1
        movable = np.flatnonzero(values < upper if step > 0 else values > lower)
        if not len(movable):
            raise ValueError("the bounds leave no room")
        values[rng.choice(movable, size=min(abs(difference), len(movable)), replace=False)] += step
    return values


def make_persistent(shocks: Floats, persistence: float) -> None:
    """Turn independent rows of shocks in place into a series in which each row continues the one before."""
    fresh = np.sqrt(1 - persistence**2)
    for step in range(1, len(shocks)):
        shocks[step] = persistence * shocks[step - 1] + fresh * shocks[step]
