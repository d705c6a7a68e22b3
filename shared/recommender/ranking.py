"""The best k assets of each customer: the one path that serving and evaluation share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import CatalogueView
from shared.recommender.model import Model
from shared.recommender.scoring import BatchScores, ScoringRules, score_batch
from shared.recommender.types import (
    Basis,
    Contributions,
    CustomerHistory,
    InteractionWeights,
    RankedAsset,
    Ranking,
    Weights,
)

# Customers scored at a time: memory stays bounded whatever the batch, and more is not faster (806 assets: measured).
CHUNK_SIZE = 128

NO_ASSET = -1


@dataclass(frozen=True)
class TopAssets:
    """The best k of B customers as arrays. asset_indices: (B, k), best first, NO_ASSET past the end of a list.

    scores: (B, k) float64, -inf past the end. contributions: (3, B, k) float64. cold: (B,) bool.
    """

    asset_indices: NDArray[np.int64]
    scores: NDArray[np.float64]
    contributions: NDArray[np.float64]
    cold: NDArray[np.bool_]


def recommend(  # noqa: PLR0913 - the one entry of serving: everything but the batch is by keyword
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    k: int,
    now: datetime,
    weights: Weights | Sequence[Weights | None] | None = None,
    interaction_weights: InteractionWeights | None = None,
    catalogue: CatalogueView | None = None,
    enforce_suitability: bool = True,
) -> list[Ranking]:
    """Return one ranking per history, in order, of at most k candidates; fewer candidates give a shorter list.

    `weights`: for all, or one entry per history; None means the model's own. `catalogue`: what exists today and how
    much risk it carries; None means as the model knew it. Raises ValueError on k < 1.
    """
    rules = ScoringRules(now, interaction_weights or model.interaction_weights, enforce_suitability, catalogue)
    rankings: list[Ranking] = []
    for top in _chunks(model, histories, k=k, weights=weights, rules=rules):
        start = len(rankings)
        for row, history in enumerate(histories[start : start + len(top.cold)]):
            rankings.append(_ranking(model, history, top=top, row=row))
    return rankings


def recommend_indices(  # noqa: PLR0913 - the same keywords as recommend
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    k: int,
    now: datetime,
    weights: Weights | Sequence[Weights | None] | None = None,
    interaction_weights: InteractionWeights | None = None,
    catalogue: CatalogueView | None = None,
    enforce_suitability: bool = True,
) -> NDArray[np.int64]:
    """Return what `recommend` ranks as (B, k) asset indices, NO_ASSET past the end of a list; for evaluation."""
    rules = ScoringRules(now, interaction_weights or model.interaction_weights, enforce_suitability, catalogue)
    chunks = [top.asset_indices for top in _chunks(model, histories, k=k, weights=weights, rules=rules)]
    return np.concatenate([np.empty((0, k), dtype=np.int64), *chunks])


def top_k(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Return (B, k) column indices of the largest scores, best first, equal ones by index, -inf never (NO_ASSET).

    Exact: the k-th largest value comes from a partition, ties at that value are cut by index, the rest is sorted.
    """
    columns = min(k, scores.shape[1])
    top = np.full((len(scores), k), NO_ASSET, dtype=np.int64)
    if not scores.size:
        return top
    kth_largest = np.partition(scores, scores.shape[1] - columns, axis=1)[:, scores.shape[1] - columns, np.newaxis]
    chosen = scores >= kth_largest
    crowded = np.flatnonzero(np.count_nonzero(chosen, axis=1) > columns)
    if crowded.size:
        chosen[crowded] = _without_surplus_ties(scores[crowded], kth_largest[crowded], columns)
    picked = np.nonzero(chosen)[1].reshape(len(scores), columns)  # ascending, so a stable sort settles ties
    values = np.take_along_axis(scores, picked, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(picked, order, axis=1)
    top[:, :columns] = np.where(np.take_along_axis(values, order, axis=1) > -np.inf, best, NO_ASSET)
    return top


def _without_surplus_ties(
    scores: NDArray[np.float64], kth_largest: NDArray[np.float64], columns: int
) -> NDArray[np.bool_]:
    """Return which columns are the best, when more than fit share the last place: those of lowest index."""
    above = scores > kth_largest
    places_left = columns - np.count_nonzero(above, axis=1, keepdims=True)
    tied = scores == kth_largest
    return np.asarray(above | (tied & (np.cumsum(tied, axis=1) <= places_left)), dtype=np.bool_)


def _chunks(
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    k: int,
    weights: Weights | Sequence[Weights | None] | None,
    rules: ScoringRules,
) -> Iterator[TopAssets]:
    if k < 1:
        raise ValueError("k must be at least 1")
    each = _weights_of_each(model, len(histories), weights)
    for start in range(0, len(histories), CHUNK_SIZE):
        rows = slice(start, start + CHUNK_SIZE)
        yield _top_assets(score_batch(model, histories[rows], weights=each[rows], rules=rules), k)


def _weights_of_each(model: Model, count: int, weights: Weights | Sequence[Weights | None] | None) -> Sequence[Weights]:
    if weights is None or isinstance(weights, Weights):
        return [weights or model.weights] * count
    if len(weights) != count:
        raise ValueError(f"{len(weights)} weights for {count} histories")
    return [weight or model.weights for weight in weights]


def _top_assets(batch: BatchScores, k: int) -> TopAssets:
    asset_indices = top_k(batch.scores, k)
    if not batch.scores.shape[1]:
        none = np.full(asset_indices.shape, -np.inf)
        return TopAssets(asset_indices, none, np.zeros((3, *none.shape)), batch.cold)
    places = np.maximum(asset_indices, 0)
    scores = np.where(asset_indices >= 0, np.take_along_axis(batch.scores, places, axis=1), -np.inf)
    contributions = np.take_along_axis(batch.contributions, places[np.newaxis], axis=2)
    return TopAssets(asset_indices, scores, contributions, batch.cold)


def _ranking(model: Model, history: CustomerHistory, *, top: TopAssets, row: int) -> Ranking:
    indices = [index for index in top.asset_indices[row].tolist() if index != NO_ASSET]
    isins = model.id_map.isins_of(indices)
    contributions = zip(*top.contributions[:, row].tolist(), strict=True)
    places = enumerate(zip(isins, top.scores[row].tolist(), contributions, strict=False), start=1)
    return Ranking(
        customer_id=history.customer.customer_id,
        basis=Basis.SEGMENT_PRIOR if top.cold[row] else Basis.HISTORY,
        assets=tuple(RankedAsset(isin, rank, score, Contributions(*parts)) for rank, (isin, score, parts) in places),
    )
