"""What owning one asset says for another: two candidates behind one small interface.

Each takes X (C, A), one row per customer, and returns an (A, A) similarity, such that `history @ similarity` scores a
customer whom the fit has never seen. The diagonal is not fitted: it is the largest value of the matrix, so that an
asset is at least as near to itself as any two are to each other. It counts for interactions alone, because what a
customer owns is no candidate (docs/decisions/0008).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.configuration import ModelConfiguration
from shared.recommender.history import HistoryMatrix

Similarity = NDArray[np.float32]
Fit = Callable[[HistoryMatrix, ModelConfiguration], Similarity]


def fit_asset_similarity(history: HistoryMatrix, configuration: ModelConfiguration) -> Similarity:
    """Return the (A, A) float32 similarity by the algorithm that the configuration names; zeros without history."""
    if history.nnz == 0:
        return np.zeros((history.shape[1], history.shape[1]), dtype=np.float32)
    similarity = FITS[configuration.algorithm](history, configuration)
    np.fill_diagonal(similarity, 0.0)
    np.fill_diagonal(similarity, similarity.max())
    return np.ascontiguousarray(similarity, dtype=np.float32)


def _fit_ease(history: HistoryMatrix, configuration: ModelConfiguration) -> Similarity:
    """Closed form of Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), eq. 8.

    P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj off the diagonal.
    """
    gram = (history.T @ history).toarray().astype(np.float64)
    precision = np.linalg.inv(gram + configuration.ease_l2 * np.eye(len(gram)))
    return (precision / -np.diag(precision)).astype(np.float32)


def _fit_lightfm(history: HistoryMatrix, configuration: ModelConfiguration) -> Similarity:
    """LightFM with WARP loss (Kula, "Metadata Embeddings for User and Item Cold-start", CBRecSys 2015).

    A customer is folded in as the sum of the representations of what they own, which makes the score linear in
    the history: S_ij = q_i . q_j + b_j.
    """
    from lightfm import LightFM  # not at the top: it is built from source, and a machine may lack the compiler

    model = LightFM(no_components=configuration.lightfm_factors, loss="warp", random_state=configuration.seed)
    interactions = history.tocoo().astype(np.float32)
    weights = interactions.copy()
    positives = sparse.coo_array((np.ones_like(weights.data), weights.coords), shape=weights.shape)
    # One thread: several write the same vectors without locks, and no two runs would agree.
    model.fit(
        sparse.coo_matrix(positives),
        sample_weight=sparse.coo_matrix(weights),
        epochs=configuration.lightfm_epochs,
        num_threads=1,
    )
    biases, vectors = model.get_item_representations()
    similarity: Similarity = vectors @ vectors.T + biases[None, :]
    return similarity


FITS: dict[str, Fit] = {"ease_next_purchase": _fit_ease, "ease": _fit_ease, "lightfm": _fit_lightfm}

# Algorithms whose models also carry what is bought next and by holders of what (docs/decisions/0010).
FOLLOW_DEMAND = frozenset({"ease_next_purchase"})


def is_available(algorithm: str) -> bool:
    """Whether this installation can fit the algorithm: LightFM is left out where it could not be built."""
    return algorithm != "lightfm" or find_spec("lightfm") is not None
