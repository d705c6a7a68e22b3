"""LightGCN (He et al., SIGIR 2020) in NumPy and SciPy, because its libraries need a deep-learning framework.

Vectors of customers and assets are averaged over their neighbours in the graph of who owns what, a layer per hop, and
trained by Adam on the BPR loss. Propagation is linear and the graph symmetric, so the gradient of a loss with respect
to the first layer is its gradient with respect to the last, propagated once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.known import KnownData, Matrix

Vectors = NDArray[np.floating[Any]]  # (customers + assets, factors)


@dataclass(frozen=True)
class LightGcn:
    """A score: the product of the vectors of a customer and an asset, propagated."""

    factors: int = 64
    layers: int = 2
    epochs: int = 40
    learning_rate: float = 0.003
    l2: float = 0.1
    batch: int = 8_192
    seed: int = 7

    def __call__(self, known: KnownData, customers: CustomerIndices) -> Matrix:
        """Return (B, A) scores."""
        graph = build_graph(known)
        final = propagate(graph, self._train(graph, known), self.layers)
        assets = final[known.shape[0] :]
        return np.asarray(final[customers] @ assets.T, dtype=np.float64)

    def _train(self, graph: sparse.csr_array, known: KnownData) -> Vectors:
        random = np.random.default_rng(self.seed)
        vectors = (0.1 * random.standard_normal((graph.shape[0], self.factors))).astype(np.float32)
        adam = Adam(np.zeros_like(vectors), np.zeros_like(vectors), self.learning_rate)
        holdings, bought = known.holdings, known.bought_assets
        for _ in range(self.epochs):
            order = random.permutation(len(known.asset_index))
            for rows in np.array_split(order, max(1, round(len(order) / self.batch))):
                customer, asset = known.customer_index[rows], known.asset_index[rows]
                other = random.choice(bought, len(rows))
                is_new = np.asarray(holdings[customer, other]).ravel() == 0  # nobody is taught to dislike what they own
                triples = np.stack([customer, known.shape[0] + asset, known.shape[0] + other])[:, is_new]
                gradient = bpr_gradient(graph, vectors, triples, layers=self.layers, l2=self.l2)
                adam.step(vectors, gradient)
        return vectors


@dataclass
class Adam:
    """Kingma & Ba 2015, with its usual constants."""

    mean: Vectors
    square: Vectors
    learning_rate: float
    steps: int = 0

    def step(self, vectors: Vectors, gradient: Vectors) -> None:
        """Move the vectors against the gradient, in place."""
        self.steps += 1
        self.mean += np.float32(0.1) * (gradient - self.mean)
        self.square += np.float32(0.001) * (gradient * gradient - self.square)
        rate = np.float32(self.learning_rate * np.sqrt(1.0 - 0.999**self.steps) / (1.0 - 0.9**self.steps))
        vectors -= rate * self.mean / (np.sqrt(self.square) + np.float32(1e-8))


def build_graph(known: KnownData) -> sparse.csr_array:
    """Return (C + A, C + A) float32: 1 / sqrt(degree * degree) between a customer and each asset that they own."""
    owners = known.holdings.astype(np.float32)
    graph = sparse.block_array([[None, owners], [owners.T, None]], format="csr")
    scale = sparse.diags_array(1.0 / np.sqrt(np.maximum(graph.sum(axis=1), 1.0)).astype(np.float32))
    return sparse.csr_array(scale @ graph @ scale)


def propagate(graph: sparse.csr_array, vectors: Vectors, layers: int) -> Vectors:
    """Return the mean of the vectors and of those of each hop."""
    total, hop = vectors.copy(), vectors
    for _ in range(layers):
        hop = graph @ hop
        total += hop
    return np.asarray(total / np.float32(layers + 1))


def bpr_loss(graph: sparse.csr_array, vectors: Vectors, triples: NDArray[np.int64], *, layers: int, l2: float) -> float:
    """Return the mean over (customer, bought, other) of -log sigmoid(difference of scores), plus L2."""
    customer, bought, other = propagate(graph, vectors, layers)[triples]
    difference = (customer * (bought - other)).sum(axis=1)
    penalty = 0.5 * l2 * (vectors[triples] ** 2).sum() / triples.shape[1]
    return float(np.logaddexp(0.0, -difference).mean() + penalty)


def bpr_gradient(
    graph: sparse.csr_array, vectors: Vectors, triples: NDArray[np.int64], *, layers: int, l2: float
) -> Vectors:
    """Return the gradient of `bpr_loss` with respect to the vectors."""
    customer, bought, other = propagate(graph, vectors, layers)[triples]
    difference = (customer * (bought - other)).sum(axis=1, keepdims=True)
    slope = (-1.0 / (1.0 + np.exp(difference)) / triples.shape[1]).astype(np.float32)
    at_final = _add_up(triples, [slope * (bought - other), slope * customer, -slope * customer], len(vectors))
    used = np.bincount(triples.ravel(), minlength=len(vectors)).astype(np.float32)[:, np.newaxis]
    return propagate(graph, at_final, layers) + np.float32(l2 / triples.shape[1]) * used * vectors


def _add_up(triples: NDArray[np.int64], vectors: list[Vectors], count: int) -> Vectors:
    """Return (count, factors) the sums of rows of all vectors that belong to the same vector."""
    members = triples.ravel()
    belongs = sparse.csr_array(
        (np.ones(len(members), np.float32), (members, np.arange(len(members)))), shape=(count, len(members))
    )
    return np.asarray(belongs @ np.concatenate(vectors))
