"""LightFM with WARP loss (Kula 2015), by ids alone and with attributes of customers and assets beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from shared.recommender.signals.content import one_hot
from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.known import KnownData, Matrix

LEARNING_RATE, SEED = 0.05, 7
FACTORS_BY_ID, EPOCHS_BY_ID = 32, 5
FACTORS_WITH_FEATURES, EPOCHS_WITH_FEATURES = 8, 50
ASSET_ATTRIBUTES = ("asset_category", "asset_sub_category", "sector", "industry", "market_id")
CUSTOMER_ATTRIBUTES = ("risk_level", "investment_capacity")


def lightfm_by_id(known: KnownData, customers: CustomerIndices) -> Matrix:
    """Each customer and asset has a vector of its own."""
    from lightfm import LightFM  # built from source: a machine may lack the compiler

    model = LightFM(no_components=FACTORS_BY_ID, loss="warp", learning_rate=LEARNING_RATE, random_state=SEED)
    return _fit_and_score(model, known, customers, features={}, epochs=EPOCHS_BY_ID)


def lightfm_with_features(known: KnownData, customers: CustomerIndices) -> Matrix:
    """Each vector is that of the id and those of the attributes, added."""
    from lightfm import LightFM

    model = LightFM(no_components=FACTORS_WITH_FEATURES, loss="warp", learning_rate=LEARNING_RATE, random_state=SEED)
    features = {
        "user_features": _identities_and_attributes(known.training.customers, CUSTOMER_ATTRIBUTES),
        "item_features": _identities_and_attributes(known.training.assets, ASSET_ATTRIBUTES),
    }
    return _fit_and_score(model, known, customers, features=features, epochs=EPOCHS_WITH_FEATURES)


def _fit_and_score(
    model: Any,
    known: KnownData,
    customers: CustomerIndices,
    *,
    features: Mapping[str, sparse.csr_matrix],
    epochs: int,
) -> Matrix:
    bought = known.training.purchases  # its positions are 32 bits wide, which LightFM insists on
    ones = np.ones(len(bought.day), dtype=np.float32)
    owners = sparse.coo_matrix((ones, (bought.customer_index, bought.asset_index)), shape=known.shape)
    # One thread: several write the same vectors without locks, and no two runs would agree.
    model.fit(owners, epochs=epochs, num_threads=1, **features)
    customer_biases, customer_vectors = model.get_user_representations(features.get("user_features"))
    asset_biases, asset_vectors = model.get_item_representations(features.get("item_features"))
    scores = customer_vectors[customers] @ asset_vectors.T + asset_biases[np.newaxis]
    return np.asarray(scores + customer_biases[customers, np.newaxis], dtype=np.float64)


def _identities_and_attributes(described: Sequence[Any], attributes: Sequence[str]) -> sparse.csr_matrix:
    """Return identity columns and one column per value of each attribute; each row sums to one."""
    values = np.concatenate([one_hot([getattr(row, name) for row in described]) for name in sorted(attributes)], axis=1)
    shares = 1.0 / (1.0 + values.sum(axis=1))
    both = sparse.hstack([sparse.diags_array(shares), sparse.csr_array(shares[:, np.newaxis] * values)])
    matrix = sparse.csr_matrix(both, dtype=np.float32)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix
