"""Ask past prices alone: predict each asset's return over the next months and recommend the largest.

Series may be sparse, so a price stands for a date that it precedes by up to PRICE_TOLERANCE_DAYS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.known import Counts, KnownData, Matrix

PRICE_TOLERANCE_DAYS = 40
LAGS_DAYS = (30, 90, 180, 365)
HORIZON_DAYS = 166  # the benchmark's windows
SAMPLE_EVERY_DAYS = 14
SAMPLES = 26  # the last year of days whose horizon has ended
LEAST_TRAINING_ROWS = 100
VOLATILITY_DAYS, LEAST_RETURNS = 365, 4
RETURN_LIMITS = (-0.9, 2.0)
SEED = 7


@dataclass(frozen=True)
class PriceRegression:
    """Scores by the predicted return of a regression; an asset without a current price comes last."""

    build_regression: Callable[[], Any]

    def __call__(self, known: KnownData, customers: CustomerIndices) -> Matrix:
        """Return the same scores for every customer; chance while there is too little to learn from."""
        features, returns = _training_rows(known)
        # What prices do not tell apart, chance does: the order of ISINs says something about countries.
        predicted = np.random.default_rng(known.day).random(known.shape[1]) * 1e-9
        priced = np.isfinite(_price_at(known, known.day))
        if len(returns) >= LEAST_TRAINING_ROWS and priced.any():
            regression = self.build_regression()
            regression.fit(features, returns)
            predicted[priced] += regression.predict(price_features(known, known.day)[priced])
            predicted[~priced] -= 1.0
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


def price_features(known: KnownData, day: int) -> Matrix:
    """Return (A, F) past returns as centred ranks in [-0.5, 0.5], 0 where unknown, and the kind of asset."""
    momenta = [centred_ranks(momentum(known, lag, day=day)) for lag in LAGS_DAYS]
    kinds = [[float(asset.asset_category == kind) for asset in known.training.assets] for kind in ("Stock", "Bond")]
    return np.stack([*momenta, *map(np.array, kinds)], axis=1)


def momentum(known: KnownData, lag_days: int, *, day: int | None = None) -> Counts:
    """Return (A,) returns over the days before `day` (default: now), NaN where a price is missing."""
    day = known.day if day is None else day
    growth: Counts = _price_at(known, day) / _price_at(known, day - lag_days) - 1.0
    return growth


def volatility(known: KnownData) -> Counts:
    """Return (A,) the deviation of log returns per square root of a day over a year, NaN below four returns."""
    prices = known.training.close_prices
    recent = prices.day > known.day - VOLATILITY_DAYS
    asset, day, close = (column[recent] for column in (prices.asset_index, prices.day, prices.close))
    same = asset[1:] == asset[:-1]
    days = np.maximum(np.diff(day), 1)[same]
    returns = np.diff(np.log(close))[same] / np.sqrt(days)
    of = asset[1:][same]
    count = np.bincount(of, minlength=known.shape[1])
    total = np.bincount(of, returns, minlength=known.shape[1])
    squares = np.bincount(of, returns**2, minlength=known.shape[1])
    enough = count >= LEAST_RETURNS
    variance = np.full(known.shape[1], np.nan)
    mean = total[enough] / count[enough]
    variance[enough] = np.maximum(squares[enough] / count[enough] - mean**2, 0.0)
    return np.asarray(np.sqrt(variance))


def centred_ranks(values: Counts) -> Counts:
    """Return (A,) ranks spread over [-0.5, 0.5], the largest value highest, 0 where unknown."""
    ranks = np.zeros(len(values))
    known = np.isfinite(values)
    ranks[known] = (np.argsort(np.argsort(values[known], kind="stable")) + 0.5) / max(known.sum(), 1) - 0.5
    return ranks


def _training_rows(known: KnownData) -> tuple[Matrix, Counts]:
    """Return features and excess returns of days whose horizon ended by today."""
    features, returns = [np.empty((0, len(LAGS_DAYS) + 2))], [np.empty(0)]
    for sample in range(SAMPLES):
        start = known.day - HORIZON_DAYS - sample * SAMPLE_EVERY_DAYS
        later = _price_at(known, start + HORIZON_DAYS) / _price_at(known, start) - 1.0
        usable = np.isfinite(later)
        if usable.any():
            features.append(price_features(known, start)[usable])
            cut = np.clip(later[usable], *RETURN_LIMITS)
            returns.append(cut - cut.mean())
    return np.concatenate(features), np.concatenate(returns)


def _price_at(known: KnownData, day: int) -> Counts:
    prices = known.training.close_prices
    found = np.full(known.shape[1], np.nan)
    near = (prices.day <= day) & (prices.day > day - PRICE_TOLERANCE_DAYS)
    found[prices.asset_index[near]] = prices.close[near]  # sorted by asset and day: the latest stays
    return found
