"""What the files of loader tests use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg2

from shared.far_trans.schema import TABLES
from tests.far_trans_files import NUMBERED_ROWS, SOUND_ROWS, load_command, write_folder

LOADER = load_command("script")
TABLE_NAMES = [schema.table for schema in TABLES]


def load(folder: Path, database_url: str, *more: str) -> int:
    return int(LOADER.main(["--data", str(folder), "--database-url", database_url, *more]))


def query(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def count_rows(database_url: str) -> dict[str, int]:
    return {name: query(database_url, f"SELECT count(*) FROM {name}")[0][0] for name in TABLE_NAMES}


def with_rows(table: str, *rows: str) -> dict[str, str]:
    return {**SOUND_ROWS, table: "\n".join(rows)}


def rows_of(table: str, first: int, count: int) -> str:
    return "\n".join(NUMBERED_ROWS[table].format(number) for number in range(first, first + count))


def write_rows(folder: Path, *, first: int = 0, count: int = 10) -> Path:
    """Write the six files with this many rows each."""
    return write_folder(folder, {table: rows_of(table, first, count) for table in TABLE_NAMES})


def read_all(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of the six tables and of their snapshots."""
    return {
        name: query(database_url, f"SELECT * FROM {name} ORDER BY 1, 2, 3")
        for name in [*TABLE_NAMES, "reference_snapshots"]
    }
