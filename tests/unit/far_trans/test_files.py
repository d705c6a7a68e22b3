"""Checking a folder before anything is loaded, and the rejects file."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pytest

from shared.errors import LoadRefused, ReferenceDataInvalid
from shared.far_trans.clean_rows import Reject
from shared.far_trans.limits import LoadLimits
from shared.far_trans.loading import FileAccess, load_folder
from shared.far_trans.schema import CLOSE_PRICES, LIMIT_PRICES, TABLES, TRANSACTIONS, TableSchema
from shared.far_trans.source_files import check_files
from tests.fakes_reference import FakeReferenceStore
from tests.far_trans_files import SOUND_ROWS, header_of, load_command, write_folder

RejectsFile = load_command("script").RejectsFile


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
    (tmp_path / "limit_prices.csv").write_text(header_of(LIMIT_PRICES).replace(",", ";") + SOUND_ROWS["limit_prices"])
    (tmp_path / "asset_information.csv").write_text("ISIN\n")
    (tmp_path / "transactions.csv").write_bytes(b"")
    with pytest.raises(ReferenceDataInvalid) as caught:
        check_files(tmp_path)
    for fault in (
        "markets.csv is missing",
        "limit_prices.csv: the header is not as published: the fields are separated by semicolon",
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


LIMITS = LoadLimits(max_rejects=0.5, max_shrink=0.5)


def test_load_hands_the_valid_rows_of_all_files_to_the_store_and_counts_them(tmp_path: Path) -> None:
    rows = {**SOUND_ROWS, "close_prices": SOUND_ROWS["close_prices"] + "\nbad"}
    store, rejects = FakeReferenceStore(), list[Reject]()
    sources = check_files(write_folder(tmp_path, rows))
    loaded = load_folder(sources, store=store, limits=LIMITS, access=FileAccess(rejects.append))
    assert [(file.row_count, file.rejected_count) for file in loaded] == [(1, 0)] * 4 + [(1, 1), (1, 0)]
    assert store.tables["close_prices"] == (SOUND_ROWS["close_prices"] + "\n").encode()
    assert store.sources == {schema.table: str(tmp_path / schema.file_name) for schema in TABLES}
    assert [(reject.file_name, reject.line_number) for reject in rejects] == [("close_prices.csv", 3)]


def test_missing_optional_file_leaves_its_table_empty(tmp_path: Path) -> None:
    write_folder(tmp_path, {table: row for table, row in SOUND_ROWS.items() if table != "transactions"})
    store = FakeReferenceStore()
    loaded = load_folder(check_files(tmp_path), store=store, limits=LIMITS, access=FileAccess(lambda reject: None))
    assert loaded[-1].row_count == 0
    assert store.tables["transactions"] == b""
    assert store.sources["transactions"] == ""


def test_refused_load_opens_no_file_to_load_it(tmp_path: Path) -> None:
    steps: list[str] = []

    def open_file(path: Path, step: str) -> BinaryIO:
        steps.append(step)
        return path.open("rb")

    rows = {**SOUND_ROWS, "close_prices": "bad"}
    access = FileAccess(lambda reject: None, open_file)
    with pytest.raises(LoadRefused, match=r"close_prices\.csv: 1 of 1 rows are rejected"):
        load_folder(check_files(write_folder(tmp_path, rows)), store=FakeReferenceStore(), limits=LIMITS, access=access)
    assert steps == ["check"] * 6


def test_file_that_changes_between_check_and_load_replaces_nothing(tmp_path: Path) -> None:
    sources = check_files(write_folder(tmp_path))

    def open_file(path: Path, step: str) -> BinaryIO:
        if (path.name, step) == ("transactions.csv", "load"):
            with path.open("a") as stream:
                stream.write(SOUND_ROWS["transactions"] + "\n")
        return path.open("rb")

    store = FakeReferenceStore()
    with pytest.raises(ReferenceDataInvalid, match=r"transactions\.csv changed while it was loaded"):
        load_folder(sources, store=store, limits=LIMITS, access=FileAccess(lambda reject: None, open_file))
    assert set(store.tables.values()) == {b""}


def test_day_after_which_rows_are_rejected_is_the_day_after_the_one_of_the_store(tmp_path: Path) -> None:
    rows = {**SOUND_ROWS, "close_prices": "GRS1,2024-02-29,1\nGRS1,2024-03-01,1"}
    store, rejects = FakeReferenceStore(today=date(2024, 2, 28)), list[Reject]()
    sources = check_files(write_folder(tmp_path, rows))
    load_folder(sources, store=store, limits=LIMITS, access=FileAccess(rejects.append))
    assert store.tables["close_prices"] == b"GRS1,2024-02-29,1\n"
    assert [reject.reason for reject in rejects] == ["timestamp is after 2024-02-29, which is tomorrow (UTC)"]


def test_rejects_file_holds_place_reason_and_row(tmp_path: Path) -> None:
    path = tmp_path / "bad.rejects.csv"
    with RejectsFile(path) as rejects:
        rejects.add(Reject("markets.csv", 7, "expected 8 columns, found 2", b'a,"b\nc"\r\n'))
        rejects.add(Reject("markets.csv", 9, "name is not valid UTF-8", b"\xff\x00,\xce\xa9\n"))
        rejects.add(Reject("markets.csv", 10, "bad", b"\x1b[2J\r\xc2\x85\xe2\x80\xa8\xe2\x80\xae"))
    with path.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["file", "line", "reason", "row"],
            ["markets.csv", "7", "expected 8 columns, found 2", 'a,"b\nc"'],
            ["markets.csv", "9", "name is not valid UTF-8", "\\xff\\x00,Ω"],
            ["markets.csv", "10", "bad", "\\x1b[2J\\r\\x85\\u2028\\u202e"],
        ]


def test_rejects_file_is_bounded_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bad.rejects.csv"
    with RejectsFile(path, max_characters=1_000) as rejects:
        for number in range(1_000):
            rejects.add(Reject("markets.csv", number, "bad", b"x" * 97))
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert [row[1] for row in rows[1:-1]] == [str(number) for number in range(10)]
    assert rows[-1] == ["", "", "more rows were rejected: this file is full", ""]


def test_rejects_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "bad.rejects.csv"
    path.write_text("old")
    with RejectsFile(path):
        pass
    assert not path.exists()


def test_rejects_file_in_a_missing_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"), RejectsFile(tmp_path / "no" / "rejects.csv"):
        pass
