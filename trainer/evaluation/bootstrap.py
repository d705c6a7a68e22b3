"""How sure a mean is: the values, and the windows that they belong to, are drawn again and again (Efron 1979).

scipy.stats.bootstrap draws neither in two stages nor in blocks of neighbours, so the draws are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
DRAWN_AT_A_TIME = 2**16  # values: few enough for the cache of a processor

Values = NDArray[np.float64]


def standard_error(windows: Sequence[Values]) -> float:
    """Return the deviation of the resampled mean of the means of one or more windows' values, (N,) each.

    Two stages, windows and then values: customers of one window share its market, so a difference that only one window
    shows counts little. 0 for a single value. Deterministic. Raises ValueError when a window is empty.
    """
    random = np.random.default_rng(0)
    draws = [resampled_means(values, random) for values in windows for _ in windows]
    means = np.array(draws).reshape(len(windows), len(windows), RESAMPLES)  # window, draw of it, resample
    chosen = random.integers(0, len(windows), size=(len(windows), RESAMPLES))
    drawn = [means[chosen[draw], draw, np.arange(RESAMPLES)] for draw in range(len(windows))]
    return float(np.mean(drawn, axis=0).std())


def interval_95(
    values: Values, *, random: np.random.Generator | None = None, resamples: int = RESAMPLES, block: int = 1
) -> tuple[float, float] | None:
    """Return the percentile interval of the mean of (N,) values; None for fewer than two blocks. Deterministic.

    `block`: so many neighbours are drawn together (moving blocks, Künsch 1989), for values that depend on each other.
    """
    if len(values) < 2 * block:
        return None
    means = resampled_means(values, random or np.random.default_rng(0), resamples=resamples, block=block)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def resampled_means(
    values: Values, random: np.random.Generator, *, resamples: int = RESAMPLES, block: int = 1
) -> Values:
    """Return (resamples,) means of as many values drawn with replacement."""
    count = len(values)
    if not count:
        raise ValueError("there is nothing to resample")
    means = np.empty(resamples)
    size = -(-count // block)
    rows = max(DRAWN_AT_A_TIME // size, 1)
    for first in range(0, resamples, rows):
        # The same numbers as drawn one resample after the other.
        drawn = random.integers(0, count - block + 1, (min(rows, resamples - first), size))
        if block > 1:
            drawn = (drawn[:, :, np.newaxis] + np.arange(block)).reshape(len(drawn), -1)[:, :count]
        values.take(drawn).mean(axis=1, out=means[first : first + len(drawn)])
    return means
