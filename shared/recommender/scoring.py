"""Scores of every asset for a batch of customers: three normalised components, weighted and added.

Products run in float32, as the artifact holds them (half the memory traffic; the model's values are bounded, so no sum
can overflow). What follows runs in float64: the best candidate of a component gets exactly 1, and a score is exactly
the sum of its contributions. Every operation is element by element or row by row (sparse @ dense, never a BLAS product,
whose rounding depends on the batch size), so a customer alone scores bit for bit as in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import CatalogueView, candidate_mask
from shared.recommender.collaborative import collaborative_component
from shared.recommender.history import build_history_matrix
from shared.recommender.model import Model, segment_index
from shared.recommender.scaling import Signal, scale_to_unit
from shared.recommender.types import CustomerHistory, InteractionWeights, Weights

COMPONENTS = ("collaborative", "content", "profitability")  # the order of every axis of three


@dataclass(frozen=True)
class ScoringRules:
    """What holds for every customer of a batch: the time, how history is read, and which assets are candidates."""

    now: datetime
    interaction_weights: InteractionWeights
    enforce_suitability: bool = True
    catalogue: CatalogueView | None = None


@dataclass(frozen=True)
class BatchScores:
    """B customers x A assets. A customer is cold when their list rests on the prior of their segment.

    contributions: (3, B, A) float64, meaningful for candidates only. scores: (B, A) float64, the sum of the
    contributions, -inf where the asset is no candidate. cold: (B,) bool.
    """

    contributions: NDArray[np.float64]
    scores: NDArray[np.float64]
    cold: NDArray[np.bool_]


def score_batch(
    model: Model, histories: Sequence[CustomerHistory], *, weights: Sequence[Weights], rules: ScoringRules
) -> BatchScores:
    """Return the scores of these customers, each with their own weights."""
    candidates = candidate_mask(
        model, histories, catalogue=rules.catalogue, enforce_suitability=rules.enforce_suitability
    )
    components, cold = raw_components(model, histories, candidates, rules=rules)
    normalised_weights = [weight.normalised() for weight in weights]
    contributions = np.empty((len(COMPONENTS), *candidates.shape))
    for name, component, contribution in zip(COMPONENTS, components, contributions, strict=True):
        scale_to_unit(component, candidates, out=contribution)
        contribution *= np.array([getattr(weight, name) for weight in normalised_weights])[:, np.newaxis]
    scores = contributions[0] + contributions[1]
    scores += contributions[2]
    np.copyto(scores, -np.inf, where=~candidates)
    return BatchScores(contributions, scores, cold)


def raw_components(
    model: Model, histories: Sequence[CustomerHistory], candidates: NDArray[np.bool_], *, rules: ScoringRules
) -> tuple[list[Signal], NDArray[np.bool_]]:
    """Return the components before normalisation, each (B, A) in the order of COMPONENTS, and who is cold (B,).

    A cold customer's collaborative row is the prior of their segment, their content row what that prior says.
    """
    history = build_history_matrix(
        model.id_map, histories, interaction_weights=rules.interaction_weights, now=rules.now
    )
    cold = np.diff(history.indptr) == 0
    collaborative = collaborative_component(model, histories, history=history, candidates=candidates)
    content = history @ model.content_similarity
    for row in np.flatnonzero(cold).tolist():
        customer = histories[row].customer
        segment = segment_index(customer.risk_level, customer.investment_capacity)
        collaborative[row] = model.segment_priors[segment]
        content[row] = model.segment_content[segment]
    profitability = np.broadcast_to(model.predicted_return, collaborative.shape)
    return [collaborative, content, profitability], cold
