"""Bringing different signals to one scale, customer by customer, over what that customer may be recommended.

Only element-wise and row-wise operations on C-contiguous arrays: a row's result does not depend on its batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32] | NDArray[np.float64]


def scale_to_unit(signal: Signal, candidates: NDArray[np.bool_], *, out: NDArray[np.float64]) -> None:
    """Write (B, A) to `out`, each row min-max scaled to [0, 1] over its candidates; a constant row gives 0."""
    # np.where before the reduction: a reduction's own `where` is several times slower.
    infinity = np.float32(np.inf)
    lowest = np.where(candidates, signal, infinity).min(axis=1, initial=infinity).astype(np.float64)
    highest = np.where(candidates, signal, -infinity).max(axis=1, initial=-infinity).astype(np.float64)
    varies = highest > lowest
    lowest[~varies] = 0.0
    # Dividing by infinity makes rows without any difference (or without any candidate) zero, without a branch.
    span = np.subtract(highest, lowest, out=np.full_like(lowest, np.inf), where=varies)
    np.subtract(signal, lowest[:, np.newaxis], out=out)
    out /= span[:, np.newaxis]


def standardise(signal: Signal, candidates: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (B, A) standard scores, mean 0 and deviation 1 over each row's candidates; a constant row gives 0.

    Scaled to [0, 1] first, so that no square of a difference under- or overflows.
    """
    scores = np.empty(candidates.shape)
    scale_to_unit(signal, candidates, out=scores)
    count = np.maximum(np.count_nonzero(candidates, axis=1), 1)
    scores -= (np.where(candidates, scores, 0.0).sum(axis=1) / count)[:, np.newaxis]
    variance = (np.where(candidates, scores, 0.0) ** 2).sum(axis=1) / count
    scores /= np.sqrt(variance, out=np.full_like(variance, np.inf), where=variance > 0)[:, np.newaxis]
    return scores
