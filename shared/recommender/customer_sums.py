"""Sums over customers: signals that compare assets are fitted on these, a chunk of customers at a time.

    sums of a chunk -> sums of all customers -> arrays

A chunk is `TrainingData` with the rows of some customers. Local fits take one chunk after the other, so that what they
need besides the rows does not grow with the number of customers; another engine may take chunks anywhere, in any order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.signal import Arrays, Signal
from shared.recommender.training_data import InteractionRows, Purchases, TrainingData

CHUNK_CUSTOMERS = 50_000

SumMatrix: TypeAlias = "sparse.csr_array[np.float64, tuple[int, int]]"
Sums: TypeAlias = Mapping[str, SumMatrix]


class SummedSignal(Signal):
    """A signal whose arrays follow from sums over customers.

    What every chunk must know of all customers is summed first (`count_customers`, `prepare`). Every method is a pure
    function: of the signal's hyper-parameters and its arguments, so that it can run in another process. A chunk may
    have no row. Sums are (M, N) float64 in compressed rows; their names and shapes depend on the number of assets and
    on what is prepared, never on the chunk.
    """

    def count_customers(self, chunk: TrainingData) -> Sums:
        """Return what `prepare` needs of these customers; nothing for most signals."""
        return {}

    def prepare(self, counts: Sums) -> Arrays:
        """Return what every chunk must know, from the counts of all customers."""
        return {}

    @abstractmethod
    def sum_customers(self, chunk: TrainingData, prepared: Arrays) -> Sums:
        """Return the sums of these customers."""

    @abstractmethod
    def fit_sums(self, sums: Sums, prepared: Arrays, *, asset_count: int) -> Arrays:
        """Return the arrays of the signal from the sums of all customers."""

    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        return fit_in_chunks(self, data)


def fit_in_chunks(signal: SummedSignal, data: TrainingData, *, chunk_customers: int = CHUNK_CUSTOMERS) -> Arrays:
    """Fit a signal with the rows of so many customers at a time."""
    prepared = signal.prepare(add_all(signal.count_customers(chunk) for chunk in chunks_of(data, chunk_customers)))
    sums = add_all(signal.sum_customers(chunk, prepared) for chunk in chunks_of(data, chunk_customers))
    return signal.fit_sums(sums, prepared, asset_count=len(data.id_map))


def chunks_of(data: TrainingData, customers: int) -> Iterator[TrainingData]:
    """Yield the data of so many customers after the other; at least one chunk, all data when they are no more.

    Each chunk knows `first_days` of all customers. Takes time in proportion to the rows, whatever the size of a chunk.
    """
    count = len(data.customers)
    if count <= customers:
        yield data
        return
    purchases, interactions = (_rows_of_chunks(rows, customers) for rows in (data.purchases, data.interactions))
    for number, start in enumerate(range(0, count, customers)):
        yield replace(
            data,
            customers=data.customers[start : start + customers],
            purchases=_take(data.purchases, purchases(number), start),
            interactions=_take(data.interactions, interactions(number), start),
            first_days=data.asset_first_days,
        )


def add(sums: Sums, others: Sums) -> Sums:
    """Return the sums of two groups of customers; raises ValueError when they are not of one signal."""
    if sums.keys() != others.keys():
        raise ValueError(f"sums of {sorted(sums)} and of {sorted(others)} cannot be added")
    return {name: (matrix + others[name]).tocsr() for name, matrix in sums.items()}


def add_all(sums: Iterable[Sums]) -> Sums:
    """Return the sums of all groups, of one at least; only two of them are in memory at a time."""
    return reduce(add, sums)


def as_sum(matrix: Any) -> SumMatrix:
    """Return a sparse matrix as one of `Sums`: float64, compressed rows, columns ascending."""
    rows = sparse.csr_array(matrix, dtype=np.float64)
    rows.sort_indices()
    return rows


def _rows_of_chunks(rows: Purchases | InteractionRows, customers: int) -> Any:
    """Return a function from the number of a chunk to the positions of its rows, in order."""
    chunk = rows.customer_index // customers
    order = np.argsort(chunk, kind="stable")
    ends = np.append(0, np.cumsum(np.bincount(chunk)))
    return lambda number: order[ends[min(number, len(ends) - 1)] : ends[min(number + 1, len(ends) - 1)]]


def _take(rows: Any, positions: NDArray[np.int64], first_customer: int) -> Any:
    columns = {name: values[positions] for name, values in vars(rows).items()}
    return type(rows)(**{**columns, "customer_index": columns["customer_index"] - np.int32(first_customer)})
