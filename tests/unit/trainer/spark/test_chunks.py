"""Chunks of customers as rows of Parquet, and sums as blocks: what goes over the network comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="the extra `spark` is not installed (make spark)")
from pyarrow import parquet  # noqa: E402

from shared.recommender.customer_sums import add_all, chunks_of, fit_in_chunks  # noqa: E402
from shared.recommender.training_data import TrainingData  # noqa: E402
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel  # noqa: E402
from tests.unit.recommender.signal_laws import planted_data  # noqa: E402
from tests.unit.recommender.test_customer_sums import SIGNALS  # noqa: E402
from trainer.spark import chunks, partial_sums  # noqa: E402


def described_data() -> TrainingData:
    data = planted_data()
    risk = [None, *RiskLevel]
    customers = [
        Customer(one.customer_id, risk[position % len(risk)], InvestmentCapacity(position % len(InvestmentCapacity)))
        for position, one in enumerate(data.customers)
    ]
    return replace(data, customers=tuple(customers))


def written_batches(data: TrainingData, folder: Path, *, customers: int) -> Iterator[Any]:
    """Return what an executor reads: all files, in batches that ignore where a chunk ends."""
    chunks.write_chunks(data, folder, chunk_customers=customers)
    for path in sorted(folder.iterdir()):
        yield from parquet.read_table(path).to_batches(max_chunksize=5)


def test_an_executor_reads_the_chunks_that_were_written(tmp_path: Path) -> None:
    data = described_data()
    read = dict(chunks.read_chunks(written_batches(data, tmp_path, customers=17), chunks.without_rows(data)))

    expected = list(chunks_of(data, 17))

    assert sorted(read) == list(range(len(expected)))
    assert len(expected) > 2
    for number, chunk in enumerate(expected):
        assert read[number].customers == chunk.customers
        assert read[number].histories() == chunk.histories()
        np.testing.assert_array_equal(read[number].asset_first_days, chunk.asset_first_days)
        for name, column in vars(chunk.purchases).items():
            np.testing.assert_array_equal(getattr(read[number].purchases, name), column, err_msg=name)


def test_the_common_part_holds_no_row_and_knows_the_first_days_of_all_customers() -> None:
    data = described_data()

    shell = chunks.without_rows(replace(data, engine=SimpleNamespace()))

    assert (len(shell.customers), len(shell.purchases.day), len(shell.close_prices.day)) == (0, 0, 0)
    assert (len(shell.interactions.occurred_at), shell.engine) == (0, None)
    np.testing.assert_array_equal(shell.asset_first_days, data.asset_first_days)


@pytest.mark.parametrize("block_cells", [1, 64, 1 << 16])
def test_what_executors_add_is_the_sum_of_the_chunks_bit_by_bit(
    block_cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_sums, "BLOCK_CELLS", block_cells)
    data = described_data()
    prepared = [
        signal.prepare(add_all(signal.count_customers(one) for one in chunks_of(data, 17))) for signal in SIGNALS
    ]
    task = SimpleNamespace(value=(SIGNALS, prepared, chunks.without_rows(data)))

    blocks = list(partial_sums.summing(task)(written_batches(data, tmp_path, customers=17)))
    in_order = pa.Table.from_batches(blocks).sort_by([(name, "ascending") for name in (*partial_sums.KEY, "chunk")])
    added = pa.Table.from_batches(partial_sums.add_blocks(in_order.to_batches(max_chunksize=3)))
    sums = partial_sums.from_blocks(added, signal_count=len(SIGNALS))

    for position, signal in enumerate(SIGNALS):
        arrays = signal.fit_sums(sums[position], prepared[position], asset_count=len(data.id_map))
        expected = fit_in_chunks(signal, data, chunk_customers=17)
        assert {name: array.tobytes() for name, array in arrays.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }, signal.name


def test_a_matrix_without_an_entry_keeps_its_shape(tmp_path: Path) -> None:
    idle = planted_data().known_at(planted_data().as_of.replace(year=1990))
    signal = SIGNALS[-2]

    blocks = [partial_sums.to_blocks(signal.sum_customers(idle, {}), signal=0, chunk=0)]
    (sums,) = partial_sums.from_blocks(pa.Table.from_batches(chain(blocks)), signal_count=1)

    assert {name: matrix.shape for name, matrix in sums.items()} == {
        name: matrix.shape for name, matrix in signal.sum_customers(idle, {}).items()
    }
