"""Signals to components: each signal on one scale for each customer, then added up within its component.

Only element-wise and row-wise operations on C-contiguous arrays: a row's result does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.recommender.configuration import COLLABORATIVE, COMPONENTS, ModelConfiguration
from shared.recommender.model import Model
from shared.recommender.signal import Batch, Scores, Signal
from shared.recommender.types import CustomerHistory, Weights, segment_index

USUAL_PORTFOLIO = 4  # owned assets of a customer for whom every signal has its plain weight
MOST_PORTFOLIO_FACTOR = 3.0  # no weight is multiplied or divided by more, however many assets a customer owns

NO_DEMAND = "no_demand"  # in place of the collaborative signals: nobody has bought the asset

Assets: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class StandardScores:
    """One signal's scores (B, A) with the mean and the deviation (B, 1) over each row's candidates.

    The standard score is (score - mean) / deviation. The deviation of a constant row is infinite: it gives 0.
    """

    scores: Scores
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def take(self, assets: Assets) -> StandardScores:
        """Return the scores of some assets, by position, with the mean and the deviation over all candidates."""
        if self.scores.strides[0] == 0:  # the same for every customer: one row is stored
            row = self.scores[:1].take(assets, axis=1).astype(np.float64)
            return replace(self, scores=np.broadcast_to(row, (len(self.scores), len(assets))))
        return replace(self, scores=self.scores.take(assets, axis=1))


# A signal of a component, and the weighted sum of the scores and of the means of the signals up to it.
PartialSums: TypeAlias = list[tuple[Signal, NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True, eq=False)
class SignalScores:
    """The scores of B customers by component, standardised where a component has several signals.

    demand: (B, A) whether anybody has bought the asset, or this customer has interacted with it. cold: (B,) without a
    history. owned_count: (B,) how many assets each owns. priors: for the cold rows alone, what replaces the scores of
    a component. silent: the components that say nothing.
    """

    signals: Mapping[str, Sequence[StandardScores]]
    demand: NDArray[np.bool_]
    cold: NDArray[np.bool_]
    owned_count: NDArray[np.int64]
    priors: Mapping[str, Sequence[StandardScores]]
    silent: frozenset[str]

    def take(self, assets: Assets) -> SignalScores:
        """Return the scores of some assets, by position."""
        signals, priors = (
            {name: [one.take(assets) for one in found] for name, found in of_components.items()}
            for of_components in (self.signals, self.priors)
        )
        return replace(self, signals=signals, demand=self.demand.take(assets, axis=1), priors=priors)


def score_signals(model: Model, batch: Batch, candidates: NDArray[np.bool_]) -> SignalScores:
    """Return what every signal says, before any weight.

    Collaborative signals are standardised over assets in demand: they cannot tell the others apart.
    """
    cold = np.diff(batch.history.indptr) == 0
    rows = np.flatnonzero(cold).tolist()
    segments = [_segment(batch.histories[row]) for row in rows]
    demand = np.repeat(model.bought[np.newaxis], len(batch.histories), axis=0)
    demand[np.repeat(np.arange(len(cold)), np.diff(batch.history.indptr)), batch.history.indices] = True
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
    return SignalScores(scores, demand, cold, owned_count, priors, model.silent_components)


def build_components(
    configuration: ModelConfiguration, scores: SignalScores, candidates: NDArray[np.bool_]
) -> list[Scores]:
    """Return the components before normalisation, each (B, A) in the order of COMPONENTS; meaningful for candidates."""
    return [build_component(name, configuration, scores, candidates) for name in COMPONENTS]


def build_component(
    name: str,
    configuration: ModelConfiguration,
    scores: SignalScores,
    candidates: NDArray[np.bool_],
    *,
    sums: PartialSums | None = None,
) -> Scores:
    """Return one component before normalisation, (B, A); meaningful for candidates.

    A cold customer gets their segment's prior in place of the collaborative component. An asset without demand is as
    low there as the lowest candidate with demand. `sums` keeps what the next configuration may have in common.
    """
    signals: Sequence[Signal] = getattr(configuration, name)
    component = _weighted_sum(signals, scores.signals[name], scores.owned_count, sums)
    if name in scores.priors:
        component = component.copy()
        of_priors = [configuration.cold_start] if name == COLLABORATIVE else signals
        component[scores.cold] = _weighted_sum(of_priors, scores.priors[name], scores.owned_count[scores.cold])
    return _lower(component, candidates, scores.demand) if name == COLLABORATIVE else component


def _weighted_sum(
    signals: Sequence[Signal],
    scores: Sequence[StandardScores],
    owned_count: NDArray[np.int64],
    sums: PartialSums | None = None,
) -> Scores:
    """Return the weighted sum of standard scores, added up in order of the signals."""
    if len(signals) == 1:
        return scores[0].scores
    weighted = [(signal, of_signal) for signal, of_signal in zip(signals, scores, strict=True) if signal.weight]
    total, means = np.zeros(scores[0].scores.shape), np.zeros((len(owned_count), 1))
    if sums:
        pairs = zip(sums, weighted, strict=False)
        del sums[len(list(takewhile(lambda pair: pair[0][0] == pair[1][0], pairs))) :]
        weighted = weighted[len(sums) :]
        total, means = sums[-1][1:] if sums else (total, means)
    product = np.empty_like(total)
    for signal, of_signal in weighted:
        factor = _weight(signal, owned_count) / of_signal.deviation
        np.multiply(of_signal.scores, factor, out=product)
        total = np.add(total, product, out=total if sums is None else None)
        means = means + of_signal.mean * factor
        if sums is not None:
            sums.append((signal, total, means))
    return np.asarray(np.subtract(total, means, out=total if sums is None else None))


def measure_effects(
    configuration: ModelConfiguration,
    scores: SignalScores,
    candidates: NDArray[np.bool_],
    asset: int,
    *,
    weights: Weights,
) -> Iterator[tuple[str, str, float]]:
    """Yield component, signal, and how far it moves the score of this candidate of one customer (B = 1) from the mean.

    The effects of a component sum to the contribution minus the mean one of the candidates that its signals are
    standardised over, for collaborative those in demand. An asset without demand has one effect there, NO_DEMAND.
    """
    for name in COMPONENTS:
        component = build_component(name, configuration, scores, candidates)
        known = candidates & scores.demand if name == COLLABORATIVE else candidates
        span = np.ptp(component[candidates]) if candidates.any() else 0.0
        weight = getattr(weights, name)
        if not weight or not span or not known.any():
            continue
        scale = weight / float(span)
        if name == COLLABORATIVE and not scores.demand[0, asset]:
            yield name, NO_DEMAND, float(scale * (component[0, asset] - component[known].mean()))
            continue
        is_prior = bool(scores.cold[0]) and name in scores.priors
        of_signals: Sequence[Signal] = getattr(configuration, name)
        signals = [configuration.cold_start] if is_prior and name == COLLABORATIVE else of_signals
        found = scores.priors[name] if is_prior else scores.signals[name]
        for signal, one in zip(signals, found, strict=True):
            mean = one.scores[known].mean(dtype=np.float64)
            factor = 1.0 if len(found) == 1 else _weight(signal, scores.owned_count) / one.deviation
            yield name, signal.name, float(np.squeeze(scale * factor * (one.scores[0, asset] - mean)))


def _weight(signal: Signal, owned_count: NDArray[np.int64]) -> float | NDArray[np.float64]:
    """Return the weight of a signal: for all customers, or (B, 1) where it depends on how many assets each owns."""
    if not signal.portfolio_power:
        return signal.weight
    factor = (np.maximum(owned_count, 1) / USUAL_PORTFOLIO) ** signal.portfolio_power
    limited = np.clip(factor, 1.0 / MOST_PORTFOLIO_FACTOR, MOST_PORTFOLIO_FACTOR)
    return np.asarray(signal.weight * limited)[:, np.newaxis]


def _lower(scores: Scores, candidates: NDArray[np.bool_], demand: NDArray[np.bool_]) -> Scores:
    lowest = (scores - exclusions(candidates & demand)).min(axis=1, initial=np.inf)
    lowest[np.isinf(lowest)] = 0.0
    return np.where(demand, scores, lowest[:, np.newaxis])


def exclusions(candidates: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (B, A) 0 for candidates and -inf for the rest, to add to scores; faster than np.where with this mask."""
    return np.array([-np.inf, 0.0]).take(candidates.view(np.int8))


def _standard_scores(scores: Sequence[Scores], candidates: NDArray[np.bool_]) -> list[StandardScores]:
    """Return the scores of a component's signals; a single one is not standardised."""
    if len(scores) == 1:
        return [StandardScores(scores[0], np.zeros((len(candidates), 1)), np.ones((len(candidates), 1)))]
    rows, buffer = CandidateRows.of(candidates), np.empty(candidates.shape)
    return [rows.measure(of_signal, buffer=buffer) for of_signal in scores]


def standardise(scores: Scores, candidates: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (B, A) standard scores, mean 0 and deviation 1 over each row's candidates; a constant row gives 0."""
    standard = np.empty(candidates.shape)
    found = CandidateRows.of(candidates).measure(scores, buffer=standard)
    np.subtract(scores, found.mean, out=standard)
    standard /= found.deviation
    return standard


def scale_to_unit(scores: Scores, candidates: NDArray[np.bool_], *, out: NDArray[np.float64]) -> None:
    """Write (B, A) to `out`, each row min-max scaled to [0, 1] over its candidates; a constant row gives 0.

    What is no candidate gets the value of the row's first candidate.
    """
    CandidateRows.of(candidates).scale_to_unit(scores, out=out)


@dataclass(frozen=True, eq=False)
class CandidateRows:
    """The candidates of B customers for reductions: a mask costs a branch for each score, a product with it does not.

    ones: (B, A) 1.0 for candidates, else 0.0. first: (B,) the position of the first candidate.
    """

    ones: NDArray[np.float64]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, candidates: NDArray[np.bool_]) -> CandidateRows:
        """Build from a mask (B, A)."""
        first = candidates.argmax(axis=1) if candidates.shape[1] else np.zeros(len(candidates), np.int64)
        return cls(candidates.astype(np.float64), first)

    def subtract_first(self, scores: Scores, *, out: NDArray[np.float64]) -> NDArray[np.float64]:
        """Write scores minus that of the row's first candidate to `out`, 0 for the rest; return what was subtracted.

        The extremes and sums of a row are then those of its candidates, and a constant row is exactly 0.
        """
        value = scores[np.arange(len(scores)), self.first] if scores.size else np.zeros(len(scores))
        subtracted = value.astype(np.float64)[:, np.newaxis]
        np.subtract(scores, subtracted, out=out)
        out *= self.ones
        return subtracted

    def take(self, assets: Assets) -> CandidateRows:
        """Return the candidates among some assets, by position, that hold every candidate."""
        place = np.zeros(self.ones.shape[1], dtype=np.int64)
        place[assets] = np.arange(len(assets))
        return CandidateRows(self.ones.take(assets, axis=1), place.take(self.first) if len(assets) else self.first)

    def scale_to_unit(self, scores: Scores, *, out: NDArray[np.float64]) -> None:
        """See the function of this name."""
        self.subtract_first(scores, out=out)
        out -= out.min(axis=1, initial=0.0, keepdims=True)
        span = out.max(axis=1, initial=0.0, keepdims=True)
        # Dividing by infinity makes rows without any difference (or without any candidate) zero, without a branch.
        span[span == 0] = np.inf
        out /= span

    @cached_property
    def count(self) -> NDArray[np.float64]:
        """(B, 1) how many candidates there are, at least 1."""
        return np.asarray(np.maximum(self.ones.sum(axis=1, keepdims=True), 1.0))

    def measure(self, scores: Scores, *, buffer: NDArray[np.float64]) -> StandardScores:
        """Return scores with mean and deviation. The variance of n differences to one of n values is at least the
        squared mean of them / n, so that the subtraction loses little precision.
        """
        first = self.subtract_first(scores, out=buffer)
        mean = buffer.sum(axis=1, keepdims=True) / self.count
        variance = np.einsum("ij,ij->i", buffer, buffer)[:, np.newaxis] / self.count - mean**2
        deviation = np.sqrt(variance, out=np.full_like(variance, np.inf), where=variance > 0)
        return StandardScores(scores, first + mean, deviation)


def _segment(history: CustomerHistory) -> int:
    return segment_index(history.customer.risk_level, history.customer.investment_capacity)
