"""Signals to components: each signal on one scale for each customer, then added up within its component.

Only element-wise and row-wise operations on C-contiguous arrays: a row's result does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.recommender.configuration import COMPONENTS
from shared.recommender.model import Model
from shared.recommender.signal import Batch, Scores, Signal
from shared.recommender.types import CustomerHistory, segment_index


def score_components(
    model: Model, batch: Batch, candidates: NDArray[np.bool_]
) -> tuple[list[Scores], NDArray[np.bool_]]:
    """Return the components before normalisation, each (B, A) in the order of COMPONENTS, and who is cold (B,).

    A cold customer has no history; their segment's prior takes its place. Scores are meaningful for candidates only.
    """
    cold = np.diff(batch.history.indptr) == 0
    rows = np.flatnonzero(cold).tolist()
    segments = [_segment(batch.histories[row]) for row in rows]
    components = []
    for name in COMPONENTS:
        signals: Sequence[Signal] = getattr(model.configuration, name)
        component = combine(signals, score_signals(model, batch, candidates, component=name))
        if rows and name in model.segments:
            component = component.copy()
            priors = [of_segments[segments] for of_segments in model.segments[name]]
            of_priors = [model.configuration.cold_start] if name == "collaborative" else signals
            component[rows] = combine(of_priors, _standard_scores(priors, candidates[rows]))
        components.append(
            lower_unbought(component, candidates, in_demand(model, batch)) if name == "collaborative" else component
        )
    return components, cold


def score_signals(model: Model, batch: Batch, candidates: NDArray[np.bool_], *, component: str) -> list[Scores]:
    """Return (B, A) scores of each signal of a component: standard scores, or as they are of a single signal.

    Collaborative signals are standardised over what somebody has bought: they cannot tell other assets apart.
    """
    signals: Sequence[Signal] = getattr(model.configuration, component)
    scores = [signal.score(model.signals[signal.name], batch) for signal in signals]
    return _standard_scores(
        scores, candidates & in_demand(model, batch) if component == "collaborative" else candidates
    )


def in_demand(model: Model, batch: Batch) -> NDArray[np.bool_]:
    """Return (B, A) whether anybody has bought the asset, or this customer has interacted with it."""
    demand = np.repeat(model.bought[np.newaxis], len(batch.histories), axis=0)
    demand[batch.history.nonzero()] = True
    return demand


def combine(signals: Sequence[Signal], scores: Sequence[Scores]) -> Scores:
    """Return (B, A): the scores of a single signal, of several the sum of weight times score."""
    if len(signals) == 1:
        return scores[0]
    total = signals[0].weight * np.asarray(scores[0], dtype=np.float64)
    for signal, of_signal in zip(signals[1:], scores[1:], strict=True):
        total += signal.weight * of_signal
    return total


def lower_unbought(scores: Scores, candidates: NDArray[np.bool_], demand: NDArray[np.bool_]) -> Scores:
    """Return (B, A) with every asset without demand as low as the lowest candidate with demand, of each customer."""
    lowest = np.where(candidates & demand, scores, np.inf).min(axis=1, initial=np.inf)
    lowest[np.isinf(lowest)] = 0.0
    return np.where(demand, scores, lowest[:, np.newaxis])


def _standard_scores(scores: Sequence[Scores], candidates: NDArray[np.bool_]) -> list[Scores]:
    return list(scores) if len(scores) == 1 else [standardise(of_signal, candidates) for of_signal in scores]


def scale_to_unit(scores: Scores, candidates: NDArray[np.bool_], *, out: NDArray[np.float64]) -> None:
    """Write (B, A) to `out`, each row min-max scaled to [0, 1] over its candidates; a constant row gives 0."""
    # np.where before the reduction: a reduction's own `where` is several times slower.
    infinity = np.float32(np.inf)
    lowest = np.where(candidates, scores, infinity).min(axis=1, initial=infinity).astype(np.float64)
    highest = np.where(candidates, scores, -infinity).max(axis=1, initial=-infinity).astype(np.float64)
    varies = highest > lowest
    lowest[~varies] = 0.0
    # Dividing by infinity makes rows without any difference (or without any candidate) zero, without a branch.
    span = np.subtract(highest, lowest, out=np.full_like(lowest, np.inf), where=varies)
    np.subtract(scores, lowest[:, np.newaxis], out=out)
    out /= span[:, np.newaxis]


def standardise(scores: Scores, candidates: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (B, A) standard scores, mean 0 and deviation 1 over each row's candidates; a constant row gives 0.

    Scaled to [0, 1] first, so that no square of a difference under- or overflows.
    """
    standard = np.empty(candidates.shape)
    scale_to_unit(scores, candidates, out=standard)
    count = np.maximum(np.count_nonzero(candidates, axis=1), 1)
    standard -= (np.where(candidates, standard, 0.0).sum(axis=1) / count)[:, np.newaxis]
    variance = (np.where(candidates, standard, 0.0) ** 2).sum(axis=1) / count
    standard /= np.sqrt(variance, out=np.full_like(variance, np.inf), where=variance > 0)[:, np.newaxis]
    return standard


def _segment(history: CustomerHistory) -> int:
    return segment_index(history.customer.risk_level, history.customer.investment_capacity)
