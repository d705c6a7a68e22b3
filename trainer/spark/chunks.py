"""Chunks of customers as rows for Spark: one row for each customer, with their purchases and interactions as lists.

The trainer writes one Parquet file for each chunk; an executor reads the rows back as the same `TrainingData`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from shared.recommender.customer_sums import chunks_of
from shared.recommender.training_data import ClosePrices, InteractionRows, Purchases, TrainingData
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel

UNKNOWN_RISK = 0
COLUMNS = {
    "chunk": "int",
    "customer": "int",  # its position within the chunk
    "customer_id": "string",
    "risk_level": "int",
    "investment_capacity": "int",
    "bought": "array<int>",
    "bought_on": "array<int>",
    "interacted": "array<int>",
    "interaction_type": "array<int>",
    "interacted_at": "array<double>",
}
SCHEMA = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())


def write_chunks(data: TrainingData, folder: Path, *, chunk_customers: int) -> int:
    """Write one Parquet file for each chunk of so many customers; returns the bytes written."""
    written = 0
    for number, chunk in enumerate(chunks_of(data, chunk_customers)):
        path = folder / f"chunk-{number:06d}.parquet"
        parquet.write_table(_as_rows(chunk, number), path, compression="zstd")
        written += path.stat().st_size
    return written


def without_rows(data: TrainingData) -> TrainingData:
    """Return what every chunk has in common: the catalogue, dates and weights; no customer, row, price or engine."""
    return replace(
        data,
        customers=(),
        purchases=Purchases(*_no_rows("i4", "i4", "i4")),
        close_prices=ClosePrices(*_no_rows("i4", "i4", "f8")),
        interactions=InteractionRows(*_no_rows("i4", "i4", "i1", "f8")),
        first_days=data.asset_first_days,
        engine=None,
    )


def read_chunks(batches: Iterable[pa.RecordBatch], shell: TrainingData) -> Iterator[tuple[int, TrainingData]]:
    """Yield number and data of each chunk whose rows follow each other; `shell` is what `without_rows` returned."""
    pieces = (piece for batch in batches for piece in _split_by_chunk(batch))
    for number, of_chunk in groupby(pieces, key=lambda piece: int(piece.column("chunk")[0].as_py())):
        rows = pa.Table.from_batches(list(of_chunk)).sort_by("customer").combine_chunks()
        yield number, _as_data(rows, shell)


def _no_rows(*kinds: str) -> list[NDArray[Any]]:
    return [np.zeros(0, kind) for kind in kinds]


def _split_by_chunk(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    chunk = batch.column("chunk").to_numpy()
    starts = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(chunk)] if len(chunk) else []
    return (batch.slice(start, stop - start) for start, stop in pairwise(starts))


def _as_rows(chunk: TrainingData, number: int) -> pa.Table:
    count = len(chunk.customers)
    bought, interacted = chunk.purchases, chunk.interactions
    of_purchases, of_interactions = (_Lists.of(rows.customer_index, count) for rows in (bought, interacted))
    return pa.table(
        {
            "chunk": np.full(count, number, np.int32),
            "customer": np.arange(count, dtype=np.int32),
            "customer_id": pa.array([customer.customer_id for customer in chunk.customers], pa.string()),
            "risk_level": np.array([one.risk_level or UNKNOWN_RISK for one in chunk.customers], np.int32),
            "investment_capacity": np.array([one.investment_capacity for one in chunk.customers], np.int32),
            "bought": of_purchases.build(bought.asset_index),
            "bought_on": of_purchases.build(bought.day),
            "interacted": of_interactions.build(interacted.asset_index),
            "interaction_type": of_interactions.build(interacted.type_code.astype(np.int32)),
            "interacted_at": of_interactions.build(interacted.occurred_at),
        }
    )


class _Lists:
    """Rows as one list for each customer, in their order."""

    def __init__(self, order: NDArray[np.intp], offsets: NDArray[np.int32]) -> None:
        self._order, self._offsets = order, offsets

    @classmethod
    def of(cls, customer_index: NDArray[np.int32], count: int) -> _Lists:
        ends = np.cumsum(np.bincount(customer_index, minlength=count)) if count else np.zeros(0)
        return cls(np.argsort(customer_index, kind="stable"), np.append(0, ends).astype(np.int32))

    def build(self, values: NDArray[Any]) -> pa.ListArray:
        return pa.ListArray.from_arrays(self._offsets, pa.array(values[self._order]))


def _as_data(rows: pa.Table, shell: TrainingData) -> TrainingData:
    customer, asset, day = _unnest(rows, "bought", "bought_on")
    order = np.lexsort((asset, customer, day))  # as build_training_data sorts them
    owner, interacted, kind, moment = _unnest(rows, "interacted", "interaction_type", "interacted_at")
    return replace(
        shell,
        customers=_customers(rows),
        purchases=Purchases(customer[order], asset[order], day[order]),
        interactions=InteractionRows(owner, interacted, kind.astype(np.int8), moment),
    )


def _unnest(rows: pa.Table, *columns: str) -> list[NDArray[Any]]:
    """Return the position of the customer and the values of these list columns, one for each element."""
    lists = [pa.concat_arrays(rows[name].chunks) for name in columns]
    lengths = np.diff(lists[0].offsets.to_numpy())
    owner = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return [owner, *(np.array(one.flatten().to_numpy()) for one in lists)]


def _customers(rows: pa.Table) -> tuple[Customer, ...]:
    columns = (rows[name].to_pylist() for name in ("customer_id", "risk_level", "investment_capacity"))
    return tuple(
        Customer(name, RiskLevel(risk) if risk else None, InvestmentCapacity(capacity))
        for name, risk, capacity in zip(*columns, strict=True)
    )
