"""A matrix of assets by assets: all entries up to a number of assets, above it those of each asset's neighbours.

The dense form takes memory with the square of the number of assets, and a fit of it time with the third power. The
sparse form takes both in proportion (docs/decisions/0045).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.history import HistoryMatrix
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, Signal

DENSE_ASSETS = 3_000
NEIGHBOURS = 100

SPARSE_ARRAYS = {
    "row_ends": ArraySpec("0, then where the entries of each asset's row end", ("row ends",), "int32", 0, 2**31 - 1),
    "columns": ArraySpec("column of each entry, ascending within a row", ("entries",), "int32", 0, 2**31 - 1),
    "values": ArraySpec("the entries of the matrix", ("entries",)),
}


@dataclass(frozen=True, kw_only=True)
class MatrixSignal(Signal):
    """A signal whose scores are the customer's history times a matrix of assets by assets.

    `arrays` describes the dense form, whose matrix is the array `matrix_name`; with more than `dense_assets` assets
    SPARSE_ARRAYS stand in for it.
    """

    matrix_name: ClassVar[str] = "similarity"

    dense_assets: int = DENSE_ASSETS
    neighbours: int = NEIGHBOURS  # of the sparse form: so many assets say something for one asset

    def __post_init__(self) -> None:
        if self.dense_assets < 0 or self.neighbours < 1:
            raise ValueError("dense_assets must not be negative, and neighbours at least 1")

    def is_sparse(self, asset_count: int) -> bool:
        """Return which form the arrays have with so many assets."""
        return asset_count > self.dense_assets

    def specs(self, asset_count: int) -> Mapping[str, ArraySpec]:
        if not self.is_sparse(asset_count):
            return self.arrays
        return {**{name: spec for name, spec in self.arrays.items() if name != self.matrix_name}, **SPARSE_ARRAYS}

    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        if self.matrix_name in arrays:
            return np.asarray(batch.history @ arrays[self.matrix_name])
        return np.asarray((batch.history @ sparse_matrix(arrays)).toarray())

    def check(self, arrays: Arrays, *, asset_count: int) -> None:
        if self.is_sparse(asset_count):
            check_sparse(self.name, arrays, rows=asset_count, columns=asset_count)

    def nothing(self, asset_count: int) -> Arrays:
        """Return the matrix of a fit that found nothing to say."""
        if self.is_sparse(asset_count):
            return sparse_arrays(sparse.csr_array((asset_count, asset_count), dtype=np.float32))
        return {self.matrix_name: np.zeros((asset_count, asset_count), np.float32)}


def sparse_matrix(arrays: Arrays, *, columns: int | None = None) -> HistoryMatrix:
    """Return the matrix of SPARSE_ARRAYS, square unless it has so many `columns`; it shares their memory."""
    rows = len(arrays["row_ends"]) - 1
    encoded = (arrays["values"], arrays["columns"], arrays["row_ends"])
    return sparse.csr_array(encoded, shape=(rows, rows if columns is None else columns))


def sparse_arrays(matrix: Any) -> Arrays:
    """Return SPARSE_ARRAYS of a sparse matrix."""
    rows = sparse.csr_array(matrix)
    rows.sort_indices()
    return {
        "row_ends": rows.indptr.astype(np.int32),
        "columns": rows.indices.astype(np.int32),
        "values": rows.data.astype(np.float32),
    }


def check_sparse(owner: str, arrays: Arrays, *, rows: int, columns: int) -> None:
    """Raise ValueError unless SPARSE_ARRAYS make a matrix of this shape."""
    if len(arrays["row_ends"]) != rows + 1:
        raise ValueError(f"{owner}.row_ends has {len(arrays['row_ends'])} entries, expected {rows + 1}")
    sparse_matrix(arrays, columns=columns).check_format(full_check=True)


def with_largest_diagonal(matrix: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return (A, A) float32 with the largest value between two assets on the diagonal.

    An asset is then at least as near to itself as any two are to each other (docs/decisions/0008). The diagonal counts
    for interactions alone, because what a customer owns is no candidate.
    """
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, matrix.max())
    return np.ascontiguousarray(matrix, dtype=np.float32)


def with_largest_sparse_diagonal(matrix: Any) -> Arrays:
    """Return SPARSE_ARRAYS of a square matrix, with the diagonal of `with_largest_diagonal`."""
    entries = sparse.coo_array(matrix)
    rows, columns = entries.coords
    kept = rows != columns
    largest = entries.data[kept].max(initial=0.0)
    every = np.arange(matrix.shape[0])
    coords = np.append(rows[kept], every), np.append(columns[kept], every)
    values = np.append(entries.data[kept], np.full(len(every), largest))
    return sparse_arrays(sparse.csr_array((values, coords), shape=matrix.shape))
