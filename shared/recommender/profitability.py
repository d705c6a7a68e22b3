"""Predict each asset's return over the next six months from prices that were known at the date.

The published `limit_prices.profitability` covers the whole period and is never read here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from shared.recommender.price_grid import FEATURE_NAMES, HORIZON_WEEKDAYS, PriceGrid, price_features

SAMPLE_EVERY_WEEKDAYS = 10  # neighbouring days say nearly the same
LEAST_TRAINING_ROWS = 200
RETURN_LIMITS = (-0.9, 2.0)  # a forward return outside is cut to these: penny stocks would rule the fit


def predict_returns(grid: PriceGrid, *, seed: int) -> NDArray[np.float32]:
    """Return (A,) predicted six-month returns as fractions at the grid's last row.

    Fitted only on rows whose six months ended at or before that row. Assets without enough prices get the
    median prediction; without anything to learn from, everything is 0. Deterministic for a seed.
    """
    asset_count = grid.prices.shape[1]
    predicted = np.zeros(asset_count, dtype=np.float32)
    features, returns = _training_rows(grid)
    if len(returns) < LEAST_TRAINING_ROWS:
        return predicted
    current = grid.enough(len(grid.prices) - 1)
    if not current.any():
        return predicted
    model = HistGradientBoostingRegressor(
        max_iter=150,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    # One thread: OpenMP's threads wait for each other by spinning, ten times slower beside the other services.
    with threadpool_limits(limits=1, user_api="openmp"):
        # A short history leaves long indicators without a single value, which the binning cannot take.
        told = np.isfinite(features).any(axis=0)
        model.fit(features[:, told], returns)
        known = model.predict(price_features(grid, len(grid.prices) - 1)[current][:, told])
    predicted[:] = np.median(known)
    predicted[current] = known
    return predicted


def _training_rows(grid: PriceGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features (N, F) and realised six-month returns (N,) of every sampled day and usable asset."""
    features, returns = [np.empty((0, len(FEATURE_NAMES)))], [np.empty(0)]
    for row in range(len(grid.prices) - 1 - HORIZON_WEEKDAYS, 0, -SAMPLE_EVERY_WEEKDAYS):
        later = grid.prices[row + HORIZON_WEEKDAYS] / grid.prices[row] - 1
        usable = grid.enough(row) & np.isfinite(later)
        if usable.any():
            features.append(price_features(grid, row)[usable])
            returns.append(np.clip(later[usable], *RETURN_LIMITS))
    return np.concatenate(features), np.concatenate(returns)
