"""Similarity of assets by what they are and how their price behaves; it ranks assets that nobody has bought yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.asset_matrix import MatrixSignal, check_sparse, sparse_arrays, sparse_matrix
from shared.recommender.price_grid import WINDOW_WEEKDAYS, PriceGrid, market_betas, price_grid, technical_indicators
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores
from shared.recommender.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Content(MatrixSignal):
    """Cosine of asset vectors (Lops, de Gemmis & Semeraro, "Content-based Recommender Systems", 2011).

    A vector joins a one-hot block for each attribute and one of price behaviour: volatility, momentum and market beta
    at the last day, average where prices are missing. The scores are history @ similarity. Above `dense_assets` assets
    the arrays hold the vectors U as columns, and the scores are history @ U' @ U, which is the same.
    """

    name = "content"
    component = "content"
    arrays: ClassVar = {"similarity": ArraySpec("cosine of two assets in [-1, 1], zero diagonal", ("assets", "assets"))}

    # The share of each block in the squared length of an asset's vector.
    asset_category: float = 1.0
    asset_sub_category: float = 1.0
    sector: float = 1.0
    industry: float = 0.5
    market_id: float = 0.5
    price_behaviour: float = 0.5
    largest_deviation: float = 2.0  # standard scores of price behaviour are cut off here
    stale_after_weekdays: int = 10  # see price_grid
    least_observations: int = 20  # see PriceGrid.is_known
    longest_history_weekdays: int = 2_610  # see price_grid

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        attributes = ("asset_category", "asset_sub_category", "sector", "industry", "market_id")
        blocks = [
            np.sqrt(getattr(self, name)) * one_hot([getattr(asset, name) for asset in data.assets])
            for name in attributes
        ]
        vectors = np.concatenate([*blocks, np.sqrt(self.price_behaviour) * self._price_behaviour(data)], axis=1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
        if self.is_sparse(len(unit)):
            return sparse_arrays(sparse.csr_array(unit.T))
        similarity = np.clip(unit @ unit.T, -1.0, 1.0)
        np.fill_diagonal(similarity, 0.0)
        return {"similarity": np.ascontiguousarray(similarity, dtype=np.float32)}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        if "similarity" in arrays:
            return super().score(arrays, batch)
        history = batch.history
        unit = sparse_matrix(arrays, columns=history.shape[1])
        scores = np.asarray((history @ unit.T @ unit).toarray())
        squares = np.bincount(unit.indices, unit.data**2, minlength=history.shape[1]).astype(np.float32)
        rows = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
        scores[rows, history.indices] -= history.data * squares[history.indices]
        return scores

    def check(self, arrays: Arrays, *, asset_count: int) -> None:
        if self.is_sparse(asset_count):
            check_sparse(self.name, arrays, rows=max(len(arrays["row_ends"]) - 1, 0), columns=asset_count)

    def _price_behaviour(self, data: TrainingData) -> NDArray[np.float64]:
        """Return (A, 3) volatility, momentum and beta as limited standard scores, of length one at most."""
        # Only the last row is read, and it knows no price that is older: the grid is as long as that needs.
        needed = min(WINDOW_WEEKDAYS + self.stale_after_weekdays + 2, self.longest_history_weekdays)
        grid = price_grid(data, stale_after_weekdays=self.stale_after_weekdays, longest_history_weekdays=needed)
        last = len(grid.prices) - 1
        if last < 1 or not (is_known := grid.is_known(last, self.least_observations)).any():
            return np.zeros((len(data.id_map), 3))
        behaviour = _describe_prices(grid, last)
        behaviour[~is_known] = np.nan
        known = np.isfinite(behaviour)
        counts = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, behaviour, 0.0).sum(axis=0) / counts
        deviation = np.sqrt((np.where(known, behaviour - mean, 0.0) ** 2).sum(axis=0) / counts)
        scores = np.where(known, behaviour - mean, 0.0) / np.where(deviation > 0, deviation, 1.0)
        limit = self.largest_deviation
        limited: NDArray[np.float64] = np.clip(scores, -limit, limit) / (limit * np.sqrt(3.0))
        return limited


def one_hot(values: Sequence[object]) -> NDArray[np.float64]:
    """Return (N, V) ones in ascending order of the values; a row without a value has none, so gaps are not alike."""
    columns = {value: position for position, value in enumerate(sorted({value for value in values if value}))}  # type: ignore[type-var]
    matrix = np.zeros((len(values), len(columns)))
    for row, value in enumerate(values):
        if value:
            matrix[row, columns[value]] = 1.0
    return matrix


def _describe_prices(grid: PriceGrid, row: int) -> NDArray[np.float64]:
    indicators = technical_indicators(grid, row)
    return np.stack([indicators["volatility_126"], indicators["momentum_63"], market_betas(grid, row)], axis=1)
