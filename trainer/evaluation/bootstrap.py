"""How sure a mean over test customers is: customers, and the windows they belong to, are drawn again and again.

Bootstrap (Efron 1979), in two stages where there are several windows: customers of one window share its market, so a
difference that only one window shows is worth little, however many customers it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
PERCENTILES = (2.5, 97.5)

Values = NDArray[np.float64]


def standard_error(windows: Sequence[Values]) -> float:
    """Return the deviation of the resampled mean of the means of one or more windows' values, (N,) each.

    0 for a single value. Deterministic. Raises ValueError when a window is empty.
    """
    random = np.random.default_rng(0)
    draws = [resampled_means(values, random) for values in windows for _ in windows]
    means = np.array(draws).reshape(len(windows), len(windows), RESAMPLES)  # window, draw of it, resample
    chosen = random.integers(0, len(windows), size=(len(windows), RESAMPLES))
    drawn = [means[chosen[draw], draw, np.arange(RESAMPLES)] for draw in range(len(windows))]
    return float(np.mean(drawn, axis=0).std())


def interval_95(values: Values) -> tuple[float, float] | None:
    """Return the percentile interval of the mean of one window's (N,) values; None for a single one. Deterministic."""
    if len(values) <= 1:
        return None
    low, high = np.percentile(resampled_means(values, np.random.default_rng(0)), PERCENTILES)
    return float(low), float(high)


def resampled_means(values: Values, random: np.random.Generator) -> Values:
    """Return (RESAMPLES,) means of as many values drawn with replacement."""
    if not len(values):
        raise ValueError("there is nothing to resample")
    count = len(values)
    return np.array([values[random.integers(0, count, count)].mean() for _ in range(RESAMPLES)])
