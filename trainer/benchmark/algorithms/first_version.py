"""The mixture of the system's first version: five factors, likeness of attributes, and the average like customer."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import TruncatedSVD

from shared.recommender.signals.content import one_hot
from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.algorithms.lightfm_models import ASSET_ATTRIBUTES
from trainer.benchmark.known import KnownData, Matrix

FACTORS = 5
WEIGHTS = (0.4, 0.3, 0.3)
SEED = 42


def first_version(known: KnownData, customers: CustomerIndices) -> Matrix:
    """TruncatedSVD, one-hot content cosine and demographic centroids, each scaled to [0, 1], by WEIGHTS."""
    terms = (_factors(known, customers), _content(known, customers), _demographics(known, customers))
    return np.asarray(sum(weight * _scaled(term) for weight, term in zip(WEIGHTS, terms, strict=True)))


def _factors(known: KnownData, customers: CustomerIndices) -> Matrix:
    factors = min(FACTORS, known.shape[1] - 1, len(known.bought_assets))
    if factors < 1:
        return np.zeros((len(customers), known.shape[1]))
    model = TruncatedSVD(factors, random_state=SEED)
    model.fit(known.holdings)
    return np.asarray(model.transform(known.holdings[customers]) @ model.components_)


def _content(known: KnownData, customers: CustomerIndices) -> Matrix:
    assets = known.training.assets
    blocks = [one_hot([getattr(asset, name) for asset in assets]) for name in ASSET_ATTRIBUTES]
    vectors = _unit(np.concatenate(blocks, axis=1))
    profiles = _unit(np.asarray(known.holdings[customers] @ vectors))
    return profiles @ vectors.T


def _demographics(known: KnownData, customers: CustomerIndices) -> Matrix:
    """What customers of the same risk level and capacity own on average."""
    pairs = [(customer.risk_level or 0, customer.investment_capacity) for customer in known.training.customers]
    groups = {pair: position for position, pair in enumerate(sorted(set(pairs)))}
    group_of = np.array([groups[pair] for pair in pairs])
    owned = np.zeros((len(groups), known.shape[1]))
    np.add.at(owned, (group_of[known.customer_index], known.asset_index), 1.0)
    sizes = np.bincount(group_of, minlength=len(groups))
    return np.asarray((owned / sizes[:, np.newaxis])[group_of[customers]])


def _unit(matrix: Matrix) -> Matrix:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms > 0, norms, 1.0))


def _scaled(scores: Matrix) -> Matrix:
    lowest = scores.min(axis=1, keepdims=True)
    span = scores.max(axis=1, keepdims=True) - lowest
    return np.asarray((scores - lowest) / np.where(span > 0, span, 1.0))
