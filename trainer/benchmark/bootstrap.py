"""How sure a mean over time points is: by resampling them one by one, and in blocks, because their windows overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 5_000
# About half a window: neighbouring time points are 12 days apart and share most of the months after them.
BLOCK_LENGTH = 6
PERCENTILES = (2.5, 97.5)


def bootstrap_intervals(values: NDArray[np.float64], *, seed: int = 0) -> dict[str, list[float] | None]:
    """Return 95 % intervals of the mean of (T,) values in order of time, NaN left out.

    "independent" takes time points one by one, which is too narrow where windows overlap; "blocks" takes runs of
    BLOCK_LENGTH neighbours (moving blocks, Künsch 1989). None for fewer than two values, or fewer than two blocks.
    """
    known = values[np.isfinite(values)]
    random = np.random.default_rng(seed)
    return {"independent": _interval(known, 1, random), "blocks": _interval(known, BLOCK_LENGTH, random)}


def _interval(values: NDArray[np.float64], block: int, random: np.random.Generator) -> list[float] | None:
    count = len(values)
    if count < 2 * block:
        return None
    blocks = -(-count // block)
    starts = random.integers(0, count - block + 1, size=(RESAMPLES, blocks))
    chosen = (starts[:, :, np.newaxis] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count]
    low, high = np.percentile(values[chosen].mean(axis=1), PERCENTILES)
    return [float(low), float(high)]
