"""A ridge regression for each asset on its nearest assets alone, for catalogues where one on all assets costs too much.

Ning & Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems" (ICDM 2011), section on feature selection.
A assets, F features: the assets, and perhaps more after them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.customer_sums import SumMatrix

BLOCK = 64  # assets that are solved at a time: bounds the memory
NO_FEATURE = -1

Nearest = NDArray[np.int64]
TargetOf = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def nearest_features(together: SumMatrix, count: int, *, always: Sequence[int] = ()) -> Nearest:
    """Return (A, K) for each column of (F, A) its rows with the largest positive values, equal ones by position.

    K is `count` and the rows of `always`, which every asset has, or fewer. Past the end of a row is NO_FEATURE.
    """
    columns = together.tocsc()
    columns.sort_indices()
    found = np.full((together.shape[1], count + len(always)), NO_FEATURE, dtype=np.int64)
    for asset in range(together.shape[1]):
        entries = slice(columns.indptr[asset], columns.indptr[asset + 1])
        rows, values = columns.indices[entries], columns.data[entries]
        candidates = (values > 0) & ~np.isin(rows, always)
        best = rows[candidates][np.argsort(-values[candidates], kind="stable")[:count]]
        found[asset, : len(best)] = best
    found[:, count:] = always
    return found


def with_itself(nearest: Nearest) -> Nearest:
    """Return (A, K + 1) the features of each asset and the asset itself, once."""
    itself = np.arange(len(nearest))[:, np.newaxis]
    return np.hstack([np.where(nearest == itself, NO_FEATURE, nearest), itself])


def solve_on_neighbours(
    gram: SumMatrix, penalty: NDArray[np.float64], nearest: Nearest, target_of: TargetOf
) -> SumMatrix:
    """Return (F, A): column j is (G + diag(penalty))^-1 t with the features nearest[j] alone, 0 for the others.

    target_of: from (U,) features and (N,) assets to (U, N) targets. Time and memory grow with A * K.
    """
    weights = np.zeros(nearest.shape)
    for start in range(0, len(nearest), BLOCK):
        assets = np.arange(start, min(start + BLOCK, len(nearest)))
        of_block = nearest[assets]
        features = np.unique(of_block[of_block != NO_FEATURE])
        if not len(features):
            continue
        place, is_used = np.searchsorted(features, of_block), of_block != NO_FEATURE
        place[~is_used] = 0
        near = gram[features][:, features].toarray()
        systems = near[place[:, :, np.newaxis], place[:, np.newaxis]]
        systems *= is_used[:, :, np.newaxis] & is_used[:, np.newaxis]
        diagonal = np.arange(nearest.shape[1])
        systems[:, diagonal, diagonal] += np.where(is_used, penalty[features][place], 1.0)
        targets = target_of(features, assets)[place, np.arange(len(assets))[:, np.newaxis]] * is_used
        weights[assets] = np.linalg.solve(systems, targets[:, :, np.newaxis])[:, :, 0]
    used = nearest != NO_FEATURE
    columns = np.broadcast_to(np.arange(len(nearest))[:, np.newaxis], nearest.shape)
    return sparse.csr_array((weights[used], (nearest[used], columns[used])), shape=(gram.shape[0], len(nearest)))


def entries_of(matrix: SumMatrix) -> TargetOf:
    """Return the function that reads targets from a matrix (F, A)."""
    columns = matrix.tocsc()
    return lambda features, assets: columns[:, assets].toarray()[features]


def without_diagonal(matrix: SumMatrix) -> SumMatrix:
    """Return a square matrix without the entries of its diagonal."""
    entries = sparse.coo_array(matrix)
    kept = entries.coords[0] != entries.coords[1]
    coords = entries.coords[0][kept], entries.coords[1][kept]
    return sparse.csr_array((entries.data[kept], coords), shape=matrix.shape)
