"""The loader's legs: the loader, and the whole command, beside a bare DELETE, COPY and VACUUM of the same rows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg2

from script.local.service_processes import REPOSITORY
from script.speed.legs import Leg, alternate
from shared.far_trans.loading import FileAccess, load_table
from shared.far_trans.source_files import SourceFile, check_files
from shared.far_trans.store import PostgresReferenceStore
from shared.identifiers import latest_date

LOAD_TO_COPY = 0.9
_FIRST_LIMIT = "COPY and VACUUM without checks"
_LIMIT = "DELETE, COPY and VACUUM without checks; the load keeps the rows before"


def measure_load(data: Path, *, database_url: str, rounds: int) -> list[Leg]:
    """Return the legs of the loader: into empty tables, over loaded ones, and the whole command."""
    sources = check_files(data)
    _, row_count = copy_bare(sources, database_url=database_url)

    def rate(seconds: float) -> float:
        return row_count / seconds

    def bare() -> float:
        return rate(copy_bare(sources, database_url=database_url)[0])

    def first_load() -> float:
        _empty(sources, database_url=database_url)
        return rate(_load(sources, database_url=database_url))

    def first_bare() -> float:
        _empty(sources, database_url=database_url)
        return bare()

    name = f"FAR-Trans load, {row_count:,} rows"
    first = alternate(first_load, first_bare, rounds=rounds)
    loader = alternate(lambda: rate(_load(sources, database_url=database_url)), bare, rounds=rounds)
    command = alternate(lambda: rate(_run_command(data, database_url=database_url)), bare, rounds=rounds)
    return [
        Leg(f"{name} into empty tables", "rows/s", *first, _FIRST_LIMIT, LOAD_TO_COPY),
        Leg(f"{name} over loaded tables", "rows/s", *loader, _LIMIT),
        Leg(f"{name}, the whole command", "rows/s", *command, _LIMIT),
    ]


def _empty(sources: Sequence[SourceFile], *, database_url: str) -> None:
    names = [f"{prefix}{source.schema.table}" for source in sources for prefix in ("", "previous_")]
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(names)}")


def copy_bare(sources: Sequence[SourceFile], *, database_url: str) -> tuple[float, int]:
    """Return seconds and rows of DELETE, a plain COPY of each file, and VACUUM: what psql would do without checks."""
    seconds, row_count = 0.0, 0
    for source in sources:
        if source.path is None:
            continue
        table, columns = source.schema.table, ", ".join(column.name for column in source.schema.columns)
        with closing(psycopg2.connect(database_url)) as connection:
            with connection, connection.cursor() as cursor, source.path.open("rb") as stream:
                started = time.perf_counter()
                cursor.execute(f"DELETE FROM {table}")
                cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv, HEADER)", stream, size=1 << 18)
                row_count += cursor.rowcount
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"VACUUM (ANALYZE, TRUNCATE false) {table}")
            seconds += time.perf_counter() - started
    return seconds, row_count


def _load(sources: Sequence[SourceFile], *, database_url: str) -> float:
    """Return the seconds of the loader, as the command uses it: one transaction for all tables, then VACUUM."""
    access = FileAccess(on_reject=lambda reject: None)
    with PostgresReferenceStore.connect(database_url) as store:
        started = time.perf_counter()
        with store.replacement():
            for source in sources:
                load_table(source, store=store, latest=latest_date(), access=access)
        store.tidy()
        return time.perf_counter() - started


def _run_command(data: Path, *, database_url: str) -> float:
    """Return the seconds of the whole command: Python's start, checks, all six tables, ANALYZE."""
    started = time.perf_counter()
    command = [sys.executable, str(REPOSITORY / "FAR-Trans/script.py"), "--data", str(data)]
    subprocess.run(command, env=os.environ | {"DATABASE_URL": database_url}, check=True, capture_output=True)
    return time.perf_counter() - started
