"""Checking a folder before anything is loaded, and the rejects file."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from shared.errors import ReferenceDataInvalid
from shared.far_trans import CLOSE_PRICES, LIMIT_PRICES, TABLES, TRANSACTIONS, TableSchema
from shared.reference_data.clean_rows import CleanRows, Reject
from shared.reference_data.loading import check_files, load_table
from shared.reference_data.rejects import RejectsFile
from tests.far_trans_files import SOUND_ROWS, header_of, write_folder


def test_sound_folder_gives_six_files_with_their_sizes(tmp_path: Path) -> None:
    sources = check_files(write_folder(tmp_path))
    assert [source.schema for source in sources] == list(TABLES)
    for source in sources:
        assert source.path is not None
        assert source.size_bytes == source.path.stat().st_size


@pytest.mark.parametrize(
    "schema", [schema for schema in TABLES if not schema.optional], ids=lambda schema: schema.table
)
def test_missing_file_is_named(tmp_path: Path, schema: TableSchema) -> None:
    write_folder(tmp_path)
    (tmp_path / schema.file_name).unlink()
    with pytest.raises(ReferenceDataInvalid, match=f"{schema.file_name} is missing"):
        check_files(tmp_path)


def test_transactions_and_close_prices_may_be_missing(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / TRANSACTIONS.file_name).unlink()
    (tmp_path / CLOSE_PRICES.file_name).unlink()
    missing = [source.schema for source in check_files(tmp_path) if source.path is None]
    assert missing == [CLOSE_PRICES, TRANSACTIONS]


def test_every_fault_of_a_folder_is_named_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "markets.csv").unlink()
    (tmp_path / "limit_prices.csv").write_text(header_of(LIMIT_PRICES) + SOUND_ROWS["limit_prices"])
    (tmp_path / "asset_information.csv").write_text("ISIN\n")
    (tmp_path / "transactions.csv").write_bytes(b"")
    with pytest.raises(ReferenceDataInvalid) as caught:
        check_files(tmp_path)
    for fault in (
        "markets.csv is missing",
        "limit_prices.csv ends inside a line",
        "asset_information.csv: the header is not as published",
        "transactions.csv: the header is not as published",
    ):
        assert fault in str(caught.value)


def test_folder_in_the_place_of_a_file_is_a_message(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "markets.csv").unlink()
    (tmp_path / "markets.csv").mkdir()
    with pytest.raises(ReferenceDataInvalid, match=r"markets\.csv cannot be read"):
        check_files(tmp_path)


class _RecordingStore:
    def __init__(self) -> None:
        self.tables: dict[str, tuple[bytes, str]] = {}

    def replace_table(self, schema: TableSchema, rows: object, *, source: str) -> None:
        assert hasattr(rows, "__iter__")
        self.tables[schema.table] = (b"".join(rows), source)


def test_load_table_hands_the_rows_to_the_store_and_counts_them(tmp_path: Path) -> None:
    rows = {**SOUND_ROWS, "close_prices": SOUND_ROWS["close_prices"] + "\nbad"}
    sources = check_files(write_folder(tmp_path, rows))
    store, rejects = _RecordingStore(), list[Reject]()
    loaded = [load_table(source, store=store, on_reject=rejects.append) for source in sources]
    assert [(table.row_count, table.rejected_count) for table in loaded] == [(1, 0)] * 4 + [(1, 1), (1, 0)]
    assert store.tables["close_prices"] == (
        (SOUND_ROWS["close_prices"] + "\n").encode(),
        str(tmp_path / "close_prices.csv"),
    )
    assert [(reject.file_name, reject.line_number) for reject in rejects] == [("close_prices.csv", 3)]


def test_missing_optional_file_empties_its_table(tmp_path: Path) -> None:
    write_folder(tmp_path, {table: row for table, row in SOUND_ROWS.items() if table != "transactions"})
    store = _RecordingStore()
    loaded = load_table(check_files(tmp_path)[-1], store=store, on_reject=lambda reject: None)
    assert loaded.row_count == 0
    assert store.tables["transactions"] == (b"", "")


def test_rejects_file_holds_place_reason_and_row(tmp_path: Path) -> None:
    path = tmp_path / "bad.rejects.csv"
    with RejectsFile(path) as rejects:
        rejects.add(Reject("markets.csv", 7, "expected 8 columns, found 2", b'a,"b\nc"\r\n'))
        rejects.add(Reject("markets.csv", 9, "name is not valid UTF-8", b"\xff\x00,\xce\xa9\n"))
    with path.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["file", "line", "reason", "row"],
            ["markets.csv", "7", "expected 8 columns, found 2", 'a,"b\nc"'],
            ["markets.csv", "9", "name is not valid UTF-8", "\\xff\\x00,Ω"],
        ]


def test_rejects_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "bad.rejects.csv"
    path.write_text("old")
    with RejectsFile(path):
        pass
    assert not path.exists()


def test_rejects_file_in_a_missing_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"), RejectsFile(tmp_path / "no" / "rejects.csv"):
        pass


def test_counters_know_every_byte_of_the_file(tmp_path: Path) -> None:
    path = write_folder(tmp_path) / "transactions.csv"
    with path.open("rb") as stream:
        rows = CleanRows(stream, TRANSACTIONS, on_reject=lambda reject: None)
        list(rows)
    assert rows.bytes_read == path.stat().st_size
