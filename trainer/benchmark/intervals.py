"""Intervals of means over time points: the same draws for every figure, so that differences of two are paired."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 5_000
BLOCK_LENGTH = 6  # about half a window: neighbouring time points are 12 days apart and share most of the months after
BLOCKS = {"independent": 1, "blocks": BLOCK_LENGTH}

Values = NDArray[np.float64]
Interval = tuple[float, float]


def intervals_95(values: Values, *, block: str = "blocks") -> list[Interval | None]:
    """Return the 95 % percentile interval of the mean of each of (T, M) figures in order of time; deterministic.

    "independent" draws time points one by one, which is too narrow where windows overlap; "blocks" draws neighbours
    (moving blocks, Künsch 1989). NaN is left out of a mean. None below two blocks of known values.
    """
    means = resampled_means(values, block=block)
    enough = np.isfinite(values).sum(axis=0) >= 2 * BLOCKS[block]
    return [_interval(means[:, column]) if enough[column] else None for column in range(values.shape[1])]


def difference_intervals_95(first: Values, others: Values) -> list[Interval | None]:
    """Return the interval of the mean of each of (T, M) others minus the (T,) first, in blocks, pair by pair.

    In single draws where there are too few time points for blocks; None below two of them.
    """
    differences = others - first[:, np.newaxis]
    alone, blocks = (intervals_95(differences, block=block) for block in BLOCKS)
    return [drawn or single for drawn, single in zip(blocks, alone, strict=True)]


def resampled_means(values: Values, *, block: str = "blocks") -> Values:
    """Return (RESAMPLES, M) means of (T, M) figures over drawn time points; NaN where no known one was drawn."""
    weights, known = _draws(len(values))[block], np.isfinite(values)
    counts = weights @ known.astype(np.float64)
    sums = weights @ np.where(known, values, 0.0)
    means: Values = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means


@lru_cache(maxsize=4)
def _draws(count: int) -> dict[str, Values]:
    """Return for each kind of block (RESAMPLES, T): how often each time point is drawn."""
    random = np.random.default_rng(0)
    return {name: _drawn(count, min(length, count), random) for name, length in BLOCKS.items()}


def _drawn(count: int, length: int, random: np.random.Generator) -> Values:
    starts = random.integers(0, count - length + 1, (RESAMPLES, -(-count // length)))
    drawn = (starts[:, :, np.newaxis] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count]
    rows = np.repeat(np.arange(RESAMPLES), count)
    flat = np.bincount(rows * count + drawn.ravel(), minlength=RESAMPLES * count)
    return flat.reshape(RESAMPLES, count).astype(np.float64)


def _interval(means: Values) -> Interval:
    low, high = np.percentile(means[np.isfinite(means)], (2.5, 97.5))
    return float(low), float(high)
