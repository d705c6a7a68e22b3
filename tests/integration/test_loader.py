"""FAR-Trans/script.py against a real database: broken files, reloads, and the same rows as a plain COPY."""

from __future__ import annotations

import csv
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from script.running_system import noted_demo
from shared.errors import ReferenceDataInvalid
from shared.far_trans.clean_rows import RowBlock
from shared.far_trans.schema import TABLES, TRANSACTIONS
from shared.far_trans.source_files import check_files
from shared.far_trans.store import PostgresReferenceStore
from tests.far_trans_files import SOUND_ROWS, write_folder
from tests.integration.loading import LOADER, TABLE_NAMES, count_rows, load, query, with_rows

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rejects file goes into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def read_rejects(path: Path = Path("far_trans.rejects.csv")) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))[1:]


def test_sound_folder_is_loaded_whole(tmp_path: Path, database_url: str) -> None:
    assert load(write_folder(tmp_path / "data"), database_url) == 0
    assert count_rows(database_url) == dict.fromkeys(TABLE_NAMES, 1)
    assert query(
        database_url,
        "SELECT asset_short_name, assetless FROM (SELECT asset_short_name, "
        "asset_sub_category IS NULL AND industry IS NULL AS assetless FROM asset_information) AS a",
    ) == [("ΑΛΦΑ", True)]
    assert query(database_url, "SELECT description, trading_days FROM markets") == [
        ("The market, described", "Mon,Tue")
    ]
    assert not Path("far_trans.rejects.csv").exists()


def test_address_of_the_database_comes_from_the_environment(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert LOADER.main(["--data", str(write_folder(tmp_path / "data"))]) == 0


def test_without_an_address_the_database_of_the_running_demo_is_loaded(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_STATE_DIR", str(tmp_path))
    with noted_demo(tmp_path, api_url="http://127.0.0.1:1", database_url=database_url):
        assert LOADER.main(["--data", str(write_folder(tmp_path / "data"))]) == 0

    assert count_rows(database_url) == dict.fromkeys(TABLE_NAMES, 1)


def test_the_database_of_compose_is_loaded_inside_its_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        '#!/bin/sh\ncase "$*" in *" ps "*) echo 4f5a;; *) echo "$DATA_DIR $@" > "$CALLED"; exit 1;; esac\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    monkeypatch.setenv("DEMO_STATE_DIR", str(tmp_path))
    folder = write_folder(tmp_path / "data")

    assert LOADER.main(["--data", str(folder), "--max-rejects", "5%"]) == 1
    called = (tmp_path / "called").read_text()
    assert called.startswith(f"{folder} compose run --rm load --max-rejects 0.05 ")
    (folder / "markets.csv").unlink()
    assert LOADER.main(["--data", str(folder), "--append", "--check"]) == 1
    assert (tmp_path / "called").read_text().endswith(" --check --append\n")
    assert LOADER.main(["--undo", "markets"]) == 1
    assert (tmp_path / "called").read_text().endswith(" --undo markets\n")


def test_no_address_of_a_database_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no docker
    assert LOADER.main(["--data", str(write_folder(tmp_path / "data"))]) == 2
    assert "DATABASE_URL" in capsys.readouterr().err


def test_loading_again_replaces_and_never_doubles(tmp_path: Path, database_url: str) -> None:
    folder = write_folder(tmp_path / "data", with_rows("close_prices", "A,2018-01-02,1", "B,2018-01-02,2"))
    assert load(folder, database_url) == 0
    assert load(folder, database_url) == 0
    assert count_rows(database_url)["close_prices"] == 2
    write_folder(folder, with_rows("close_prices", "C,2018-01-02,3"))
    assert load(folder, database_url, "--max-shrink", "50%") == 0
    assert query(database_url, "SELECT isin FROM close_prices") == [("C",)]


def test_published_versions_and_shared_transaction_ids_are_all_kept(tmp_path: Path, database_url: str) -> None:
    rows = {
        **with_rows("transactions", *[SOUND_ROWS["transactions"]] * 3),
        "customer_information": "\n".join([SOUND_ROWS["customer_information"]] * 2),
    }
    assert load(write_folder(tmp_path / "data", rows), database_url) == 0
    assert count_rows(database_url)["transactions"] == 3
    assert count_rows(database_url)["customer_information"] == 2


def test_empty_fields_are_null(tmp_path: Path, database_url: str) -> None:
    rows = with_rows("transactions", 'C1,GRS1,b1,Buy,2018-01-02,,"",,', "C1,GRS1,b2,Buy,2018-01-02,0,0,x,y")
    assert load(write_folder(tmp_path / "data", rows), database_url) == 0
    found = query(
        database_url, "SELECT total_value, units, channel, market_id FROM transactions ORDER BY transaction_id"
    )
    assert found == [(None, None, None, None), (0.0, 0.0, "x", "y")]


def test_bad_rows_are_rejected_with_line_and_reason_and_the_others_are_loaded(
    tmp_path: Path, database_url: str
) -> None:
    rows = with_rows(
        "transactions",
        SOUND_ROWS["transactions"],
        "C1,GRS1,1,Buy,2020-07-02,1,1,Branch",
        "C1,GRS1,2,Buy,2020-02-30,1,1,,",
        'C1,GRS1,3,Buy,2020-07-02,1,1,"two\nlines\x1b",XATH',
        "C1,GRS1,4,Buy,2020-07-02,1,-1,,",
        "C1,GRS1,5,Swap,2020-07-02,1,1,,",
        ",GRS1,6,Buy,2020-07-02,1,1,,",
        SOUND_ROWS["transactions"],
    )
    assert load(write_folder(tmp_path / "data", rows), database_url, "--max-rejects", "75%") == 1
    assert count_rows(database_url)["transactions"] == 2
    assert [(row[0], row[1], row[2]) for row in read_rejects()] == [
        ("transactions.csv", "3", "expected 9 columns, found 8"),
        ("transactions.csv", "4", "timestamp is no day of the calendar"),
        ("transactions.csv", "5", "channel holds a control character or a line separator"),
        ("transactions.csv", "7", "units is negative"),
        ("transactions.csv", "8", "transactionType is none of Buy, Sell"),
        ("transactions.csv", "9", "customerID is empty"),
    ]
    snapshot = "SELECT row_count, rejected_count FROM reference_snapshots WHERE table_name = 'transactions'"
    assert query(database_url, snapshot) == [(2, 6)]


def test_rejects_go_where_they_are_wanted(tmp_path: Path, database_url: str) -> None:
    folder = write_folder(tmp_path / "data", with_rows("close_prices", "bad"))
    assert load(folder, database_url, "--rejects", str(tmp_path / "other.csv"), "--max-rejects", "1") == 1
    assert read_rejects(tmp_path / "other.csv") == [["close_prices.csv", "2", "expected 3 columns, found 1", "bad"]]


def test_snapshot_says_what_was_loaded_from_where(tmp_path: Path, database_url: str) -> None:
    folder = write_folder(tmp_path / "data")
    assert load(folder, database_url) == 0
    first = query(
        database_url, "SELECT table_name, row_count, rejected_count, source, loaded_at FROM reference_snapshots"
    )
    assert {row[:4] for row in first} == {
        (schema.table, 1, 0, str((folder / schema.file_name).resolve())) for schema in TABLES
    }
    assert load(folder, database_url) == 0
    later = dict(query(database_url, "SELECT table_name, loaded_at FROM reference_snapshots"))
    assert all(later[row[0]] > row[4] for row in first)


@pytest.mark.parametrize("table", ["transactions", "close_prices"])
def test_folder_without_an_optional_file_loads_with_a_warning(
    tmp_path: Path, database_url: str, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "data")
    assert load(folder, database_url) == 0
    (folder / f"{table}.csv").unlink()
    assert load(folder, database_url, "--allow-empty", table) == 0
    assert f"{table}.csv is missing" in capsys.readouterr().err
    assert count_rows(database_url) == dict.fromkeys(TABLE_NAMES, 1) | {table: 0}


def _truncate(folder: Path) -> None:
    path = folder / "transactions.csv"
    path.write_bytes(path.read_bytes()[:-8])


def _remove(folder: Path) -> None:
    (folder / "limit_prices.csv").unlink()


def _rename_column(folder: Path) -> None:
    path = folder / "transactions.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("totalValue", "value"), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, "transactions.csv ends inside a line: it is truncated"),
        (_remove, "limit_prices.csv is missing"),
        (_rename_column, "transactions.csv: the header is not as published"),
    ],
)
def test_spoilt_folder_is_a_message_and_leaves_the_database_as_it_was(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str], spoil: Any, message: str
) -> None:
    folder = write_folder(tmp_path / "data")
    assert load(folder, database_url) == 0
    before = query(database_url, "SELECT * FROM reference_snapshots ORDER BY table_name")
    write_folder(folder, with_rows("customer_information", *[SOUND_ROWS["customer_information"]] * 5))
    spoil(folder)
    assert load(folder, database_url) == 2
    assert message in capsys.readouterr().err
    assert count_rows(database_url) == dict.fromkeys(TABLE_NAMES, 1)
    assert query(database_url, "SELECT * FROM reference_snapshots ORDER BY table_name") == before


def test_file_that_loses_its_end_while_it_is_read_leaves_every_table_as_it_was(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "data")
    assert load(folder, database_url) == 0
    write_folder(
        folder,
        {
            **with_rows("close_prices", *["GRS2,2018-01-02,1"] * 4),
            "customer_information": "\n".join([SOUND_ROWS["customer_information"]] * 2),
        },
    )

    def check_then_truncate(directory: Path, **options: Any) -> Any:
        sources = check_files(directory, **options)
        path = directory / "close_prices.csv"
        path.write_bytes(path.read_bytes()[:-3])
        return sources

    monkeypatch.setattr(LOADER, "check_files", check_then_truncate)
    assert load(folder, database_url) == 2
    error = capsys.readouterr().err
    assert "close_prices.csv ends inside a line" in error
    assert "Nothing was loaded; the database is as it was." in error
    assert query(database_url, "SELECT isin FROM close_prices") == [("GRS1",)]
    assert count_rows(database_url)["customer_information"] == 1
    snapshot = "SELECT row_count FROM reference_snapshots WHERE table_name = 'close_prices'"
    assert query(database_url, snapshot) == [(1,)]


def test_unreachable_database_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(write_folder(tmp_path / "data"), "postgresql://nobody@127.0.0.1:1/none") == 2
    assert "Nothing was loaded" in capsys.readouterr().err


def test_address_that_is_none_is_a_message_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(write_folder(tmp_path / "data"), "mysql://me:geheim@127.0.0.1/none") == 2
    error = capsys.readouterr().err
    assert "postgresql://" in error
    assert "geheim" not in error


def test_database_without_tables_says_how_to_make_them(
    tmp_path: Path, empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(write_folder(tmp_path / "data"), empty_database_url) == 2
    assert "python -m shared.migrations" in capsys.readouterr().err


def test_second_loader_is_kept_out(tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with PostgresReferenceStore.connect(database_url):
        assert load(write_folder(tmp_path / "data"), database_url) == 2
    assert "another loader is at work" in capsys.readouterr().err
    assert load(tmp_path / "data", database_url) == 0


def test_readers_see_the_old_rows_or_the_new_ones_and_never_none(tmp_path: Path, database_url: str) -> None:
    folder = write_folder(tmp_path / "data", with_rows("close_prices", *["GRS1,2018-01-02,1"] * 20_000))
    assert load(folder, database_url) == 0
    seen: set[int] = set()
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            seen.add(query(database_url, "SELECT count(*) FROM close_prices")[0][0])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(3):
            assert load(folder, database_url) == 0
    finally:
        is_done.set()
        reader.join()
    assert seen == {20_000}


def test_count_that_differs_from_what_the_database_took_is_rolled_back(tmp_path: Path, database_url: str) -> None:
    assert load(write_folder(tmp_path / "data"), database_url) == 0

    class Miscounting:
        row_count = 5
        rejected_count = 0

        def __iter__(self) -> Iterator[RowBlock]:
            return iter([RowBlock(2, (SOUND_ROWS["transactions"].encode() + b"\n") * 4)])

    with (
        PostgresReferenceStore.connect(database_url) as store,
        pytest.raises(ReferenceDataInvalid, match="5 rows were sent, the database took 4"),
        store.replacement(),
    ):
        store.replace_table(TRANSACTIONS, Miscounting(), source="test")
    assert count_rows(database_url)["transactions"] == 1


def test_row_that_only_the_database_refuses_leaves_the_table_as_it_was(tmp_path: Path, database_url: str) -> None:
    assert load(write_folder(tmp_path / "data"), database_url) == 0

    class Wrong:
        row_count = 1
        rejected_count = 0

        def __iter__(self) -> Iterator[RowBlock]:
            return iter([RowBlock(2, b"not,enough\n")])

    with (
        pytest.raises(ReferenceDataInvalid, match="missing data"),
        PostgresReferenceStore.connect(database_url) as store,
        store.replacement(),
    ):
        store.replace_table(TRANSACTIONS, Wrong(), source="test")
    assert count_rows(database_url)["transactions"] == 1
