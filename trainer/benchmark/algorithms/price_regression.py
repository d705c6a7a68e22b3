"""Peers of the benchmark: a return that a regression on past prices predicts. A model serves `predicted_return`.

The published `limit_prices.profitability` covers the whole period and is never read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from shared.recommender.price_grid import PriceGrid, momentum_ranks, price_grid, technical_indicators
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.training_data import TrainingData

Indicators = Callable[[PriceGrid, int], dict[str, NDArray[np.float64]]]

INDICATORS: dict[str, Indicators] = {"technical": technical_indicators, "momentum_ranks": momentum_ranks}
REGRESSIONS = ("boosted_trees", "random_forest", "ridge")


@dataclass(frozen=True, kw_only=True)
class PriceRegression(Signal):
    """A regression of six-month returns on indicators of past prices (Sanz-Cruzado, McCreadie, Droukas et al., "On
    Transaction-Based Metrics as a Proxy for PriceRegression of Financial Asset Recommendations", 2022).

    It learns from rows whose horizon ended at or before the last day. Assets without enough prices get the
    median prediction; with too little to learn from, all predictions are 0.
    """

    name = "price_regression"
    component = "profitability"
    arrays: ClassVar = {"predicted_return": ArraySpec("predicted return over the horizon, as a fraction", ("assets",))}

    indicators: str = "technical"  # of INDICATORS
    regression: str = "boosted_trees"  # of REGRESSIONS
    horizon_weekdays: int = 126
    sample_every_weekdays: int = 10  # neighbouring days say nearly the same
    longest_history_weekdays: int = 2_610  # see price_grid
    stale_after_weekdays: int = 10  # see price_grid
    least_observations: int = 20  # see PriceGrid.is_known
    least_training_rows: int = 200
    least_return: float = -0.9  # returns are cut off here and at largest_return: penny stocks would dominate the fit
    largest_return: float = 2.0
    trees: int = 150  # or rounds of boosting
    leaves: int = 15  # of a tree
    least_leaf_rows: int = 100
    learning_rate: float = 0.05  # of boosting
    l2: float = 1.0  # of boosting and ridge

    def __post_init__(self) -> None:
        if self.indicators not in INDICATORS or self.regression not in REGRESSIONS:
            raise ValueError(f"indicators are {', '.join(INDICATORS)}; regressions are {', '.join(REGRESSIONS)}")

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        grid = price_grid(
            data, stale_after_weekdays=self.stale_after_weekdays, longest_history_weekdays=self.longest_history_weekdays
        )
        predicted = np.zeros(len(data.id_map), dtype=np.float32)
        samples, returns = self._training_rows(grid)
        last = len(grid.prices) - 1
        if (
            len(returns) < max(self.least_training_rows, 1)
            or not (known := grid.is_known(last, self.least_observations)).any()
        ):
            return {"predicted_return": predicted}
        # A short history leaves long indicators without any value, which the regressions do not accept.
        usable = np.isfinite(samples).any(axis=0)
        regression = self._build_regression(random_state)
        # One thread: OpenMP's threads wait for each other by spinning, ten times slower beside the other services.
        with threadpool_limits(limits=1, user_api="openmp"):
            regression.fit(samples[:, usable], returns)
            current = regression.predict(self._features(grid, last)[known][:, usable])
        predicted[:] = np.median(current)
        predicted[known] = current
        return {"predicted_return": predicted}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        return np.broadcast_to(arrays["predicted_return"], batch.history.shape)

    def _features(self, grid: PriceGrid, row: int) -> NDArray[np.float64]:
        return np.stack(list(INDICATORS[self.indicators](grid, row).values()), axis=1)

    def _training_rows(self, grid: PriceGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return features (N, F) and later returns (N,) of every sampled day and usable asset."""
        features, returns = [], []
        for row in range(len(grid.prices) - 1 - self.horizon_weekdays, 0, -self.sample_every_weekdays):
            later = grid.prices[row + self.horizon_weekdays] / grid.prices[row] - 1
            usable = grid.is_known(row, self.least_observations) & np.isfinite(later)
            if usable.any():
                features.append(self._features(grid, row)[usable])
                returns.append(np.clip(later[usable], self.least_return, self.largest_return))
        return (np.concatenate(features), np.concatenate(returns)) if returns else (np.empty((0, 0)), np.empty(0))

    def _build_regression(self, random_state: int) -> Any:
        """Return the regression; scikit-learn is imported here only, so that serving does not load it."""
        if self.regression == "ridge":
            from sklearn.impute import SimpleImputer
            from sklearn.linear_model import Ridge
            from sklearn.pipeline import make_pipeline

            return make_pipeline(SimpleImputer(), Ridge(alpha=self.l2))
        from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

        if self.regression == "random_forest":
            return RandomForestRegressor(
                self.trees,
                max_leaf_nodes=self.leaves,
                min_samples_leaf=self.least_leaf_rows,
                n_jobs=1,
                random_state=random_state,
            )
        return HistGradientBoostingRegressor(
            max_iter=self.trees,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.least_leaf_rows,
            l2_regularization=self.l2,
            early_stopping=False,
            random_state=random_state,
        )
