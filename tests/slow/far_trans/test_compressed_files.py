"""Compressed files that expand far beyond their size: refused, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ReferenceDataInvalid
from shared.far_trans.clean_rows import CleanRows
from shared.far_trans.schema import CLOSE_PRICES
from shared.far_trans.source_files import FREE_BYTES, MAX_EXPANSION, check_source, open_text
from tests.far_trans_files import header_of
from tests.file_kinds import memory_limit, write_gzip

HEADER = header_of(CLOSE_PRICES).encode()
PRICE = b"GRS1,2018-01-02,3.5\n"


def read_rows(path: Path) -> int:
    with path.open("rb") as stream, open_text(stream, path) as text:
        rows = CleanRows(text, CLOSE_PRICES, on_reject=lambda reject: None)
        for _ in rows:
            pass
    return rows.row_count


def test_rows_that_expand_without_end_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = write_gzip(tmp_path / "close_prices.csv.gz", HEADER, PRICE * 500_000, repeated=8)
    assert MAX_EXPANSION * path.stat().st_size < 8 * 500_000 * len(PRICE)
    with memory_limit(16_000_000), pytest.raises(ReferenceDataInvalid, match="expands to more than 200 times"):
        read_rows(path)


def test_line_that_expands_without_end_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = write_gzip(tmp_path / "close_prices.csv.gz", HEADER + PRICE, b"x" * 10_000_000, repeated=10)
    assert check_source(path, CLOSE_PRICES).path == path
    with memory_limit(16_000_000), pytest.raises(ReferenceDataInvalid):
        read_rows(path)


def test_small_file_may_expand_to_any_multiple(tmp_path: Path) -> None:
    count = FREE_BYTES // len(PRICE) - 10
    path = write_gzip(tmp_path / "close_prices.csv.gz", HEADER + PRICE * count)
    assert MAX_EXPANSION * path.stat().st_size < FREE_BYTES
    assert read_rows(path) == count
