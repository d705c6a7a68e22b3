"""The same list for all customers, except what they own: by chance, by all purchases, by recent ones."""

from __future__ import annotations

from functools import partial

import numpy as np

from shared.recommender.history import time_decay
from trainer.benchmark.algorithms.interface import CustomerIndices, Score
from trainer.benchmark.known import KnownData, Matrix


def random(known: KnownData, customers: CustomerIndices) -> Matrix:
    """Chance, the same in every run of a time point."""
    return np.random.default_rng(known.day).random((len(customers), known.shape[1]))


def popularity(known: KnownData, customers: CustomerIndices) -> Matrix:
    """How many customers own the asset."""
    return np.tile(known.counts(), (len(customers), 1))


def recent_popularity(*, half_life_days: float) -> Score:
    """How many bought it, a purchase counting half after each half-life."""
    return partial(_recent_popularity, half_life_days=half_life_days)


def _recent_popularity(known: KnownData, customers: CustomerIndices, *, half_life_days: float) -> Matrix:
    return np.tile(known.counts(time_decay(known.age_days, half_life_days)), (len(customers), 1))
