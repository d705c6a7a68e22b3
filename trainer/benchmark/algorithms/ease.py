"""EASE in closed form (Steck, WWW 2019), on whole histories and with recent rows counting more."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import sparse

from trainer.benchmark.algorithms.interface import CustomerIndices, Score
from trainer.benchmark.known import KnownData, Matrix, faded


def ease(*, l2: float, row_half_life_days: float | None = None) -> Score:
    """Score by what owning one asset says for another.

    With a half-life, a customer's row counts by the age of their latest purchase, half after each half-life: the fit
    minimises the weighted squared error of recent customers first; the history that is scored stays whole.
    """
    return partial(_score, l2=l2, row_half_life_days=row_half_life_days)


def fit_ease(gram: Matrix, *, l2: float) -> Matrix:
    """Return B of eq. 8 for (A, A) G = X'X: P = (G + l2 I)^-1, B_ij = -P_ij / P_jj, zero diagonal."""
    precision = np.linalg.inv(gram + l2 * np.eye(len(gram)))
    similarity: Matrix = precision / -np.diag(precision)
    np.fill_diagonal(similarity, 0.0)
    return similarity


def _score(known: KnownData, customers: CustomerIndices, *, l2: float, row_half_life_days: float | None) -> Matrix:
    bought = known.bought_assets
    rows = known.holdings[:, bought]
    weights = _row_weights(known, row_half_life_days)
    gram = (rows.T @ sparse.diags_array(weights) @ rows).toarray()
    scores = np.zeros((len(customers), known.shape[1]))
    scores[:, bought] = rows[customers] @ fit_ease(gram, l2=l2)
    return scores


def _row_weights(known: KnownData, half_life_days: float | None) -> Matrix:
    if half_life_days is None:
        return np.ones(known.shape[0])
    latest = np.full(known.shape[0], -np.inf)
    np.maximum.at(latest, known.customer_index, known.bought_day.astype(np.float64))
    return faded(known.day - latest, half_life_days)
