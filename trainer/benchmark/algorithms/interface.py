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
