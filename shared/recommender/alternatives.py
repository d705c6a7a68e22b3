"""Lists of the same customers with many weights: what the weights have in common is computed once.

Every score is the result of the same operations in the same order as in `pipeline`, so a list with the weights of a
configuration is the list that a model with this configuration serves (docs/decisions/0050).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.components import CandidateRows, PartialSums, SignalScores, build_component, exclusions
from shared.recommender.configuration import COMPONENTS, ModelConfiguration
from shared.recommender.list_rules import NO_ASSET, choose_in_order, equal_score_order
from shared.recommender.model import Model
from shared.recommender.pipeline import K, ScoringRules, chunk_rows, effective_weights, score_candidates
from shared.recommender.types import CustomerHistory


def recommend_alternatives(
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    configurations: Sequence[ModelConfiguration],
    now: datetime,
    k: int = K,
    enforce_suitability: bool = True,
) -> list[NDArray[np.int64]]:
    """Return what `recommend_indices` returns with each configuration; they differ from the model's in weights."""
    rules = ScoringRules(now, enforce_suitability)
    policy = rules.policy_for(model)
    lists = [np.full((len(histories), k), NO_ASSET, dtype=np.int64) for _ in configurations]
    by_signals = sorted(zip(configurations, lists, strict=True), key=_first_of_same_signals(configurations))
    for rows in chunk_rows(len(histories), len(model.id_map)):
        signals, candidates = score_candidates(model, histories[rows], rules)
        is_candidate = np.asarray(candidates.any(axis=0), dtype=np.bool_)
        order = equal_score_order(model, policy)
        order = order[is_candidate[order]]
        batch = _Batch(signals, candidates, order)
        for configuration, of_configuration in by_signals:
            scores = batch.weigh(configuration)
            of_configuration[rows] = choose_in_order(model, histories[rows], scores, order, k, policy)
    return lists


class _Batch:
    """The signals of B customers for the N assets of `order`, and the components of the last configuration."""

    def __init__(self, signals: SignalScores, candidates: NDArray[np.bool_], order: NDArray[np.int32]) -> None:
        self._signals = signals.take(order)
        self._candidates = candidates.take(order, axis=1)
        self._rows = CandidateRows.of(candidates).take(order)
        self._exclusions = exclusions(self._candidates)
        self._sums: dict[str, PartialSums] = {name: [] for name in COMPONENTS}
        self._scaled: dict[str, tuple[Any, NDArray[np.float64]]] = {}

    def weigh(self, configuration: ModelConfiguration) -> NDArray[np.float64]:
        """Return (B, N) scores with the weights of a configuration, -inf where the asset is no candidate."""
        own = configuration.weights
        weights = effective_weights(own, own, self._signals.silent).normalised()
        scores = np.zeros(self._candidates.shape)
        for name, weight in vars(weights).items():
            if weight:
                scores += self._component(name, configuration) * weight
        scores += self._exclusions
        return scores

    def _component(self, name: str, configuration: ModelConfiguration) -> NDArray[np.float64]:
        signals = getattr(configuration, name), configuration.cold_start
        if name not in self._scaled or self._scaled[name][0] != signals:
            component = build_component(name, configuration, self._signals, self._candidates, sums=self._sums[name])
            scaled = np.empty(self._candidates.shape)
            self._rows.scale_to_unit(component, out=scaled)
            self._scaled[name] = signals, scaled
        return self._scaled[name][1]


def _first_of_same_signals(configurations: Sequence[ModelConfiguration]) -> Any:
    """Return a key for sorting that puts configurations with the same collaborative signals next to each other."""
    first: dict[Any, int] = {}
    for number, configuration in enumerate(configurations):
        first.setdefault(configuration.collaborative, number)
    return lambda pair: first[pair[0].collaborative]
