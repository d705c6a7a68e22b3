"""What customers buy lately who hold the same kinds of assets, and few or many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.recommender.history import time_decay
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.signals.trend import log_shares, shrink, weeks_shares
from shared.recommender.training_data import TrainingData
from shared.recommender.types import Asset


class AssetGroup(IntFlag):
    """What kind of asset it is, as one bit of a portfolio's mix; OTHER is none of the three."""

    OTHER = 0
    STOCK = 1
    BOND = 2
    FUND = 4


_GROUPS = {"Stock": AssetGroup.STOCK, "Bond": AssetGroup.BOND, "MTF": AssetGroup.FUND}
GROUP_MIX_COUNT = 8  # every combination of the groups of assets that a customer may own
MIX_COUNT = 2 * GROUP_MIX_COUNT  # each for small and for large portfolios


@dataclass(frozen=True, kw_only=True)
class PortfolioMix(Signal):
    """Log shares of the assets among the purchases of each mix (docs/decisions/0010 and 0012).

    A mix is which groups a customer owns, and whether the portfolio is small. Its shares are shrunk towards those of
    the mix in portfolios of any size, and these towards the last weeks of all customers (smoothing as in `Trend`).
    """

    name = "portfolio_mix"
    arrays: ClassVar = {
        "log_shares": ArraySpec("log(1 + share_scale * share) of what holders of a mix buy", (MIX_COUNT, "assets")),
        "asset_group": ArraySpec("AssetGroup of each asset", ("assets",), "int8", 0, GROUP_MIX_COUNT - 1),
    }

    half_life_days: float = 30.0  # of purchases that show demand
    other_half_life_days: float = 360.0
    other_weight: float = 0.1  # of a purchase that does not show demand
    shrinkage: float = 50.0  # purchases with the wider shares that every mix starts with
    weeks_shrinkage: float = 10.0  # see Trend
    share_scale: float = 1000.0  # see Trend
    small_portfolio: int = 2  # assets of a small portfolio, at most
    entry_days: int = 14  # see TrainingData.first_purchases

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        groups = asset_groups(data.assets)
        purchases = data.first_purchases(entry_days=self.entry_days)
        if not len(purchases.day):
            return {"log_shares": np.zeros((MIX_COUNT, len(groups)), np.float32), "asset_group": groups}
        age_days = data.last_day - purchases.day.astype(np.float64)
        demand = purchases.shows_demand * time_decay(age_days, self.half_life_days)
        other = ~purchases.shows_demand * time_decay(age_days, self.other_half_life_days)
        mixes = self._mixes(purchases.customer_index, groups[purchases.asset_index], len(data.customers))
        counts = np.zeros((MIX_COUNT, len(groups)))
        weights = demand + self.other_weight * other
        np.add.at(counts, (mixes[purchases.customer_index], purchases.asset_index), weights)
        weeks = weeks_shares(data, purchases, half_life_days=self.half_life_days, shrinkage=self.weeks_shrinkage)
        any_size = shrink(counts[:GROUP_MIX_COUNT] + counts[GROUP_MIX_COUNT:], weeks, self.shrinkage)
        shares = shrink(counts, np.concatenate([any_size, any_size]), self.shrinkage)
        return {"log_shares": log_shares(shares, self.share_scale), "asset_group": groups}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        owned = batch.owned()
        rows = np.repeat(np.arange(len(owned)), [len(assets) for assets in owned])
        assets = np.array([asset for row in owned for asset in row], dtype=np.int64)
        return np.asarray(arrays["log_shares"][self._mixes(rows, arrays["asset_group"][assets], len(owned))])

    def _mixes(self, customer: NDArray[np.integer], group: NDArray[np.int8], count: int) -> NDArray[np.int64]:
        """Return (count,) the mix of each customer, from one row per owned asset; interactions do not count."""
        groups = np.zeros(count, dtype=np.int64)
        np.bitwise_or.at(groups, customer, group.astype(np.int64))
        is_large = np.bincount(customer, minlength=count) > self.small_portfolio
        return groups + GROUP_MIX_COUNT * is_large


def asset_groups(assets: Sequence[Asset]) -> NDArray[np.int8]:
    """Return (A,) the group of each asset: stock, bond, fund, or none of them."""
    return np.array([_GROUPS.get(asset.asset_category, AssetGroup.OTHER) for asset in assets], dtype=np.int8)
