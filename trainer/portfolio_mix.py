"""What customers who hold the same kinds of assets have been buying lately."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.domain.model import MIX_COUNT, AssetGroup
from shared.domain.types import Asset
from trainer.demand import Demand

RECENT_HALF_LIFE_DAYS = 120.0
OTHER_HALF_LIFE_DAYS = 360.0
OTHER_WEIGHT = 0.1  # of a purchase that is no evidence of demand
SHRINKAGE = 50.0  # purchases by the trend of all customers that every mix starts with
TREND_SHRINKAGE = 10.0  # purchases by all-time popularity that the trend starts with
SHARE_SCALE = 1000.0  # a share is told apart from none from about 1 / SHARE_SCALE on

_GROUPS = {"Stock": AssetGroup.STOCK, "Bond": AssetGroup.BOND, "MTF": AssetGroup.FUND}


def asset_groups(assets: Sequence[Asset]) -> NDArray[np.int8]:
    """Return (A,) the group of each asset: stock, bond, fund, or none of them."""
    return np.array([_GROUPS.get(asset.asset_category, AssetGroup.OTHER) for asset in assets], dtype=np.int8)


def fit_portfolio_mix(demand: Demand, groups: NDArray[np.int8], *, last_day: int) -> NDArray[np.float32]:
    """Return (MIX_COUNT, A) float32 log(1 + SHARE_SCALE * share) of each asset among the purchases of that mix.

    Evidence of demand counts half after RECENT_HALF_LIFE_DAYS, other purchases little and half after
    OTHER_HALF_LIFE_DAYS. Each mix is shrunk towards the trend of all customers. Zeros when nobody bought anything.
    """
    if not len(demand.day):
        return np.zeros((MIX_COUNT, len(groups)), np.float32)
    age = last_day - demand.day.astype(np.float64)
    evidence = demand.is_evidence * 0.5 ** (age / RECENT_HALF_LIFE_DAYS)
    other = ~demand.is_evidence * 0.5 ** (age / OTHER_HALF_LIFE_DAYS)
    mix = np.zeros(int(demand.customer_index.max()) + 1, dtype=np.int64)
    np.bitwise_or.at(mix, demand.customer_index, groups[demand.asset_index])
    counts = np.zeros((MIX_COUNT, len(groups)))
    np.add.at(counts, (mix[demand.customer_index], demand.asset_index), evidence + OTHER_WEIGHT * other)
    prior = _trend(demand, evidence, asset_count=len(groups))
    shares = (counts + SHRINKAGE * prior) / (counts.sum(axis=1, keepdims=True) + SHRINKAGE)
    return np.ascontiguousarray(np.log1p(SHARE_SCALE * shares), dtype=np.float32)


def _trend(demand: Demand, evidence: NDArray[np.float64], *, asset_count: int) -> NDArray[np.float64]:
    """Return (A,) shares of recent evidence, shrunk towards the shares of all first purchases."""
    recent = np.bincount(demand.asset_index, evidence, minlength=asset_count)
    all_time = np.bincount(demand.asset_index, minlength=asset_count) / len(demand.asset_index)
    shrunk: NDArray[np.float64] = (recent + TREND_SHRINKAGE * all_time) / (recent.sum() + TREND_SHRINKAGE)
    return shrunk
