"""Ask past prices alone: predict each asset's return over the next months and recommend the largest.

Series may be sparse, so a price stands for a date that it precedes by up to PRICE_TOLERANCE_DAYS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

from trainer.dataset import ClosePrices, date_of
from trainer.offline.algorithms.interface import CustomerIndices
from trainer.offline.known import Counts, KnownData, Matrix

PRICE_TOLERANCE_DAYS = 40
LAGS_DAYS = (30, 90, 180, 365)
HORIZON_DAYS = 166  # the benchmark's windows
SAMPLE_EVERY_DAYS = 14
SAMPLES = 26  # the last year of days whose horizon has ended
LEAST_TRAINING_ROWS = 100
RETURN_LIMITS = (-0.9, 2.0)
SEED = 7


@dataclass(frozen=True)
class PriceRegression:
    """Scores by the predicted return of a regression; an asset without a current price comes last."""

    build_regression: Callable[[], Any]

    def __call__(self, known: KnownData, customers: CustomerIndices) -> Matrix:
        """Return the same scores for every customer; zeros while there is too little to learn from."""
        features, returns = _training_rows(known)
        predicted = np.zeros(known.shape[1])
        if len(returns) >= LEAST_TRAINING_ROWS:
            current = price_features(known, known.training.as_of)
            priced = np.isfinite(_price_at(known, known.day))
            regression = self.build_regression()
            regression.fit(features, returns)
            predicted[:] = -1.0
            if priced.any():
                predicted[priced] = regression.predict(current[priced])
        return np.tile(predicted, (len(customers), 1))


def linear() -> Any:
    """Return a ridge regression."""
    return Ridge(alpha=20.0)


def random_forest() -> Any:
    """Return a random forest."""
    return RandomForestRegressor(100, max_depth=6, min_samples_leaf=10, n_jobs=1, random_state=SEED)


def boosted_trees() -> Any:
    """Return LightGBM's regression."""
    from lightgbm import LGBMRegressor  # an optional peer

    return LGBMRegressor(
        n_estimators=80, num_leaves=7, learning_rate=0.05, min_child_samples=20, n_jobs=1, random_state=SEED, verbose=-1
    )


def price_features(known: KnownData, day: date) -> Matrix:
    """Return (A, F) past returns as centred ranks in [-0.5, 0.5], 0 where unknown, and the kind of asset."""
    number = known.day - (known.training.as_of - day).days
    now = _price_at(known, number)
    momenta = [_centred_ranks(now / _price_at(known, number - lag) - 1.0) for lag in LAGS_DAYS]
    kinds = [[float(asset.asset_category == kind) for asset in known.training.assets] for kind in ("Stock", "Bond")]
    return np.stack([*momenta, *map(np.array, kinds)], axis=1)


def _training_rows(known: KnownData) -> tuple[Matrix, Counts]:
    """Return features and excess returns of days whose horizon ended by today."""
    features, returns = [np.empty((0, len(LAGS_DAYS) + 2))], [np.empty(0)]
    for sample in range(SAMPLES):
        start = known.day - HORIZON_DAYS - sample * SAMPLE_EVERY_DAYS
        later = _price_at(known, start + HORIZON_DAYS) / _price_at(known, start) - 1.0
        usable = np.isfinite(later)
        if usable.any():
            features.append(price_features(known, date_of(start))[usable])
            cut = np.clip(later[usable], *RETURN_LIMITS)
            returns.append(cut - cut.mean())
    return np.concatenate(features), np.concatenate(returns)


def _price_at(known: KnownData, day: int) -> Counts:
    prices: ClosePrices = known.training.close_prices
    found = np.full(known.shape[1], np.nan)
    near = (prices.day <= day) & (prices.day > day - PRICE_TOLERANCE_DAYS)
    found[prices.asset_index[near]] = prices.close[near]  # sorted by asset and day: the latest stays
    return found


def _centred_ranks(values: Counts) -> Counts:
    ranks = np.zeros(len(values))
    known = np.isfinite(values)
    ranks[known] = (np.argsort(np.argsort(values[known], kind="stable")) + 0.5) / max(known.sum(), 1) - 0.5
    return ranks
