"""A load becomes visible at once or not at all: killed loaders, readers meanwhile, locks, a lost connection."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from shared.errors import CommitUnknown, DatabaseUnavailable
from shared.far_trans.clean_rows import RowBlock
from shared.far_trans.limits import LoadLimits
from shared.far_trans.loading import FileAccess, load_folder
from shared.far_trans.schema import TABLES, TRANSACTIONS
from shared.far_trans.source_files import check_files
from shared.far_trans.store import PostgresReferenceStore
from tests.far_trans_files import NUMBERED_ROWS, REPOSITORY
from tests.integration.loading import LOADER, TABLE_NAMES, load, query, read_all, write_rows

pytestmark = pytest.mark.postgres

ANY_ROWS = LoadLimits(max_rejects=1, max_shrink=1)


@pytest.fixture
def folder(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ten rows a table are loaded; its files may be spoilt now."""
    monkeypatch.chdir(tmp_path)
    folder = write_rows(tmp_path / "data")
    assert load(folder, database_url) == 0
    return write_rows(folder, first=100)


KILLED_LOADER = """
import sys, time
from pathlib import Path
from shared.far_trans.store import PostgresReferenceStore
from shared.far_trans.limits import LoadLimits
from shared.far_trans.loading import FileAccess, load_folder
from shared.far_trans.source_files import check_files

folder, url, step, table = sys.argv[1:]

def stop_here():
    print("here", flush=True)
    time.sleep(600)

def open_file(path, now):
    if (now, path.stem) == (step, table):
        stop_here()
    return path.open("rb")

class Store(PostgresReferenceStore):
    def replace_table(self, schema, rows, *, source):
        super().replace_table(schema, rows, source=source)
        if (step, schema.table) == ("replaced", table):
            stop_here()

with Store.connect(url) as store:
    load_folder(check_files(Path(folder)), store=store, limits=LoadLimits(0, 0),
                access=FileAccess(lambda reject: None, open_file))
"""


@pytest.mark.parametrize(
    ("step", "table"),
    [
        ("check", "markets"),
        ("load", "customer_information"),
        ("replaced", "customer_information"),
        ("load", "close_prices"),
        ("replaced", "transactions"),
    ],
)
def test_killed_loader_leaves_every_table_as_it_was(step: str, table: str, folder: Path, database_url: str) -> None:
    before = read_all(database_url)
    loader = subprocess.Popen(
        [sys.executable, "-c", KILLED_LOADER, str(folder), database_url, step, table],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    with loader:
        try:
            assert loader.stdout is not None
            assert loader.stdout.readline() == "here\n"
        finally:
            loader.send_signal(signal.SIGKILL)
    assert read_all(database_url) == before

    wait_for_no_loader(database_url)
    assert load(folder, database_url) == 0
    assert query(database_url, "SELECT count(*) FROM markets WHERE market_id LIKE 'M10_'") == [(10,)]


def wait_for_no_loader(database_url: str) -> None:
    """Wait until the server has ended the session of a killed loader."""
    query(
        database_url,
        "DO $$ BEGIN FOR i IN 1..600 LOOP PERFORM pg_stat_clear_snapshot(); EXIT WHEN NOT EXISTS "
        "(SELECT FROM pg_stat_activity WHERE application_name = 'far-trans-loader' AND datname = current_database()); "
        "PERFORM pg_sleep(0.05); END LOOP; END $$; SELECT 1",
    )


def test_nobody_waits_for_a_load_and_everybody_sees_all_tables_of_one_load(folder: Path, database_url: str) -> None:
    """A reader that would wait for any lock fails at once here."""
    before = read_all(database_url)
    reader = psycopg2.connect(database_url, options="-c lock_timeout=1ms")
    trainer = psycopg2.connect(database_url)
    trainer.set_session(isolation_level="REPEATABLE READ")
    try:
        with trainer.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(reversed(TABLE_NAMES))} IN ACCESS SHARE MODE")
            cursor.execute("SELECT count(*) FROM markets")
        with PostgresReferenceStore.connect(database_url, lock_timeout_seconds=0.001) as store, store.replacement():
            for source in check_files(folder):
                replace(store, source.schema.table)
            assert [len(read_all_by(reader, name)) for name in TABLE_NAMES] == [10] * 6
            assert read_all_by(reader, "markets") == before["markets"]
        assert [read_all_by(reader, name)[0][0] for name in ("close_prices", "asset_information")] == ["NEW", "NEW"]
        assert [read_all_by(trainer, name) for name in TABLE_NAMES] == [before[name] for name in TABLE_NAMES]
    finally:
        reader.close()
        trainer.close()


def replace(store: PostgresReferenceStore, table: str) -> None:
    """Replace the table by one row."""

    class OneRow:
        row_count = 1
        rejected_count = 0

        def __iter__(self) -> Any:
            row = NUMBERED_ROWS[table].format(0).replace("A0", "NEW")
            return iter([RowBlock(2, row.encode() + b"\n")])

    store.replace_table(next(schema for schema in TABLES if schema.table == table), OneRow(), source="test")


def read_all_by(connection: Any, table: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    if connection.isolation_level != psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ:
        connection.commit()
    return rows


def test_lock_of_somebody_who_changes_the_tables_is_a_message_after_a_bounded_wait(
    folder: Path, database_url: str
) -> None:
    before = read_all(database_url)
    # A load that waited for longer would find the lock gone, and end well.
    other = psycopg2.connect(database_url, options="-c idle_in_transaction_session_timeout=20s")
    try:
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE close_prices IN SHARE MODE")  # as CREATE INDEX does
        with (
            pytest.raises(DatabaseUnavailable, match="another session changes the reference tables"),
            PostgresReferenceStore.connect(database_url, lock_timeout_seconds=0.1) as store,
        ):
            load_folder(check_files(folder), store=store, limits=ANY_ROWS, access=FileAccess(lambda reject: None))
        other.rollback()
        assert read_all(database_url) == before
    finally:
        other.close()


def end_the_loader_session(database_url: str) -> None:
    query(
        database_url,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE application_name = 'far-trans-loader' AND datname = current_database()",
    )


def test_connection_that_is_lost_during_the_commit_is_an_outcome_of_its_own(folder: Path, database_url: str) -> None:
    def lose_the_connection() -> None:
        with PostgresReferenceStore.connect(database_url) as store, store.replacement():
            replace(store, TRANSACTIONS.table)
            end_the_loader_session(database_url)

    with pytest.raises(CommitUnknown):
        lose_the_connection()


def test_outcome_that_is_not_known_has_an_exit_code_of_its_own(
    folder: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_folder(*_: object, **__: object) -> None:
        raise CommitUnknown

    monkeypatch.setattr(LOADER, "load_folder", load_folder)
    assert load(folder, database_url) == 3
    assert "all six tables are new or none is" in capsys.readouterr().err


def test_list_made_from_old_rows_just_before_the_commit_is_older_than_the_snapshot(
    folder: Path, database_url: str
) -> None:
    with PostgresReferenceStore.connect(database_url) as store:
        with store.replacement():
            replace(store, "transactions")
            [(list_made_at,)] = query(database_url, "SELECT clock_timestamp()")
        store.tidy()
    assert query(database_url, "SELECT loaded_at FROM reference_snapshots WHERE table_name = 'transactions'") > [
        (list_made_at,)
    ]


def test_load_whose_connection_is_lost_after_the_commit_is_loaded_with_a_warning(
    folder: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tidy = PostgresReferenceStore.tidy

    def lose_the_connection(store: PostgresReferenceStore) -> None:
        end_the_loader_session(database_url)
        tidy(store)

    monkeypatch.setattr(PostgresReferenceStore, "tidy", lose_the_connection)
    assert load(folder, database_url) == 0
    assert "the data are loaded, but old rows still take space" in capsys.readouterr().err
    assert query(database_url, "SELECT count(*) FROM markets WHERE market_id LIKE 'M10_'") == [(10,)]
