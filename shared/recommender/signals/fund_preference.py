"""A constant preference for funds over single assets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.signals.portfolio_mix import AssetGroup, asset_groups
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class FundPreference(Signal):
    """1 for a fund, 0 for any other asset (docs/decisions/0024).

    Funds are bought in small numbers by many customers, so the other signals rank them too low.
    """

    name = "fund_preference"
    arrays: ClassVar = {"is_fund": ArraySpec("1 for a fund, else 0", ("assets",), "float32", 0, 1)}

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        return {"is_fund": (asset_groups(data.assets) == AssetGroup.FUND).astype(np.float32)}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        return np.broadcast_to(arrays["is_fund"], batch.history.shape)
