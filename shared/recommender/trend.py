"""What all customers have been buying lately, and shares of few purchases that lean on those of more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.recommender.demand import Demand

HALF_LIFE_DAYS = 7.0
WIDER_HALF_LIFE_DAYS = 30.0
SHRINKAGE = 20.0  # purchases by the wider trend that the trend starts with
WIDER_SHRINKAGE = 10.0  # purchases by all-time popularity that the wider trend starts with
SHARE_SCALE = 1000.0  # a share is told apart from none from about 1 / SHARE_SCALE on

Shares = NDArray[np.float64]


def fit_trend(demand: Demand, *, asset_count: int, last_day: int) -> NDArray[np.float32]:
    """Return (A,) float32 log shares of each asset among the last days' evidence of demand; zeros without purchases.

    Evidence counts half after HALF_LIFE_DAYS; days without much of it lean on the wider trend.
    """
    if not len(demand.day):
        return np.zeros(asset_count, np.float32)
    wider = find_wider_trend(demand, asset_count=asset_count, last_day=last_day)
    lately = _count_evidence(demand, HALF_LIFE_DAYS, asset_count=asset_count, last_day=last_day)
    return log_shares(shrink(lately, wider, SHRINKAGE))


def find_wider_trend(demand: Demand, *, asset_count: int, last_day: int) -> Shares:
    """Return (A,) the share of each asset, half after WIDER_HALF_LIFE_DAYS, leaning on all first purchases."""
    recent = _count_evidence(demand, WIDER_HALF_LIFE_DAYS, asset_count=asset_count, last_day=last_day)
    all_time = np.bincount(demand.asset_index, minlength=asset_count) / len(demand.asset_index)
    return shrink(recent, all_time, WIDER_SHRINKAGE)


def shrink(counts: Shares, prior: Shares, purchases: float) -> Shares:
    """Return (..., A) shares of the counts after so many purchases by the prior's shares."""
    return np.asarray((counts + purchases * prior) / (counts.sum(axis=-1, keepdims=True) + purchases))


def log_shares(shares: Shares) -> NDArray[np.float32]:
    """Return log(1 + SHARE_SCALE * share) as float32."""
    return np.ascontiguousarray(np.log1p(SHARE_SCALE * shares), dtype=np.float32)


def fade(demand: Demand, half_life_days: float, *, last_day: int) -> NDArray[np.float64]:
    """Return (F,) what each first purchase counts: 1 on the last day, half of that per half-life."""
    return np.asarray(0.5 ** ((last_day - demand.day.astype(np.float64)) / half_life_days))


def _count_evidence(demand: Demand, half_life_days: float, *, asset_count: int, last_day: int) -> Shares:
    evidence = demand.is_evidence * fade(demand, half_life_days, last_day=last_day)
    return np.bincount(demand.asset_index, evidence, minlength=asset_count).astype(np.float64)
