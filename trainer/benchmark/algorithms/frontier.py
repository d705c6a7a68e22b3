"""The same rankings with profit counting more and more: what nDCG gives up for ROI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from shared.recommender.types import Weights
from trainer.benchmark.algorithms.demand_signals import research_blend
from trainer.benchmark.algorithms.hybrid import Hybrid, default_configuration
from trainer.benchmark.algorithms.interface import Algorithm
from trainer.benchmark.algorithms.prices import centred_ranks, momentum, volatility
from trainer.benchmark.known import Counts, KnownData, Lists, Matrix, Split, rank

PROFITABILITY_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
TILTS = (0.0, 0.3, 0.6, 1.0, 2.0)
MOMENTUM_DAYS = 180
RANK_DEVIATION = 1.0 / np.sqrt(12.0)  # of ranks spread evenly over one: a tilt of 1 counts like the blend itself

Signal = Callable[[KnownData], Counts]


@dataclass(frozen=True)
class Tilted:
    """The research blend plus `tilt` times a ranking of assets by past prices, both as standard scores."""

    signal: Signal
    tilt: float

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Return the best candidates."""
        return rank(_blend(known, split) + self.tilt * self.signal(known) / RANK_DEVIATION, known, split)


def rising(known: KnownData) -> Counts:
    """Rank assets by their return over the last MOMENTUM_DAYS."""
    return centred_ranks(momentum(known, MOMENTUM_DAYS))


def calm(known: KnownData) -> Counts:
    """Rank assets by low volatility."""
    return centred_ranks(-volatility(known))


def rising_and_calm(known: KnownData) -> Counts:
    """Rank assets by both."""
    return (rising(known) + calm(known)) / 2.0


SIGNALS: Mapping[str, Signal] = {"rising": rising, "calm": calm, "rising-and-calm": rising_and_calm}


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
    default = default_configuration().weights
    rest = (1.0 - profitability) / (default.collaborative + default.content)
    return Weights(default.collaborative * rest, default.content * rest, profitability)


@lru_cache(maxsize=1)  # the same for every tilt
def _blend(known: KnownData, split: Split) -> Matrix:
    blend = research_blend()
    return blend.scores(known, split, known.customers_of(split)) / len(blend.parts)
