"""Matrix factorisation by `implicit`: ALS (Hu, Koren & Volinsky 2008) and BPR (Rendle et al. 2009)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.known import KnownData, Matrix

SEED = 7
ALS_FACTORS, ALS_REGULARISATION, ALS_ALPHA, ALS_ITERATIONS = 32, 30.0, 1.0, 15
BPR_FACTORS, BPR_REGULARISATION, BPR_LEARNING_RATE, BPR_ITERATIONS = 32, 0.1, 0.05, 80


def alternating_least_squares(known: KnownData, customers: CustomerIndices) -> Matrix:
    """ALS on who owns what."""
    from implicit.cpu.als import AlternatingLeastSquares  # an optional peer: not installed everywhere

    model = AlternatingLeastSquares(
        factors=ALS_FACTORS,
        regularization=ALS_REGULARISATION,
        alpha=ALS_ALPHA,
        iterations=ALS_ITERATIONS,
        num_threads=1,
        random_state=SEED,
    )
    model.fit(_owners(known), show_progress=False)
    return np.asarray(model.user_factors[customers] @ model.item_factors.T, dtype=np.float64)


def bayesian_personalised_ranking(known: KnownData, customers: CustomerIndices) -> Matrix:
    """BPR on who owns what."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=BPR_FACTORS,
        regularization=BPR_REGULARISATION,
        learning_rate=BPR_LEARNING_RATE,
        iterations=BPR_ITERATIONS,
        num_threads=1,
        random_state=SEED,
    )
    model.fit(_owners(known), show_progress=False)
    return np.asarray(model.user_factors[customers] @ model.item_factors.T, dtype=np.float64)


def _owners(known: KnownData) -> sparse.csr_matrix:
    return sparse.csr_matrix(known.holdings.astype(np.float32))
