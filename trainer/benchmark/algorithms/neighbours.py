"""Assets like those owned, and rules from what is owned to what is bought with it."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.known import KnownData, Matrix

NEIGHBOURS = 50  # most similar assets that count for an asset
RULE_LEAST_SUPPORT = 3  # customers who own both sides of a rule


def item_neighbours(known: KnownData, customers: CustomerIndices) -> Matrix:
    """Cosine of the columns of owners, the nearest NEIGHBOURS of each asset, added over what the customer owns."""
    unit = _unit_rows(sparse.csr_array(known.holdings.T))
    similarity = (unit @ unit.T).toarray()
    np.fill_diagonal(similarity, 0.0)
    if similarity.shape[1] > NEIGHBOURS:
        least = np.partition(similarity, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS, np.newaxis]
        similarity[similarity < least] = 0.0
    return np.asarray(known.holdings[customers] @ similarity)


def association_rules(known: KnownData, customers: CustomerIndices) -> Matrix:
    """The mean confidence P(j | i) over the owned assets i of rules with enough support."""
    together = (known.holdings.T @ known.holdings).toarray()
    owners = together.diagonal()
    together[together < RULE_LEAST_SUPPORT] = 0.0
    np.fill_diagonal(together, 0.0)
    confidence = together / np.maximum(owners, 1.0)[:, np.newaxis]
    owned = known.holdings[customers]
    return np.asarray((owned @ confidence) / np.maximum(owned.sum(axis=1), 1.0)[:, np.newaxis])


def _unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
    return sparse.csr_array(sparse.diags_array(1.0 / np.where(norms > 0, norms, 1.0)) @ matrix)
