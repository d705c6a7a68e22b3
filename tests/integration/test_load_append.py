"""FAR-Trans/script.py --append: rows replace those with their key and date, beside readers that feel nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from shared.far_trans.schema import CLOSE_PRICES, TABLES
from tests.far_trans_files import SOUND_ROWS, header_of, write_folder
from tests.file_kinds import EACH_VARIATION, REFUSED, rows_of_table, write_refused, write_variation
from tests.integration.loading import TABLE_NAMES, count_rows, load, query, read_all, with_rows, write_rows

pytestmark = pytest.mark.postgres

PRICES = "SELECT isin, priced_on::text, close_price FROM close_prices ORDER BY 1, 2, 3"
SNAPSHOT = "SELECT row_count, rejected_count, source FROM reference_snapshots WHERE table_name = 'close_prices'"


@pytest.fixture
def loaded(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with three prices and one row in each other table."""
    monkeypatch.chdir(tmp_path)
    folder = write_folder(
        tmp_path / "data", with_rows("close_prices", "A,2018-01-02,1", "A,2018-01-03,2", "B,2018-01-03,3")
    )
    assert load(folder, database_url) == 0
    return database_url


def write_day(tmp_path: Path, table: str, *rows: str) -> Path:
    return write_folder(tmp_path / "day", {table: "\n".join(rows)})


def append(folder: Path, database_url: str, *more: str) -> int:
    return load(folder, database_url, "--append", *more)


def test_rows_of_a_day_replace_those_of_their_key_and_keep_all_others(tmp_path: Path, loaded: str) -> None:
    before = read_all(loaded)
    day = write_day(tmp_path, "close_prices", "A,2018-01-03,20", "B,2018-01-04,4", "C,2018-01-04,5")

    assert append(day, loaded) == 0

    expected = [
        ("A", "2018-01-02", 1.0),
        ("A", "2018-01-03", 20.0),
        ("B", "2018-01-03", 3.0),
        ("B", "2018-01-04", 4.0),
        ("C", "2018-01-04", 5.0),
    ]
    assert query(loaded, PRICES) == expected
    assert query(loaded, SNAPSHOT) == [(5, 0, str(day / "close_prices.csv"))]
    after = read_all(loaded)
    assert {name for name in TABLE_NAMES if after[name] != before[name]} == {"close_prices"}


def test_append_again_changes_no_row(tmp_path: Path, loaded: str) -> None:
    day = write_day(tmp_path, "close_prices", "A,2018-01-03,20", "C,2018-01-04,5")
    assert append(day, loaded) == 0
    rows = query(loaded, PRICES)
    assert append(day, loaded) == 0
    assert query(loaded, PRICES) == rows
    assert query(loaded, SNAPSHOT)[0][0] == 4


def test_only_the_snapshot_of_the_appended_table_changes(tmp_path: Path, loaded: str) -> None:
    times = "SELECT table_name, loaded_at FROM reference_snapshots"
    before = dict(query(loaded, times))
    assert append(write_day(tmp_path, "close_prices", "C,2018-01-04,5"), loaded) == 0
    after = dict(query(loaded, times))
    assert {name for name in TABLE_NAMES if after[name] > before[name]} == {"close_prices"}


def test_row_of_an_older_day_is_not_the_latest_and_one_of_the_same_day_is(tmp_path: Path, loaded: str) -> None:
    latest = "SELECT close_price FROM latest_close_prices WHERE isin = 'A'"
    assert append(write_day(tmp_path, "close_prices", "A,2017-12-29,9"), loaded) == 0
    assert query(loaded, latest) == [(2.0,)]
    day = write_day(tmp_path, "close_prices", "A,2018-01-03,7", "A,2018-01-03,8", "B,2018-01-03,1")
    assert append(day, loaded) == 0
    assert query(loaded, latest) == [(8.0,)]


def test_row_inserted_by_hand_is_replaced_by_an_append_of_its_day(tmp_path: Path, loaded: str) -> None:
    execute(loaded, "INSERT INTO close_prices (isin, priced_on, close_price) VALUES ('A', '2018-01-03', 99)")
    assert append(write_day(tmp_path, "close_prices", "A,2018-01-03,7"), loaded) == 0
    assert query(loaded, "SELECT close_price FROM latest_close_prices WHERE isin = 'A'") == [(7.0,)]


def test_transactions_with_one_id_are_kept_apart(tmp_path: Path, loaded: str) -> None:
    buy = SOUND_ROWS["transactions"]
    sale, other = buy.replace("Buy", "Sell"), buy.replace("GRS1", "GRS2")
    assert append(write_day(tmp_path, "transactions", buy.replace("1000", "7"), sale, other, other), loaded) == 0
    found = query(loaded, "SELECT isin, transaction_type, units FROM transactions ORDER BY 1, 2, 3")
    assert found == [("GRS1", "Buy", 7.0), ("GRS1", "Sell", 1000.0), ("GRS2", "Buy", 1000.0), ("GRS2", "Buy", 1000.0)]


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.table)
def test_every_table_takes_an_append_in_each_accepted_kind(schema: Any, tmp_path: Path, loaded: str) -> None:
    (tmp_path / "day").mkdir()
    for variation in EACH_VARIATION.values():
        write_variation(tmp_path / "day", schema.table, rows_of_table(schema.table), variation)
        assert append(tmp_path / "day", loaded) == 0
    others = 3 if schema.table == "close_prices" else 0
    assert count_rows(loaded)[schema.table] == 3 + others


@pytest.mark.parametrize("kind", REFUSED)
def test_each_refused_kind_appends_nothing(
    kind: str, tmp_path: Path, loaded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_all(loaded)
    (tmp_path / "day").mkdir()
    message = write_refused(tmp_path / "day", kind)
    assert append(tmp_path / "day", loaded) == 2
    assert message in capsys.readouterr().err
    assert read_all(loaded) == before


def test_append_has_the_limit_of_rejects_and_none_for_shrinking(tmp_path: Path, loaded: str) -> None:
    before = read_all(loaded)
    assert append(write_day(tmp_path, "close_prices", "A,2018-01-03,7", "bad"), loaded) == 2
    assert read_all(loaded) == before
    assert append(write_day(tmp_path, "close_prices", "A,2018-01-03,7", "bad"), loaded, "--max-rejects", "50%") == 1
    assert count_rows(loaded)["close_prices"] == 3


def test_append_of_several_files_is_all_or_nothing(tmp_path: Path, loaded: str) -> None:
    before = read_all(loaded)
    folder = write_folder(tmp_path / "day", {"close_prices": "C,2018-01-04,5", "transactions": "bad"})
    assert append(folder, loaded) == 2
    assert read_all(loaded) == before


def test_append_to_a_database_without_a_load_is_refused(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert append(write_day(tmp_path, "close_prices", "A,2018-01-03,7"), database_url) == 2
    assert "nothing is loaded into close_prices yet" in capsys.readouterr().err
    assert count_rows(database_url)["close_prices"] == 0


def test_append_of_an_empty_folder_is_a_message(
    tmp_path: Path, loaded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "day").mkdir()
    assert append(tmp_path / "day", loaded) == 2
    assert "no file of a table is in" in capsys.readouterr().err


def test_check_of_an_append_changes_nothing(tmp_path: Path, loaded: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_all(loaded)
    assert append(write_day(tmp_path, "close_prices", "A,2018-01-03,7"), loaded, "--check") == 0
    assert "rows to append" in capsys.readouterr().err
    assert read_all(loaded) == before


def execute(database_url: str, statement: str) -> None:
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def test_readers_wait_for_no_lock_of_an_append_and_see_each_day_as_a_whole(tmp_path: Path, loaded: str) -> None:
    """A reader that would wait for any lock fails at once here; so does one that sees half a day."""
    days = [write_folder(tmp_path / str(n), {"close_prices": _day_of(n)}) for n in (1, 2)]
    assert append(days[0], loaded) == 0
    seen: set[tuple[int, int]] = set()
    errors: list[Exception] = []
    is_done = threading.Event()

    def read() -> None:
        reader = psycopg2.connect(loaded, options="-c lock_timeout=1ms")
        reader.autocommit = True
        with reader.cursor() as cursor:
            while not is_done.is_set():
                try:
                    cursor.execute("SELECT count(*), sum(close_price) FROM close_prices WHERE priced_on = '2020-01-01'")
                    seen.add(tuple(cursor.fetchall()[0]))
                except psycopg2.Error as error:
                    errors.append(error)
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(3):
            for day in reversed(days):
                assert append(day, loaded) == 0
    finally:
        is_done.set()
        thread.join()
    assert errors == []
    assert seen == {(800, 800.0), (800, 1600.0)}


def _day_of(price: int) -> str:
    return "\n".join(f"P{number},2020-01-01,{price}" for number in range(800))


def test_header_only_appends_nothing(tmp_path: Path, loaded: str) -> None:
    rows = query(loaded, PRICES)
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "close_prices.csv").write_text(header_of(CLOSE_PRICES))
    assert append(tmp_path / "day", loaded) == 0
    assert query(loaded, PRICES) == rows


def test_second_loader_is_kept_out_of_an_append(tmp_path: Path, loaded: str) -> None:
    lock = psycopg2.connect(loaded)
    with lock.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({0x4641525F54524E53})")
    assert append(write_day(tmp_path, "close_prices", "A,2018-01-03,7"), loaded) == 2
    lock.close()
    assert append(write_rows(tmp_path / "rows"), loaded) == 0
