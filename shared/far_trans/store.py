"""The reference tables in Postgres, as FAR-Trans/script.py writes them: DELETE and COPY in one transaction for all.

Old rows are deleted, not truncated: readers are never blocked, and each statement sees the old rows or the new ones.
The rows that the last load or append removed are kept in tables of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date
from typing import Any, Self

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from shared.errors import CommitUnknown, DatabaseUnavailable, ReferenceDataInvalid
from shared.far_trans.clean_rows import RowBlock
from shared.far_trans.loading import RowSource
from shared.far_trans.previous_rows import (
    NOTE_REPLACEMENT,
    PreviousSnapshot,
    fetch_undoable,
    move_all_rows,
    move_replaced_rows,
    next_change_id,
    restore_rows,
)
from shared.far_trans.schema import TABLES, TableSchema
from shared.identifiers import latest_date
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.tables import previous_snapshots, reference_snapshots

_LOADER_LOCK = 0x4641525F54524E53  # "FAR_TRNS": one loader at a time
_READ_BYTES = 1 << 18
_TABLE_NAMES = tuple(schema.table for schema in TABLES)
_LEAVE_OUT_ERASED = """
DELETE FROM {table} AS row WHERE EXISTS (
    SELECT FROM erased_customers AS gone WHERE gone.customer_digest = customer_digest(row.customer_id))
"""
_WRITTEN_TABLES = (
    *_TABLE_NAMES,
    *(f"previous_{name}" for name in _TABLE_NAMES),
    reference_snapshots.name,
    previous_snapshots.name,
)


class PostgresReferenceStore:
    """One session that holds the loader's lock; made by `connect`."""

    def __init__(self, connection: Connection, *, lock_timeout_seconds: float) -> None:
        self._connection = connection
        self._lock_timeout_seconds = lock_timeout_seconds
        self._change_id = 0

    @classmethod
    @contextmanager
    def connect(
        cls, database_url: str, *, lock_timeout_seconds: float = 60.0, read_only: bool = False
    ) -> Iterator[Self]:
        """Connect, check that the tables exist, and keep other loaders out. Raises DatabaseUnavailable.

        `read_only`: the session cannot change anything, and waits for no other loader.
        """
        settings = {"default_transaction_read_only": "on" if read_only else "off"}
        try:
            engine = build_engine(
                database_url,
                application_name="far-trans-loader",
                tcp_user_timeout_seconds=0,
                session_settings=settings,
            )
        except (ValueError, ArgumentError) as error:
            raise DatabaseUnavailable("the database URL must be like postgresql://user@host:port/name") from error
        try:
            with _translated(), engine.connect() as connection:
                with connection.begin():
                    _check_tables(connection)
                    if not read_only and not connection.scalar(text(f"SELECT pg_try_advisory_lock({_LOADER_LOCK})")):
                        raise DatabaseUnavailable(
                            "another loader is at work on this database: wait for it, then repeat"
                        )
                try:
                    yield cls(connection, lock_timeout_seconds=lock_timeout_seconds)
                finally:
                    # Explicitly: the server ends a closed session only some moments later.
                    with suppress(SQLAlchemyError), connection.begin():
                        connection.execute(text(f"SELECT pg_advisory_unlock({_LOADER_LOCK})"))
        finally:
            engine.dispose()

    def fetch_today(self) -> date:
        """Return the day (UTC) by the database's clock, which also dates snapshots.

        Raises ReferenceDataInvalid where a snapshot is dated later than tomorrow: then this clock is wrong, and it
        would reject rows that are right.
        """
        with _translated(), self._connection.begin():
            today: date = self._connection.scalar(text("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date"))
            newest = self._connection.scalar(select(func.max(reference_snapshots.c.loaded_at)))
        if newest is not None and newest.astimezone(UTC).date() > latest_date(today):
            raise ReferenceDataInvalid(
                f"the clock of the database says {today}, but the newest snapshot was loaded at {newest:%Y-%m-%d %H:%M}"
                ": set the clock right, then load again"
            )
        return today

    def count_rows(self) -> Mapping[str, int]:
        """Return how many rows each reference table has now."""
        with _translated(), self._connection.begin():
            fetch = self._connection.scalar
            return {name: fetch(text(f"SELECT count(*) FROM {name}")) or 0 for name in _TABLE_NAMES}

    @contextmanager
    def replacement(self) -> Iterator[None]:
        """One transaction for all `replace_table` within; raises CommitUnknown if its outcome is unknown.

        Waits for whoever changes these tables (a migration, for instance), at most for the lock timeout.
        """
        with _translated(), self._connection.begin() as transaction:
            milliseconds = round(self._lock_timeout_seconds * 1000)
            self._connection.execute(text(f"SET LOCAL lock_timeout = {milliseconds}"))
            # All locks at once and before the first change; readers, and a trainer's ACCESS SHARE, never conflict.
            self._connection.execute(text(f"LOCK TABLE {', '.join(_WRITTEN_TABLES)} IN ROW EXCLUSIVE MODE"))
            self._change_id = next_change_id(self._connection)
            yield
            try:
                transaction.commit()
            except DBAPIError as error:
                raise CommitUnknown(f"the database: {str(error.orig).strip()}") from error

    def replace_table(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        """Replace the table by these rows and store the snapshot; readers see the old rows until the end."""
        with _translated():
            move_all_rows(self._connection, schema, change_id=self._change_id)
            self._take(schema, rows, into=schema.table)
            self._store_snapshot(schema, row_count=rows.row_count, rejected_count=rows.rejected_count, source=source)

    def append_table(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        """Replace the rows with the keys of these rows by them, and store the snapshot; the table must be loaded."""
        appended = f"appended_{schema.table}"
        with _translated():
            self._connection.execute(text(f"CREATE TEMP TABLE {appended} (LIKE {schema.table}) ON COMMIT DROP"))
            self._take(schema, rows, into=appended)
            erased_count = self._leave_out_erased(schema, appended)
            self._connection.execute(text(f"ANALYZE {appended}"))
            removed_count = move_replaced_rows(self._connection, schema, appended=appended, change_id=self._change_id)
            names = ", ".join(schema.column_names)
            self._connection.execute(text(f"INSERT INTO {schema.table} ({names}) SELECT {names} FROM {appended}"))
            row_count = reference_snapshots.c.row_count + (rows.row_count - erased_count - removed_count)
            self._store_snapshot(schema, row_count=row_count, rejected_count=rows.rejected_count, source=source)

    def fetch_loaded(self) -> frozenset[str]:
        """Return the tables that a load filled, or left empty because its file was missing."""
        with _translated(), self._connection.begin():
            return frozenset(self._connection.scalars(select(reference_snapshots.c.table_name)))

    def fetch_undoable(self, tables: Sequence[str]) -> list[PreviousSnapshot]:
        """Return what an undo of these tables restores; without names, of those of the newest load or append."""
        with _translated(), self._connection.begin():
            return fetch_undoable(self._connection, tables)

    def restore(self, snapshots: Sequence[PreviousSnapshot]) -> None:
        """Put the previous rows of these tables back, within a `replacement` only; what was current is not kept."""
        with _translated():
            for schema in TABLES:
                for snapshot in snapshots:
                    if snapshot.table == schema.table:
                        restore_rows(self._connection, schema, kind=snapshot.kind)

    def _leave_out_erased(self, schema: TableSchema, appended: str) -> int:
        """Remove customers that were erased; a trigger does so in the reference tables, not in this one."""
        if "customer_id" not in schema.column_names:
            return 0
        return self._connection.execute(text(_LEAVE_OUT_ERASED.format(table=appended))).rowcount

    def _take(self, schema: TableSchema, rows: RowSource, *, into: str) -> None:
        taken = self._copy(schema, rows, into=into)
        if taken != rows.row_count:
            raise ReferenceDataInvalid(f"{rows.row_count} rows were sent, the database took {taken}")

    def _store_snapshot(self, schema: TableSchema, **values: Any) -> None:
        values |= {"loaded_at": func.clock_timestamp()}
        if isinstance(values["row_count"], int):
            statement = insert(reference_snapshots).values(table_name=schema.table, **values)
            self._connection.execute(statement.on_conflict_do_update(index_elements=["table_name"], set_=values))
        else:
            table = reference_snapshots
            self._connection.execute(table.update().where(table.c.table_name == schema.table).values(**values))
        self._connection.execute(text(NOTE_REPLACEMENT), {"tables": [schema.table]})

    def tidy(self, tables: Sequence[str] = _TABLE_NAMES, *, appended: bool = False) -> None:
        """Give the space of the old rows back to these tables and refresh the planner's statistics.

        Sets the time of their snapshots again: a list made from old rows just before the commit is then older.
        `appended`: few rows changed, so only the kept rows of the generation before are tidied up.
        """
        with _translated():
            with self._connection.begin():
                names = reference_snapshots.c.table_name
                statement = reference_snapshots.update().where(names.in_(tables))
                self._connection.execute(statement.values(loaded_at=func.clock_timestamp()))
                self._connection.execute(text(NOTE_REPLACEMENT), {"tables": list(tables)})
            driver_connection = self._driver_connection()
            driver_connection.autocommit = True  # VACUUM runs in no transaction
            try:
                with driver_connection.cursor() as cursor:
                    for name in tables:
                        cursor.execute(f"VACUUM (TRUNCATE false) previous_{name}")
                        if not appended:
                            cursor.execute(f"VACUUM (ANALYZE, TRUNCATE false) {name}")
            finally:
                driver_connection.autocommit = False

    def _copy(self, schema: TableSchema, rows: RowSource, *, into: str) -> int:
        texts = (_number_rows(block) if schema.has_line_numbers else block.text for block in rows)
        columns = ", ".join(schema.column_names)
        statement = f"COPY {into} ({columns}) FROM STDIN (FORMAT text, DELIMITER ',', NULL '')"
        with self._driver_connection().cursor() as cursor:
            cursor.execute("SET LOCAL client_encoding = 'UTF8'")
            # It needs no readline, whatever its stub says.
            cursor.copy_expert(statement, _BlockReader(texts), size=_READ_BYTES)  # type: ignore[arg-type]
            return cursor.rowcount

    def _driver_connection(self) -> psycopg2.extensions.connection:
        driver_connection = self._connection.connection.driver_connection
        assert isinstance(driver_connection, psycopg2.extensions.connection)
        return driver_connection


def _check_tables(connection: Connection) -> None:
    missing = [name for name in _WRITTEN_TABLES if connection.scalar(text(f"SELECT to_regclass('{name}')")) is None]
    if missing:
        raise DatabaseUnavailable(
            f"the database has no table {', '.join(missing)}: run python -m shared.migrations first"
        )


def _number_rows(block: RowBlock) -> bytes:
    lines = block.text.split(b"\n")
    lines.pop()  # the text ends with a line end
    return b"".join(map(b"%d,%b\n".__mod__, enumerate(lines, start=block.first_line)))


class _BlockReader:
    """A file for copy_expert: each read returns one block of any size (psycopg2 sends what it gets)."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, size: int) -> bytes:
        return next(self._blocks, b"")


@contextmanager
def _translated() -> Iterator[None]:
    """Translate errors of the database; a value that it rejects makes the files invalid."""
    try:
        with translated():
            yield
    except DatabaseUnavailable as error:
        if not isinstance(_driver_error(error.__cause__), psycopg2.errors.LockNotAvailable):
            raise
        raise DatabaseUnavailable("another session changes the reference tables: wait for it, then repeat") from error
    except (DBAPIError, psycopg2.Error) as error:
        raise ReferenceDataInvalid(f"the database: {str(_driver_error(error)).strip()}") from error


def _driver_error(error: BaseException | None) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error
