"""What executors do: the sums of a chunk as blocks of rows, and the addition of equal blocks of several chunks.

No process holds more than the sums of one chunk, or of one block: Spark's shuffle sorts the blocks on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from scipy import sparse

from shared.recommender.customer_sums import SumMatrix, SummedSignal, Sums
from shared.recommender.signal import Arrays
from shared.recommender.training_data import TrainingData
from trainer.spark.chunks import read_chunks

BLOCK_CELLS = 1 << 16  # of a block of rows: half a megabyte when every cell is used
KEY = ("signal", "name", "first_row")
SCHEMA = pa.schema(
    [
        ("signal", pa.int32()),  # its position
        ("name", pa.string()),
        ("first_row", pa.int32()),
        ("chunk", pa.int32()),
        ("row_count", pa.int32()),  # of the whole matrix
        ("column_count", pa.int32()),
        ("row_ends", pa.binary()),
        ("columns", pa.binary()),
        ("values", pa.binary()),
    ]
)
DDL = "signal int, name string, first_row int, chunk int, row_count int, column_count int, " + ", ".join(
    f"{name} binary" for name in ("row_ends", "columns", "values")
)

Batches = Iterable[pa.RecordBatch]
OnBatches = Callable[[Batches], Iterator[pa.RecordBatch]]


class Broadcast(Protocol):
    """A value that every executor has."""

    @property
    def value(self) -> Any: ...


def summing(task: Broadcast) -> OnBatches:
    """Return the function from rows of customers to blocks; the task is (signals, prepared arrays or None, shell).

    Without prepared arrays the counts of the customers are summed, with them the sums of the fit.
    """

    def sum_batches(batches: Batches) -> Iterator[pa.RecordBatch]:
        signals, prepared, shell = task.value
        for number, chunk in read_chunks(batches, shell):
            for position, sums in enumerate(_sums_of(chunk, signals, prepared)):
                yield to_blocks(sums, signal=position, chunk=number)

    return sum_batches


def add_blocks(batches: Batches) -> Iterator[pa.RecordBatch]:
    """Add the blocks of one key, which follow each other, in the order of their chunks."""
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, of_key in groupby(rows, key=lambda row: tuple(row[name] for name in KEY)):
        yield pa.RecordBatch.from_pylist([reduce(_add, of_key)], SCHEMA)


def to_blocks(sums: Sums, *, signal: int, chunk: int) -> pa.RecordBatch:
    """Return the sums of a chunk as blocks of rows; of those without an entry only the first, which has the shape."""
    rows = []
    for name, matrix in sums.items():
        row_count, column_count = matrix.shape
        size = max(1, BLOCK_CELLS // max(column_count, 1))
        for first in range(0, max(row_count, 1), size):
            block = matrix[first : first + size]
            if block.nnz or not first:
                position = {"signal": signal, "name": name, "first_row": first, "chunk": chunk}
                rows.append({**position, "row_count": row_count, "column_count": column_count, **_encode(block)})
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


def from_blocks(table: pa.Table, *, signal_count: int) -> list[Sums]:
    """Return the sums of each signal from the added blocks, in any order."""
    blocks: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for row in table.to_pylist():
        blocks.setdefault((row["signal"], row["name"]), []).append(row)
    found: list[dict[str, SumMatrix]] = [{} for _ in range(signal_count)]
    for (signal, name), of_matrix in blocks.items():
        found[signal][name] = _join(of_matrix)
    return list(found)


def _sums_of(chunk: TrainingData, signals: Sequence[SummedSignal], prepared: Sequence[Arrays] | None) -> Iterator[Sums]:
    if prepared is None:
        return (signal.count_customers(chunk) for signal in signals)
    return (signal.sum_customers(chunk, arrays) for signal, arrays in zip(signals, prepared, strict=True))


def _add(row: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**row, **_encode(_matrix(row) + _matrix(other))}


def _encode(block: SumMatrix) -> dict[str, bytes]:
    return {
        "row_ends": block.indptr.astype(np.int32).tobytes(),
        "columns": block.indices.astype(np.int32).tobytes(),
        "values": block.data.tobytes(),
    }


def _matrix(row: Mapping[str, Any]) -> SumMatrix:
    """Return the block of a row: a part of the rows of a matrix, with all its columns."""
    row_ends, columns = (np.frombuffer(row[name], np.int32) for name in ("row_ends", "columns"))
    shape = (len(row_ends) - 1, row["column_count"])
    return sparse.csr_array((np.frombuffer(row["values"], np.float64), columns, row_ends), shape=shape)


def _join(rows: Sequence[Mapping[str, Any]]) -> SumMatrix:
    blocks = {row["first_row"]: _matrix(row) for row in rows}
    row_count, column_count = rows[0]["row_count"], rows[0]["column_count"]
    lengths = np.zeros(row_count, np.int64)
    for first, block in blocks.items():
        lengths[first : first + block.shape[0]] = np.diff(block.indptr)
    ordered = [blocks[first] for first in sorted(blocks)]
    columns, values = (np.concatenate([getattr(one, name) for one in ordered]) for name in ("indices", "data"))
    row_ends = np.append(0, np.cumsum(lengths)).astype(np.int32)
    return sparse.csr_array((values, columns, row_ends), shape=(row_count, column_count))
