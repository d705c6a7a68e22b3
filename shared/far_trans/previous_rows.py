"""One earlier generation of each reference table: kept by loads and appends, restored by an undo.

Every function runs in the transaction of its caller, who holds the loader's lock. Rows of the reference tables are
deleted and inserted, so readers are never blocked and see the rows before the commit or those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from shared.errors import ReferenceDataInvalid
from shared.far_trans.schema import TableSchema

Kind = Literal["load", "append"]

_LOCK_NOT_AVAILABLE = "55P03"
_KEPT_COUNT = "SELECT kept_count FROM previous_snapshots WHERE table_name = :table"
_KEEP_SNAPSHOT = """
INSERT INTO previous_snapshots
    (table_name, change_id, kind, kept_count, row_count, rejected_count, source, loaded_at, replaced_at)
SELECT table_name, :change_id, :kind, :kept_count, row_count, rejected_count, source, loaded_at, loaded_at
FROM reference_snapshots WHERE table_name = :table
ON CONFLICT (table_name) DO UPDATE SET
    change_id = excluded.change_id, kind = excluded.kind, kept_count = excluded.kept_count,
    row_count = excluded.row_count,
    rejected_count = excluded.rejected_count, source = excluded.source, loaded_at = excluded.loaded_at,
    replaced_at = excluded.replaced_at, undone_at = NULL
"""
# After each change of `loaded_at`, so that a snapshot of an older loader is told apart.
NOTE_REPLACEMENT = """
UPDATE previous_snapshots AS previous SET replaced_at = snapshot.loaded_at
FROM reference_snapshots AS snapshot
WHERE snapshot.table_name = previous.table_name AND previous.table_name = ANY(:tables)
"""
_UNDOABLE = """
SELECT previous.table_name, previous.kind, previous.row_count, previous.source, previous.change_id,
       previous.change_id = max(previous.change_id) OVER () AS is_newest,
       previous.undone_at IS NULL AND previous.replaced_at = snapshot.loaded_at AS is_kept
FROM previous_snapshots AS previous JOIN reference_snapshots AS snapshot USING (table_name)
ORDER BY table_name
"""
_RESTORE_SNAPSHOT = """
WITH restored AS (
    UPDATE reference_snapshots AS snapshot SET row_count = previous.row_count,
        rejected_count = previous.rejected_count, source = previous.source, loaded_at = clock_timestamp()
    FROM previous_snapshots AS previous
    WHERE snapshot.table_name = :table AND previous.table_name = :table
    RETURNING snapshot.loaded_at
)
UPDATE previous_snapshots SET undone_at = restored.loaded_at, replaced_at = restored.loaded_at
FROM restored WHERE table_name = :table
"""


@dataclass(frozen=True)
class PreviousSnapshot:
    """What an undo of a table restores: the rows from `source` before the last load or append (`kind`)."""

    table: str
    kind: Kind
    row_count: int
    source: str


def next_change_id(connection: Connection) -> int:
    """Return a number above that of every change whose previous rows are kept."""
    return int(connection.scalar(text("SELECT coalesce(max(change_id), 0) + 1 FROM previous_snapshots")) or 1)


def move_all_rows(connection: Connection, schema: TableSchema, *, change_id: int) -> None:
    """Empty the table and keep its rows; before the first load there is nothing to keep."""
    _clear(connection, schema)
    names = ", ".join(schema.column_names)
    moved = connection.execute(
        text(
            f"WITH old AS (DELETE FROM {schema.table} RETURNING {names}) "
            f"INSERT INTO previous_{schema.table} ({names}) SELECT {names} FROM old"
        )
    )
    kept = {"table": schema.table, "change_id": change_id, "kind": "load", "kept_count": moved.rowcount}
    connection.execute(text(_KEEP_SNAPSHOT), kept)


def move_replaced_rows(connection: Connection, schema: TableSchema, *, appended: str, change_id: int) -> int:
    """Remove and keep the rows whose key the table `appended` has, and keep its keys; return how many were removed."""
    _clear(connection, schema)
    names, keys = ", ".join(schema.column_names), ", ".join(schema.key)
    returned = ", ".join(f"row.{name}" for name in schema.column_names)
    removed = connection.execute(
        text(
            f"WITH old AS (DELETE FROM {schema.table} AS row USING (SELECT DISTINCT {keys} FROM {appended}) AS new "
            f"WHERE {_same_key(schema)} RETURNING {returned}) "
            f"INSERT INTO previous_{schema.table} ({names}) SELECT {names} FROM old"
        )
    ).rowcount
    added = connection.execute(
        text(f"INSERT INTO previous_{schema.table} ({keys}, is_added_key) SELECT DISTINCT {keys}, true FROM {appended}")
    ).rowcount
    kept = {"table": schema.table, "change_id": change_id, "kind": "append", "kept_count": removed + added}
    connection.execute(text(_KEEP_SNAPSHOT), kept)
    return removed


def fetch_undoable(connection: Connection, tables: Sequence[str]) -> list[PreviousSnapshot]:
    """Return what can be restored of these tables; without names, of those of the newest load or append."""
    rows = connection.execute(text(_UNDOABLE)).all()
    wanted = [row for row in rows if (row.table_name in tables if tables else row.is_newest)]
    return [PreviousSnapshot(row.table_name, row.kind, row.row_count, row.source) for row in wanted if row.is_kept]


def restore_rows(connection: Connection, schema: TableSchema, *, kind: Kind) -> None:
    """Put the kept rows back in place of those that replaced them, and forget them; the snapshot gets a new time.

    Raises ReferenceDataInvalid where kept rows are missing, as in a backup that was made while a load began.
    """
    _check_kept_rows(connection, schema)
    names = ", ".join(schema.column_names)
    if kind == "load":
        connection.execute(text(f"DELETE FROM {schema.table}"))
    else:
        connection.execute(
            text(
                f"DELETE FROM {schema.table} AS row USING previous_{schema.table} AS new "
                f"WHERE new.is_added_key AND {_same_key(schema)}"
            )
        )
    kept = f"SELECT {names} FROM previous_{schema.table} WHERE NOT is_added_key"
    connection.execute(text(f"INSERT INTO {schema.table} ({names}) {kept}"))
    _clear(connection, schema)
    connection.execute(text(_RESTORE_SNAPSHOT), {"table": schema.table})


def _check_kept_rows(connection: Connection, schema: TableSchema) -> None:
    expected = connection.scalar(text(_KEPT_COUNT), {"table": schema.table})
    found = connection.scalar(text(f"SELECT count(*) FROM previous_{schema.table}"))
    if found != expected:
        raise ReferenceDataInvalid(f"{schema.table}: {found} of {expected} kept rows are there: load the files again")


def _clear(connection: Connection, schema: TableSchema) -> None:
    """Forget the kept rows: at once, or row by row while somebody reads them, which a backup does."""
    try:
        with connection.begin_nested():
            connection.execute(text(f"LOCK TABLE previous_{schema.table} IN ACCESS EXCLUSIVE MODE NOWAIT"))
            connection.execute(text(f"TRUNCATE previous_{schema.table}"))
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise
        connection.execute(text(f"DELETE FROM previous_{schema.table}"))


def _same_key(schema: TableSchema) -> str:
    return " AND ".join(f"row.{name} = new.{name}" for name in schema.key)
