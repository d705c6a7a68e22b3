"""The reference tables in Postgres, as FAR-Trans/script.py writes them: COPY, one transaction per table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, create_engine, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError

from shared.adapters.tables import reference_snapshots
from shared.adapters.urls import sqlalchemy_url
from shared.errors import DatabaseUnavailable, ReferenceDataInvalid
from shared.far_trans import TABLES, TableSchema
from shared.reference_data.loading import RowSource

_LOADER_LOCK = 0x4641525F54524E53  # "FAR_TRNS": one loader at a time
_LOCK_TIMEOUT = "60s"
_READ_BYTES = 1 << 18


class PostgresReferenceStore:
    """One session that holds the loader's lock; made by `connect`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def connect(cls, database_url: str) -> Iterator[Self]:
        """Connect, check that the tables exist, and keep other loaders out. Raises DatabaseUnavailable."""
        arguments = {"connect_timeout": 10, "application_name": "far-trans-loader"}
        try:
            engine = create_engine(sqlalchemy_url(database_url), connect_args=arguments)
        except (ValueError, ArgumentError) as error:
            raise DatabaseUnavailable("the database URL must be like postgresql://user@host:port/name") from error
        try:
            with _translated(), engine.connect() as connection:
                store = cls(connection)
                store._check()
                yield store
        finally:
            engine.dispose()

    def _check(self) -> None:
        connection = self._connection
        with connection.begin():
            names = [schema.table for schema in TABLES] + [reference_snapshots.name]
            missing = [name for name in names if connection.scalar(text("SELECT to_regclass(:n)"), {"n": name}) is None]
            if missing:
                raise DatabaseUnavailable(
                    f"the database has no table {', '.join(missing)}: run python -m shared.migrations first"
                )
            if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOADER_LOCK}):
                raise DatabaseUnavailable("another loader is at work on this database: wait for it, then repeat")

    def replace_table(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        """Replace the table by these rows, all or nothing; readers wait meanwhile, and see the old or the new table."""
        with _translated(), self._connection.begin():
            self._connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
            self._connection.execute(text(f"TRUNCATE {schema.table}"))
            taken = self._copy(schema, rows)
            if taken != rows.row_count:
                raise ReferenceDataInvalid(f"{rows.row_count} rows were sent, the database took {taken}")
            self._note_snapshot(schema, rows, source=source)
            self._connection.execute(text(f"ANALYZE {schema.table}"))

    def _copy(self, schema: TableSchema, rows: RowSource) -> int:
        columns = ", ".join(column.name for column in schema.columns)
        statement = f"COPY {schema.table} ({columns}) FROM STDIN (FORMAT text, DELIMITER ',', NULL '')"
        driver_connection = self._connection.connection.driver_connection
        assert isinstance(driver_connection, psycopg2.extensions.connection)
        with driver_connection.cursor() as cursor:
            cursor.execute("SET LOCAL client_encoding = 'UTF8'")
            # It needs no readline, whatever its stub says.
            cursor.copy_expert(statement, _BlockReader(iter(rows)), size=_READ_BYTES)  # type: ignore[arg-type]
            return cursor.rowcount

    def _note_snapshot(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        values = {"row_count": rows.row_count, "rejected_count": rows.rejected_count, "source": source}
        statement = insert(reference_snapshots).values(table_name=schema.table, **values)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["table_name"], set_={**values, "loaded_at": func.now()})
        )


class _BlockReader:
    """What copy_expert reads from: one block each time, of whatever size (psycopg2 sends what it gets)."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, size: int) -> bytes:
        return next(self._blocks, b"")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's exceptions into ours."""
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnavailable(f"the database: {str(cause).strip()}") from error
