"""What customers who hold the same kinds of assets, and few or many of them, have been buying lately."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.recommender.demand import Demand
from shared.recommender.model import GROUP_MIX_COUNT, MIX_COUNT, AssetGroup, portfolio_mix_index
from shared.recommender.trend import WIDER_HALF_LIFE_DAYS, fade, find_wider_trend, log_shares, shrink
from shared.recommender.types import Asset

OTHER_HALF_LIFE_DAYS = 360.0
OTHER_WEIGHT = 0.1  # of a purchase that is no evidence of demand
SHRINKAGE = 50.0  # purchases by the wider group that every group starts with: size of a mix, mix, all customers

_GROUPS = {"Stock": AssetGroup.STOCK, "Bond": AssetGroup.BOND, "MTF": AssetGroup.FUND}


def asset_groups(assets: Sequence[Asset]) -> NDArray[np.int8]:
    """Return (A,) the group of each asset: stock, bond, fund, or none of them."""
    return np.array([_GROUPS.get(asset.asset_category, AssetGroup.OTHER) for asset in assets], dtype=np.int8)


def fit_portfolio_mix(demand: Demand, groups: NDArray[np.int8], *, last_day: int) -> NDArray[np.float32]:
    """Return (MIX_COUNT, A) float32 log shares of each asset among the purchases of that mix.

    Evidence of demand counts half after WIDER_HALF_LIFE_DAYS, other purchases little and half after
    OTHER_HALF_LIFE_DAYS. Small and large portfolios of a mix are shrunk towards the mix, and that towards the wider
    trend of all customers. Zeros when nobody bought anything.
    """
    if not len(demand.day):
        return np.zeros((MIX_COUNT, len(groups)), np.float32)
    evidence = demand.is_evidence * fade(demand, WIDER_HALF_LIFE_DAYS, last_day=last_day)
    other = ~demand.is_evidence * fade(demand, OTHER_HALF_LIFE_DAYS, last_day=last_day)
    mixes = find_mixes(demand, groups, customer_count=int(demand.customer_index.max()) + 1)
    counts = np.zeros((MIX_COUNT, len(groups)))
    np.add.at(counts, (mixes[demand.customer_index], demand.asset_index), evidence + OTHER_WEIGHT * other)
    trend = find_wider_trend(demand, asset_count=len(groups), last_day=last_day)
    by_groups = shrink(counts[:GROUP_MIX_COUNT] + counts[GROUP_MIX_COUNT:], trend, SHRINKAGE)
    return log_shares(shrink(counts, np.concatenate([by_groups, by_groups]), SHRINKAGE))


def find_mixes(demand: Demand, groups: NDArray[np.int8], *, customer_count: int) -> NDArray[np.int64]:
    """Return (customer_count,) the mix of each customer by everything that they own."""
    owned = np.bincount(demand.customer_index, minlength=customer_count)
    kinds = np.zeros(customer_count, dtype=np.int64)
    np.bitwise_or.at(kinds, demand.customer_index, groups[demand.asset_index])
    mixes = [portfolio_mix_index(*pair) for pair in zip(kinds.tolist(), owned.tolist(), strict=True)]
    return np.array(mixes, dtype=np.int64)
