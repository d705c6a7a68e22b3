"""The same rankings with an increasing weight of profit: how much nDCG a higher ROI costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from shared.recommender.configuration import DEFAULT_WEIGHTS
from shared.recommender.price_grid import centred_ranks
from shared.recommender.types import Weights
from trainer.benchmark.algorithms.interface import Algorithm
from trainer.benchmark.algorithms.signals import RESEARCH_BLEND, Hybrid
from trainer.benchmark.known import Counts, KnownData, Lists, Matrix, Split, rank
from trainer.evaluation.splits import annual_volatility, prices_at

PROFITABILITY_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
TILTS = (0.0, 0.3, 0.6, 1.0, 2.0)
MOMENTUM_DAYS = 180
PRICE_TOLERANCE_DAYS = 39  # a price stands for a date that it precedes by no more than this
RANK_DEVIATION = 1.0 / np.sqrt(12.0)  # of ranks spread evenly over one: a tilt of 1 weighs as much as the blend

Signal = Callable[[KnownData], Counts]


@dataclass(frozen=True)
class Tilted:
    """The research blend plus `tilt` times ranks of assets by past prices, both as standard scores."""

    signal: Signal
    tilt: float

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Return the best candidates."""
        return rank(_blend(known, split) + self.tilt * self.signal(known) / RANK_DEVIATION, known, split)


def momentum(known: KnownData) -> Counts:
    """Return (A,) returns over the last MOMENTUM_DAYS, NaN where a price is missing."""
    days = (known.day, known.day - MOMENTUM_DAYS)
    now, before = (prices_at(known.training, day, tolerance_days=PRICE_TOLERANCE_DAYS) for day in days)
    return np.asarray(now / before - 1.0)


SIGNALS: Mapping[str, Signal] = {
    "momentum": lambda known: centred_ranks(momentum(known)),
    "low-volatility": lambda known: centred_ranks(-annual_volatility(known.training)),
    "both": lambda known: (centred_ranks(momentum(known)) + centred_ranks(-annual_volatility(known.training))) / 2.0,
}


def frontier_names() -> list[str]:
    """Return the name of every point: SERIES@WEIGHT."""
    hybrids = [f"{name}@{weight:g}" for name in ("hybrid", "hybrid-suitable") for weight in PROFITABILITY_WEIGHTS]
    return hybrids + [f"blend-{name}@{tilt:g}" for name in SIGNALS for tilt in TILTS]


def frontier_algorithm(name: str) -> Algorithm:
    """Return the algorithm of one point."""
    series, _, number = name.partition("@")
    if series.startswith("hybrid"):
        return Hybrid(enforce_suitability=series == "hybrid-suitable", weights=_weights(float(number)))
    return Tilted(SIGNALS[series.removeprefix("blend-")], float(number))


def _weights(profitability: float) -> Weights:
    rest = (1.0 - profitability) / (DEFAULT_WEIGHTS.collaborative + DEFAULT_WEIGHTS.content)
    return Weights(DEFAULT_WEIGHTS.collaborative * rest, DEFAULT_WEIGHTS.content * rest, profitability)


@lru_cache(maxsize=1)  # the same for every tilt
def _blend(known: KnownData, split: Split) -> Matrix:
    return RESEARCH_BLEND.scores(known, split) / len(RESEARCH_BLEND.signals)
