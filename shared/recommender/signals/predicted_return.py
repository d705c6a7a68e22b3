"""The predicted return of each asset, from prices that were known at the date.

The published `limit_prices.profitability` covers the whole period and is never read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from shared.recommender.price_grid import centred_ranks
from shared.recommender.price_series import PriceSeries, price_series
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal
from shared.recommender.training_data import TrainingData

VALIDATION = ("rank_correlation", "lowest", "highest", "dates")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Sample:
    """A past day: features (K, 3) of the assets that had any, and later (K,) their returns over the horizon."""

    day: int
    features: Values
    later: Values

    @cached_property
    def moments(self) -> tuple[Values, Values, float]:
        """Features squared (3, 3), features times the return above the mean (3,), the mean return; by asset."""
        mean = float(self.later.mean())
        count = len(self.later)
        return self.features.T @ self.features / count, self.features.T @ (self.later - mean) / count, mean


@dataclass(frozen=True, kw_only=True)
class PredictedReturn(Signal):
    """The return that ranks of past prices predict: level + reliability * sum of slope * rank in [-0.5, 0.5].

    The ranks: nearness to the high (George & Hwang, "The 52-Week High and Momentum Investing", 2004), momentum
    (Jegadeesh & Titman 1993) and low volatility. The reliability of an asset grows with the number of its prices and
    falls with the age of the last. Slopes and level are means of regressions across assets, one for each past date
    (Fama & MacBeth 1973). Their signs change between years, so `prior_windows` windows that show the slopes below
    (and a level of 0) count as well. An asset with too few prices gets the level: it is not known.
    """

    name = "profitability"
    component = "profitability"
    arrays: ClassVar = {
        "predicted_return": ArraySpec("predicted return over the horizon, as a fraction", ("assets",)),
        "known": ArraySpec("whether the asset has enough prices for a prediction", ("assets",), "bool"),
        "validation": ArraySpec("mean rank correlation at past dates, its 95 % interval, number of dates", (4,)),
    }

    horizon_days: int = 182
    high_window_days: int = 400  # of nearness to the high and of volatility
    momentum_days: int = 360
    nearness_slope: float = 0.03  # return between the lowest and the highest rank, before anything is learnt
    momentum_slope: float = 0.03
    low_volatility_slope: float = 0.015
    prior_windows: float = 8.0  # so many separate windows count as much as the slopes above
    half_reliable_prices: float = 10.0  # prices after the first, for half the reliability
    price_half_life_days: float = 90.0  # of the reliability, by the age of the last price
    sample_every_days: int = 28  # neighbouring days say nearly the same
    longest_history_days: int = 3_650
    price_tolerance_days: int = 28  # a price stands for a date that it precedes by no more than this
    least_assets: int = 20  # of a past date
    least_return: float = -0.9  # returns are cut off here and at largest_return: penny stocks would dominate the fit
    largest_return: float = 2.0

    def __post_init__(self) -> None:
        days, shrinkage = (self.horizon_days, self.sample_every_days), (self.prior_windows, self.half_reliable_prices)
        if min(*days, *shrinkage, self.price_half_life_days) <= 0:
            raise ValueError("horizon, sampling, prior windows and both halves of the reliability must be positive")

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        series = price_series(data)
        features, known = self._features(series, data.last_day)
        samples = self._samples(series, data.last_day)
        slopes, level = self._estimate(samples)
        return {
            "predicted_return": (level + features @ slopes).astype(np.float32),
            "known": known,
            "validation": self._validate(samples).astype(np.float32),
        }

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        return np.broadcast_to(arrays["predicted_return"], batch.history.shape)

    def has_opinion(self, arrays: Arrays) -> bool:
        return bool(arrays["known"].any())

    def figures(self, arrays: Arrays) -> dict[str, Any]:
        correlation, lowest, highest, dates = (float(value) for value in arrays["validation"])
        return {
            "known_assets": int(arrays["known"].sum()),
            "validation_dates": int(dates),
            "rank_correlation": round(correlation, 4) if dates else None,
            "rank_correlation_interval_95": [round(lowest, 4), round(highest, 4)] if dates else None,
        }

    def _features(self, series: PriceSeries, day: int) -> tuple[Values, NDArray[np.bool_]]:
        """Return (A, 3) ranks times reliability, and (A,) which assets have any."""
        nearness = series.nearness_to_high(day, window_days=self.high_window_days)
        momentum = series.momentum(day, days=self.momentum_days)
        volatility = series.root_mean_square_returns(day, window_days=self.high_window_days)
        ages, others = series.ages(day), np.maximum(series.counts(day) - 1, 0)
        known = (np.isfinite(nearness) | np.isfinite(momentum)) & (ages < self.high_window_days)
        reliability = others / (others + self.half_reliable_prices) * 0.5 ** (ages / self.price_half_life_days)
        ranks = [centred_ranks(np.where(known, values, np.nan)) for values in (nearness, momentum, -volatility)]
        return np.stack(ranks, axis=1) * reliability[:, np.newaxis], known

    def _samples(self, series: PriceSeries, last_day: int) -> list[_Sample]:
        """Return the past dates whose horizon has ended, the oldest first."""
        newest = last_day - self.horizon_days
        oldest = max(last_day - self.longest_history_days, int(series.days.min(initial=newest)))
        samples = []
        for day in reversed(range(newest, oldest - 1, -self.sample_every_days)):
            features, known = self._features(series, day)
            prices, later_prices = (
                series.log_prices_at(of_day, tolerance_days=self.price_tolerance_days)
                for of_day in (day, day + self.horizon_days)
            )
            bounds = np.log1p([self.least_return, self.largest_return])
            later = np.expm1(np.clip(later_prices - prices, *bounds))
            usable = known & np.isfinite(later)
            if usable.sum() >= max(self.least_assets, 1):
                samples.append(_Sample(day, features[usable], later[usable]))
        return samples

    def _estimate(self, samples: Sequence[_Sample]) -> tuple[Values, float]:
        """Return (3,) slopes and the level: the means over past dates, shrunk towards the prior."""
        prior = np.array([self.nearness_slope, self.momentum_slope, self.low_volatility_slope])
        if not samples:
            return prior, 0.0
        windows = self._separate_windows(samples)
        moments = zip(*(sample.moments for sample in samples), strict=True)
        squares, products, level = (np.mean(values, axis=0) for values in moments)
        strength = self.prior_windows / 12.0  # the variance of a rank is 1 / 12
        slopes = np.linalg.solve(windows * squares + strength * np.eye(3), windows * products + strength * prior)
        return slopes, float(level) * windows / (windows + self.prior_windows)

    def _separate_windows(self, samples: Sequence[_Sample]) -> float:
        """Return how many windows without a common day the samples amount to."""
        return min(float(len(samples)), 1.0 + (samples[-1].day - samples[0].day) / self.horizon_days)

    def _validate(self, samples: Sequence[_Sample]) -> Values:
        """Return VALIDATION: at each past date, the prediction of what had ended by then against what came after.

        The interval is Student's t with as many values as there are windows without a common day.
        """
        tested, correlations = [], []
        for sample in samples:
            slopes, _ = self._estimate([one for one in samples if one.day + self.horizon_days <= sample.day])
            predicted, realised = centred_ranks(sample.features @ slopes), centred_ranks(sample.later)
            if predicted.any() and realised.any():
                tested.append(sample)
                correlations.append(predicted @ realised / np.sqrt((predicted @ predicted) * (realised @ realised)))
        if not tested:
            return np.zeros(4)
        windows, mean = self._separate_windows(tested), float(np.mean(correlations))
        spread = 2.0 if windows < 2.0 else stdtrit(windows - 1.0, 0.975) * np.std(correlations) / np.sqrt(windows - 1.0)
        return np.array([mean, max(mean - spread, -1.0), min(mean + spread, 1.0), len(tested)])
