"""The one small interface of every peer: fitted on what was known at a time point, it ranks for its customers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.benchmark.known import KnownData, Lists, Matrix, Split, rank

CustomerIndices = NDArray[np.int64]
Score = Callable[[KnownData, CustomerIndices], Matrix]


class Algorithm(Protocol):
    """Fits and ranks; (B, K) asset positions, one row per customer of the split, NO_ASSET past the end of a list."""

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Return the lists."""
        ...


@dataclass(frozen=True)
class Scored:
    """An algorithm that scores every asset for the given customers: (B, A), the larger the better."""

    score: Score

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Return the best candidates by score."""
        return rank(self.score(known, known.customers_of(split)), known, split)


def z_scores(scores: Matrix) -> Matrix:
    """Return each row with mean 0 and deviation 1; a constant row gives 0."""
    deviation = scores.std(axis=1, keepdims=True)
    centred = scores - scores.mean(axis=1, keepdims=True)
    standardised: Matrix = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    return standardised
