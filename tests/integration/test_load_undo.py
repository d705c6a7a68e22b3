"""FAR-Trans/script.py --undo: one generation of each table comes back, at once, beside readers and older loaders."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.far_trans.schema import TABLES
from tests.far_trans_files import write_folder
from tests.integration.loading import TABLE_NAMES, load, query, rows_of, with_rows, write_rows
from tests.integration.test_load_append import execute

pytestmark = pytest.mark.postgres

NOTHING = "there is nothing to undo"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def undo(database_url: str, *more: str) -> int:
    return load(Path(), database_url, "--undo", *more)


def read_tables(database_url: str) -> dict[str, list[tuple[object, ...]]]:
    return {name: query(database_url, f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4") for name in TABLE_NAMES}


def read_snapshots(database_url: str) -> list[tuple[object, ...]]:
    statement = "SELECT table_name, row_count, rejected_count, source FROM reference_snapshots ORDER BY table_name"
    return query(database_url, statement)


def read_version(database_url: str) -> list[tuple[object, ...]]:
    return query(database_url, "SELECT table_name, loaded_at FROM reference_snapshots ORDER BY table_name")


def test_undo_of_a_load_restores_all_tables_and_their_snapshots(tmp_path: Path, database_url: str) -> None:
    assert load(write_rows(tmp_path / "first"), database_url) == 0
    rows, snapshots, version = read_tables(database_url), read_snapshots(database_url), read_version(database_url)
    assert load(write_rows(tmp_path / "second", first=100, count=25), database_url) == 0
    assert read_tables(database_url) != rows

    assert undo(database_url) == 0

    assert read_tables(database_url) == rows
    assert read_snapshots(database_url) == snapshots
    assert not set(read_version(database_url)) & set(version)  # no list made before counts as fresh


def test_undo_of_an_append_restores_what_it_replaced_and_removes_what_it_added(
    tmp_path: Path, database_url: str
) -> None:
    prices = with_rows("close_prices", "A,2018-01-02,1", "A,2018-01-02,2", "B,2018-01-03,3")
    assert load(write_folder(tmp_path / "first", prices), database_url) == 0
    rows, snapshots = read_tables(database_url), read_snapshots(database_url)
    day = write_folder(tmp_path / "day", {"close_prices": "A,2018-01-02,9\nC,2018-01-02,9"})
    assert load(day, database_url, "--append") == 0

    assert undo(database_url) == 0

    assert read_tables(database_url) == rows
    assert read_snapshots(database_url) == snapshots


def test_undo_twice_says_that_there_is_nothing(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (10, 12):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    assert undo(database_url) == 0
    rows, version = read_tables(database_url), read_version(database_url)
    for tables in ((), ("close_prices",), ("markets", "transactions")):
        assert undo(database_url, *tables) == 2
        assert NOTHING in capsys.readouterr().err
    assert (read_tables(database_url), read_version(database_url)) == (rows, version)


def test_undo_after_the_first_load_or_none_says_that_there_is_nothing(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert undo(database_url) == 2
    assert load(write_rows(tmp_path / "data"), database_url) == 0
    assert undo(database_url) == 2
    assert capsys.readouterr().err.count(NOTHING) == 2


def test_undo_of_one_table_leaves_the_others_and_a_second_one_undoes_those(tmp_path: Path, database_url: str) -> None:
    assert load(write_rows(tmp_path / "data"), database_url) == 0
    before = read_tables(database_url)
    assert load(write_rows(tmp_path / "data", first=100), database_url) == 0
    after = read_tables(database_url)

    assert undo(database_url, "close_prices") == 0
    assert read_tables(database_url) == {**after, "close_prices": before["close_prices"]}
    assert undo(database_url) == 0
    assert read_tables(database_url) == before


def test_undo_of_an_append_does_not_undo_the_load_before_it_unless_a_table_is_named(
    tmp_path: Path, database_url: str
) -> None:
    for first in (0, 100):
        assert load(write_rows(tmp_path / "data", first=first), database_url) == 0
    loaded = read_tables(database_url)
    day = write_folder(tmp_path / "day", {"close_prices": rows_of("close_prices", 200, 3)})
    assert load(day, database_url, "--append") == 0
    assert undo(database_url) == 0
    assert read_tables(database_url) == loaded
    assert undo(database_url) == 2
    assert undo(database_url, "markets") == 0
    assert [row[1] for row in query(database_url, "SELECT * FROM markets ORDER BY 2")] == [f"M{n}" for n in range(10)]


def test_one_generation_is_kept(tmp_path: Path, database_url: str) -> None:
    for count in (10, 11, 12):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    for name in TABLE_NAMES:
        assert query(database_url, f"SELECT count(*) FROM previous_{name}") == [(11,)]
    assert undo(database_url) == 0
    for name in TABLE_NAMES:
        assert query(database_url, f"SELECT count(*) FROM previous_{name}") == [(0,)]


def test_refused_load_keeps_the_generation_before(tmp_path: Path, database_url: str) -> None:
    for count in (10, 12):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    assert load(write_rows(tmp_path / "data", count=3), database_url) == 2
    assert undo(database_url) == 0
    assert query(database_url, "SELECT count(*) FROM markets") == [(10,)]


def test_load_of_an_older_version_is_not_undone_by_rows_from_before_it(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (10, 12):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    # What the loader of the release before does with a table.
    execute(
        database_url,
        "DELETE FROM markets; INSERT INTO markets (exchange_id, market_id) VALUES ('E', 'OLD'); "
        "UPDATE reference_snapshots SET row_count = 1, loaded_at = clock_timestamp() WHERE table_name = 'markets'",
    )
    assert undo(database_url, "markets") == 2
    assert NOTHING in capsys.readouterr().err
    assert query(database_url, "SELECT market_id FROM markets") == [("OLD",)]


def test_load_beside_a_backup_waits_for_nobody_and_keeps_its_rows(tmp_path: Path, database_url: str) -> None:
    for count in (10, 11):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    backup = psycopg2.connect(database_url)
    try:
        with backup.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(f'previous_{name}' for name in TABLE_NAMES)} IN ACCESS SHARE MODE")
        assert load(write_rows(tmp_path / "data", count=12), database_url) == 0
    finally:
        backup.close()
    assert undo(database_url) == 0
    assert query(database_url, "SELECT count(*) FROM markets") == [(11,)]


def test_undo_without_all_kept_rows_is_refused(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (10, 11):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    rows = read_tables(database_url)
    execute(database_url, "TRUNCATE previous_markets")
    assert undo(database_url) == 2
    assert "markets: 0 of 10 kept rows are there" in capsys.readouterr().err
    assert read_tables(database_url) == rows


def test_undo_that_would_empty_a_table_needs_the_option(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_rows(tmp_path / "data")
    (folder / "transactions.csv").unlink()
    assert load(folder, database_url) == 0
    assert load(write_rows(tmp_path / "data"), database_url) == 0
    assert undo(database_url) == 2
    assert "--allow-empty transactions" in capsys.readouterr().err
    assert undo(database_url, "--allow-empty", "transactions") == 0
    assert query(database_url, "SELECT count(*) FROM transactions") == [(0,)]


def test_check_of_an_undo_says_what_it_restores_and_changes_nothing(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (10, 12):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    rows, version = read_tables(database_url), read_version(database_url)
    assert undo(database_url, "--check") == 0
    assert "an undo would be accepted" in capsys.readouterr().err
    assert (read_tables(database_url), read_version(database_url)) == (rows, version)
    assert undo(database_url) == 0


def test_readers_wait_for_no_lock_of_an_undo_and_never_see_an_empty_table(tmp_path: Path, database_url: str) -> None:
    for count in (2_000, 2_100):
        assert load(write_rows(tmp_path / "data", count=count), database_url) == 0
    seen: set[int] = set()
    errors: list[Exception] = []
    is_done = threading.Event()

    def read() -> None:
        reader = psycopg2.connect(database_url, options="-c lock_timeout=1ms")
        reader.autocommit = True
        with reader.cursor() as cursor:
            while not is_done.is_set():
                try:
                    cursor.execute("SELECT count(*) FROM close_prices")
                    seen.add(cursor.fetchall()[0][0])
                except psycopg2.Error as error:
                    errors.append(error)
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert undo(database_url) == 0
    finally:
        is_done.set()
        thread.join()
    assert errors == []
    assert seen <= {2_000, 2_100}


# --- any sequence of loads, appends and undos, against a model of dictionaries ---

Rows = Mapping[str, int]
SMALL = st.dictionaries(st.sampled_from("ABCDE"), st.integers(1, 9), min_size=1, max_size=4)
STEPS = st.lists(st.one_of(st.tuples(st.sampled_from(["load", "append"]), SMALL), st.just(("undo", {}))), max_size=9)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_sequence_of_loads_appends_and_undos_is_that_of_the_model(
    steps: list[tuple[str, Rows]], tmp_path: Path, database_url: str
) -> None:
    tables = ", ".join([*TABLE_NAMES, *(f"previous_{name}" for name in TABLE_NAMES)])
    execute(database_url, f"TRUNCATE {tables}, reference_snapshots, previous_snapshots")
    current: Rows | None = None
    previous: Rows | None = None
    for kind, rows in steps:
        text = "\n".join(f"{isin},2020-01-01,{price}" for isin, price in rows.items())
        if kind == "undo":
            assert undo(database_url) == (2 if previous is None else 0)
            current, previous = (current if previous is None else previous), None
        elif kind == "load":
            folder = write_folder(tmp_path / "load", with_rows("close_prices", text))
            assert load(folder, database_url, "--max-shrink", "100%") == 0
            current, previous = rows, current
        else:
            code = load(write_folder(tmp_path / "day", {"close_prices": text}), database_url, "--append")
            assert code == (2 if current is None else 0)
            if current is not None:
                current, previous = {**current, **rows}, current
        found = query(database_url, "SELECT isin, close_price::int FROM close_prices ORDER BY isin")
        assert found == sorted((current or {}).items())
        count = query(database_url, "SELECT row_count FROM reference_snapshots WHERE table_name = 'close_prices'")
        assert count == ([] if current is None else [(len(current),)])


def test_the_previous_tables_have_the_columns_of_theirs(database_url: str) -> None:
    columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{}' ORDER BY 1"
    for schema in TABLES:
        kept = query(database_url, columns.format(f"previous_{schema.table}"))
        assert [column for column in kept if column[0] != "is_added_key"] == query(
            database_url, columns.format(schema.table)
        )
