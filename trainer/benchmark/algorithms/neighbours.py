"""Customers like this one, assets like those owned, and rules from what is owned to what is bought with it."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shared.recommender.demand import find_demand
from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.known import KnownData, Matrix, faded

USER_HALF_LIFE_DAYS = 360.0
USER_LEAST_WEIGHT = 0.2  # of a neighbour's purchase that is old, or no evidence of demand
NEIGHBOURS = 50  # most similar assets that speak for an asset
RULE_LEAST_SUPPORT = 3  # customers who own both sides of a rule


def user_neighbours(known: KnownData, customers: CustomerIndices) -> Matrix:
    """Purchases of all customers, each weighted by the squared cosine of their holdings to this customer's.

    Holdings count by inverse frequency; recent purchases that are evidence of demand count most.
    """
    owners = np.bincount(known.asset_index, minlength=known.shape[1])
    rarity = np.log1p(len(np.unique(known.customer_index)) / (1.0 + owners))
    unit = _unit_rows(known.holdings @ sparse.diags_array(rarity))
    purchases = _weighted_purchases(known)
    neighbours = np.flatnonzero(np.diff(purchases.indptr))
    similarity = (unit[customers] @ unit[neighbours].T).toarray() ** 2
    similarity[customers[:, np.newaxis] == neighbours[np.newaxis]] = 0.0
    bought = known.bought_assets
    scores = np.zeros((len(customers), known.shape[1]))
    scores[:, bought] = similarity @ purchases[neighbours][:, bought].toarray()
    return scores


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


def _weighted_purchases(known: KnownData) -> sparse.csr_array:
    """Return (C, A) weights of the purchases of customers who bought on evidence of demand; others have none."""
    demand = find_demand(known.training.purchases, asset_count=known.shape[1])
    age = (known.day - demand.day).astype(np.float64)
    follows = np.bincount(demand.customer_index, demand.is_evidence, minlength=known.shape[0]) > 0
    weight = (demand.is_evidence * faded(age, USER_HALF_LIFE_DAYS) + USER_LEAST_WEIGHT) * follows[demand.customer_index]
    matrix = sparse.csr_array((weight, (demand.customer_index, demand.asset_index)), shape=known.shape)
    matrix.eliminate_zeros()
    return matrix


def _unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
    return sparse.csr_array(sparse.diags_array(1.0 / np.where(norms > 0, norms, 1.0)) @ matrix)
