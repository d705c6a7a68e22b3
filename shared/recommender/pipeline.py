"""The best k assets of each customer: history -> candidates -> signals -> components -> top k.

Serving and evaluation share this one path. Products run in float32, as the artifact holds the arrays; the values are
bounded, so no sum overflows. The rest runs in float64: the best candidate of a component gets exactly 1, and a score is
exactly the sum of its contributions. Every operation is element by element or row by row (sparse @ dense, never a
BLAS product, whose rounding depends on the batch size), so a customer alone scores bit for bit as in any batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import CatalogueView, candidate_mask, policy_of, refused_entirely, remove_filtered
from shared.recommender.components import SignalScores, build_components, exclusions, scale_to_unit, score_signals
from shared.recommender.configuration import COMPONENTS, ModelConfiguration
from shared.recommender.history import build_history_matrix
from shared.recommender.list_rules import NO_ASSET, build_shape, choose_assets
from shared.recommender.model import Model
from shared.recommender.policy.view import PolicyView
from shared.recommender.signal import Batch
from shared.recommender.types import (
    Basis,
    Contributions,
    CustomerHistory,
    ListOptions,
    RankedAsset,
    Ranking,
    Weights,
)

K = 10
# Customers scored at a time: memory stays bounded whatever the batch, and more is not faster (806 assets: measured).
CHUNK_SIZE = 128
CHUNK_SCORES = 2**19  # customers of a chunk times assets, at most: a large catalogue has smaller chunks


@dataclass(frozen=True)
class ScoringRules:
    """What holds for every customer of a batch: the time, and which assets are candidates."""

    now: datetime
    enforce_suitability: bool = True
    catalogue: CatalogueView | None = None

    def policy_for(self, model: Model) -> PolicyView | None:
        """Return the policy that lists obey, None without one."""
        return policy_of(model, self.catalogue) if self.enforce_suitability else None


@dataclass(frozen=True)
class BatchScores:
    """B customers x A assets. A customer is cold when their list rests on the prior of their segment.

    contributions: (3, B, A) float64, meaningful for candidates only. scores: (B, A) float64, the sum of the
    contributions, -inf where the asset is no candidate. cold: (B,) bool.
    """

    contributions: NDArray[np.float64]
    scores: NDArray[np.float64]
    cold: NDArray[np.bool_]


@dataclass(frozen=True)
class TopAssets:
    """The best k of B customers as arrays. asset_indices: (B, k), best first, NO_ASSET past the end of a list.

    scores: (B, k) float64, -inf past the end. contributions: (3, B, k) float64. cold: (B,) bool. refused: (B,) bool,
    whether the list is empty because of the policy alone.
    """

    asset_indices: NDArray[np.int64]
    scores: NDArray[np.float64]
    contributions: NDArray[np.float64]
    cold: NDArray[np.bool_]
    refused: NDArray[np.bool_]

    @property
    def bases(self) -> list[Basis]:
        """What each list rests on."""
        return [
            Basis.NOTHING_SUITABLE if refused else Basis.SEGMENT_PRIOR if cold else Basis.HISTORY
            for cold, refused in zip(self.cold.tolist(), self.refused.tolist(), strict=True)
        ]

    @classmethod
    def empty(cls, customers: int, places: int) -> TopAssets:
        """Build lists without any asset."""
        shape = (customers, places)
        indices, scores = np.full(shape, NO_ASSET, dtype=np.int64), np.full(shape, -np.inf)
        return cls(indices, scores, np.zeros((len(COMPONENTS), *shape)), *np.zeros((2, customers), dtype=np.bool_))


def recommend(  # noqa: PLR0913 - the one entry of serving: everything but the batch is by keyword
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    k: int | Sequence[int] = K,
    now: datetime,
    weights: Weights | Sequence[Weights | None] | None = None,
    options: Sequence[ListOptions | None] | None = None,
    catalogue: CatalogueView | None = None,
    enforce_suitability: bool = True,
) -> list[Ranking]:
    """Return one ranking per history, in order, of at most k candidates; fewer candidates give a shorter list.

    `k`, `weights`: for all, or one entry per history; None means the model's own weights. `options`: one entry per
    history; they leave assets out of a list, and change no score. `catalogue`: what exists today, its categories and
    sectors, and how much risk it carries; None means as the model knew it. Raises ValueError on k < 1, and on options
    that need a catalogue without one.
    """
    top = rank_assets(
        model,
        histories,
        k=k,
        now=now,
        weights=weights,
        options=options,
        catalogue=catalogue,
        enforce_suitability=enforce_suitability,
    )
    return _build_rankings(model, histories, top)


def rank_assets(  # noqa: PLR0913 - as `recommend`
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    k: int | Sequence[int] = K,
    now: datetime,
    weights: Weights | Sequence[Weights | None] | None = None,
    options: Sequence[ListOptions | None] | None = None,
    catalogue: CatalogueView | None = None,
    enforce_suitability: bool = True,
) -> TopAssets:
    """Return what `recommend` returns as arrays, with as many places as the largest k; raises what it raises."""
    rules = ScoringRules(now, enforce_suitability, catalogue)
    places = k if isinstance(k, int) else max(k, default=0)
    every = TopAssets.empty(len(histories), max(places, 0))
    start = 0
    for top in _rank_chunks(model, histories, k=k, weights=weights, options=options, rules=rules):
        rows, columns = slice(start, start + len(top.cold)), slice(top.asset_indices.shape[1])
        every.asset_indices[rows, columns] = top.asset_indices
        every.scores[rows, columns] = top.scores
        every.contributions[:, rows, columns] = top.contributions
        every.cold[rows], every.refused[rows] = top.cold, top.refused
        start = rows.stop
    return every


def recommend_indices(
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    k: int = K,
    now: datetime,
    weights: Weights | Sequence[Weights | None] | None = None,
    enforce_suitability: bool = True,
) -> NDArray[np.int64]:
    """Return (B, k) positions of the assets that `recommend` lists, NO_ASSET past the end of a list."""
    rules = ScoringRules(now, enforce_suitability)
    chunks = [top.asset_indices for top in _rank_chunks(model, histories, k=k, weights=weights, rules=rules)]
    return np.concatenate([np.empty((0, k), dtype=np.int64), *chunks])


def score_batch(
    model: Model, histories: Sequence[CustomerHistory], *, weights: Sequence[Weights], rules: ScoringRules
) -> BatchScores:
    """Return the scores of these customers, each with their own weights."""
    signals, candidates = score_candidates(model, histories, rules)
    return weigh(model.configuration, signals, candidates, weights=weights)


def weigh(
    configuration: ModelConfiguration,
    signals: SignalScores,
    candidates: NDArray[np.bool_],
    *,
    weights: Sequence[Weights],
) -> BatchScores:
    """Return the scores of customers by their signals' scores, each customer with their own weights."""
    effective = {
        weight: effective_weights(weight, configuration.weights, signals.silent).normalised() for weight in set(weights)
    }
    factors = np.array([tuple(vars(effective[weight]).values()) for weight in weights]).reshape(-1, 3)
    contributions = np.zeros((len(COMPONENTS), *candidates.shape))
    components = build_components(configuration, signals, candidates)
    for number, component in enumerate(components):
        if factors[:, number].any():
            scale_to_unit(component, candidates, out=contributions[number])
            contributions[number] *= factors[:, number, np.newaxis]
    scores = contributions[0] + contributions[1]
    scores += contributions[2]
    scores += exclusions(candidates)
    return BatchScores(contributions, scores, signals.cold)


def effective_weights(weights: Weights, of_model: Weights, silent: Collection[str]) -> Weights:
    """Return the weights without components that say nothing; those of the model where nothing else is left."""
    return weights.without(silent) or of_model.without(silent) or weights


def score_candidates(
    model: Model, histories: Sequence[CustomerHistory], rules: ScoringRules
) -> tuple[SignalScores, NDArray[np.bool_]]:
    """Return what every signal says of these customers, and the candidates of each."""
    batch = build_batch(model, histories, now=rules.now)
    candidates = candidate_mask(
        model, histories, catalogue=rules.catalogue, enforce_suitability=rules.enforce_suitability
    )
    return score_signals(model, batch, candidates), candidates


def build_batch(model: Model, histories: Sequence[CustomerHistory], *, now: datetime) -> Batch:
    """Return the histories as signals read them, with the interaction weights of the model."""
    weights = model.configuration.interaction_weights
    history = build_history_matrix(model.id_map, histories, interaction_weights=weights, now=now)
    return Batch(model.id_map, histories, history)


def _rank_chunks(
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    k: int | Sequence[int],
    weights: Weights | Sequence[Weights | None] | None,
    rules: ScoringRules,
    options: Sequence[ListOptions | None] | None = None,
) -> Iterator[TopAssets]:
    count = len(histories)
    weights_of_each = _weights_of_each(model, count, weights)
    options_of_each = [None] * count if options is None else options
    k_of_each = [k] * count if isinstance(k, int) else k
    if not len(k_of_each) == len(options_of_each) == count:
        raise ValueError(f"{len(k_of_each)} k and {len(options_of_each)} options for {count} histories")
    if any(one < 1 for one in [*k_of_each, k if isinstance(k, int) else 1]):
        raise ValueError("k must be at least 1")
    shapes = [
        build_shape(model, one, asked, rules.catalogue) for one, asked in zip(k_of_each, options_of_each, strict=True)
    ]
    policy = rules.policy_for(model)
    for rows in chunk_rows(count, len(model.id_map)):
        batch = score_batch(model, histories[rows], weights=weights_of_each[rows], rules=rules)
        remove_filtered(batch.scores, options_of_each[rows], id_map=model.id_map, catalogue=rules.catalogue)
        lists = choose_assets(model, histories[rows], batch.scores, shapes[rows], policy)
        refused = np.zeros(len(lists), dtype=np.bool_)
        if policy is not None and (is_empty := lists[:, 0] == NO_ASSET).any():
            refused = refused_entirely(model, histories[rows], options_of_each[rows], is_empty, rules.catalogue)
        yield _top_assets(batch, lists, refused)


def chunk_rows(customers: int, assets: int) -> Iterator[slice]:
    """Yield the rows that are scored at a time: CHUNK_SIZE, fewer where they would have more than CHUNK_SCORES."""
    size = max(min(CHUNK_SIZE, CHUNK_SCORES // max(assets, 1)), 1)
    for start in range(0, customers, size):
        yield slice(start, start + size)


def _weights_of_each(model: Model, count: int, weights: Weights | Sequence[Weights | None] | None) -> Sequence[Weights]:
    if weights is None or isinstance(weights, Weights):
        return [weights or model.configuration.weights] * count
    if len(weights) != count:
        raise ValueError(f"{len(weights)} weights for {count} histories")
    return [weight or model.configuration.weights for weight in weights]


def _top_assets(batch: BatchScores, asset_indices: NDArray[np.int64], refused: NDArray[np.bool_]) -> TopAssets:
    if not batch.scores.shape[1]:
        none = np.full(asset_indices.shape, -np.inf)
        return TopAssets(asset_indices, none, np.zeros((3, *none.shape)), batch.cold, refused)
    places = np.maximum(asset_indices, 0)
    scores = np.where(asset_indices >= 0, np.take_along_axis(batch.scores, places, axis=1), -np.inf)
    contributions = np.take_along_axis(batch.contributions, places[np.newaxis], axis=2)
    return TopAssets(asset_indices, scores, contributions, batch.cold, refused)


def _build_rankings(model: Model, histories: Sequence[CustomerHistory], top: TopAssets) -> list[Ranking]:
    """Return the lists as objects. Arrays become Python values all at once: one by one takes twice as long."""
    contributions: NDArray[Any] = np.moveaxis(top.contributions, 0, 2)
    if model.silent_components:
        contributions = contributions.astype(object)
        contributions[:, :, [name in model.silent_components for name in COMPONENTS]] = None
    columns, isins = (top.asset_indices, top.scores, contributions), model.id_map.isins
    return [
        Ranking(
            customer_id=history.customer.customer_id,
            basis=basis,
            assets=tuple(
                RankedAsset(isins[index], rank, score, Contributions._make(values))
                for rank, (index, score, values) in enumerate(zip(*places, strict=True), start=1)
                if index != NO_ASSET
            ),
        )
        for history, basis, *places in zip(histories, top.bases, *(column.tolist() for column in columns), strict=True)
    ]
