"""Signals to components: each signal on one scale for each customer, then added up within its component.

Only element-wise and row-wise operations on C-contiguous arrays: a row's result does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.recommender.configuration import COLLABORATIVE, COMPONENTS, ModelConfiguration
from shared.recommender.model import Model
from shared.recommender.signal import Batch, Scores, Signal
from shared.recommender.types import CustomerHistory, segment_index

USUAL_PORTFOLIO = 4  # owned assets of a customer for whom every signal has its plain weight
MOST_PORTFOLIO_FACTOR = 3.0  # no weight is multiplied or divided by more, however many assets a customer owns


@dataclass(frozen=True, eq=False)
class SignalScores:
    """The scores of B customers by component: standard scores, or as they are where a component has one signal.

    demand: (B, A) whether anybody has bought the asset, or this customer has interacted with it. cold: (B,) without a
    history. owned_count: (B,) how many assets each owns. priors: for the cold rows alone, what replaces the scores of
    a component.
    """

    signals: Mapping[str, Sequence[Scores]]
    demand: NDArray[np.bool_]
    cold: NDArray[np.bool_]
    owned_count: NDArray[np.int64]
    priors: Mapping[str, Sequence[Scores]]


def score_signals(model: Model, batch: Batch, candidates: NDArray[np.bool_]) -> SignalScores:
    """Return what every signal says, before any weight.

    Collaborative signals are standardised over assets in demand: they cannot tell the others apart.
    """
    cold = np.diff(batch.history.indptr) == 0
    rows = np.flatnonzero(cold).tolist()
    segments = [_segment(batch.histories[row]) for row in rows]
    demand = np.repeat(model.bought[np.newaxis], len(batch.histories), axis=0)
    demand[batch.history.nonzero()] = True
    known = {COLLABORATIVE: candidates & demand}
    scores, priors = {}, {}
    for name in COMPONENTS:
        signals: Sequence[Signal] = getattr(model.configuration, name)
        found = [signal.score(model.signals[signal.name], batch) for signal in signals]
        scores[name] = _standard_scores(found, known.get(name, candidates))
        if rows and name in model.segments:
            of_segments = [prior[segments] for prior in model.segments[name]]
            priors[name] = _standard_scores(of_segments, candidates[rows])
    owned_count = np.array([len(assets) for assets in batch.owned()], dtype=np.int64)
    return SignalScores(scores, demand, cold, owned_count, priors)


def build_components(
    configuration: ModelConfiguration, scores: SignalScores, candidates: NDArray[np.bool_]
) -> list[Scores]:
    """Return the components before normalisation, each (B, A) in the order of COMPONENTS; meaningful for candidates.

    A cold customer gets their segment's prior in place of the collaborative component. An asset without demand is as
    low there as the lowest candidate with demand.
    """
    components = []
    for name in COMPONENTS:
        signals: Sequence[Signal] = getattr(configuration, name)
        component = _weighted_sum(signals, scores.signals[name], scores.owned_count)
        if name in scores.priors:
            component = component.copy()
            of_priors = [configuration.cold_start] if name == COLLABORATIVE else signals
            component[scores.cold] = _weighted_sum(of_priors, scores.priors[name], scores.owned_count[scores.cold])
        components.append(_lower(component, candidates, scores.demand) if name == COLLABORATIVE else component)
    return components


def _weighted_sum(signals: Sequence[Signal], scores: Sequence[Scores], owned_count: NDArray[np.int64]) -> Scores:
    if len(signals) == 1:
        return scores[0]
    total = _weight(signals[0], owned_count) * np.asarray(scores[0], dtype=np.float64)
    for signal, of_signal in zip(signals[1:], scores[1:], strict=True):
        if signal.weight:
            total += _weight(signal, owned_count) * of_signal
    return total


def _weight(signal: Signal, owned_count: NDArray[np.int64]) -> float | NDArray[np.float64]:
    """Return the weight of a signal: for all customers, or (B, 1) where it depends on how many assets each owns."""
    if not signal.portfolio_power:
        return signal.weight
    factor = (np.maximum(owned_count, 1) / USUAL_PORTFOLIO) ** signal.portfolio_power
    limited = np.clip(factor, 1.0 / MOST_PORTFOLIO_FACTOR, MOST_PORTFOLIO_FACTOR)
    return np.asarray(signal.weight * limited)[:, np.newaxis]


def _lower(scores: Scores, candidates: NDArray[np.bool_], demand: NDArray[np.bool_]) -> Scores:
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
