"""The loader against a bare DELETE, COPY and VACUUM of the same rows in the same tables, in one run (make bench).

Exit code 1 where the loader has less than half the rate of the bare COPY. Uses a database of its own, on the server
that DATABASE_URL names, else on a local one.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("psycopg2", "typer")

import psycopg2
import typer
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy.engine import make_url

from script.local.postgres import LocalPostgres, execute_statement
from script.terminal import build_app
from shared.far_trans.loading import FileAccess, load_table
from shared.far_trans.schema import TableSchema
from shared.far_trans.source_files import SourceFile, check_files
from shared.far_trans.store import PostgresReferenceStore
from shared.far_trans.synthetic import synthesize
from shared.identifiers import latest_date
from shared.postgres.migrations.upgrade import upgrade_database

LEAST_RATIO = 0.5
_LOADER = Path(__file__).resolve().parent.parent / "FAR-Trans" / "script.py"


@dataclass(frozen=True)
class Timing:
    """Seconds for one file, the median of the rounds."""

    schema: TableSchema
    row_count: int
    bare_seconds: float
    loader_seconds: float


app = build_app(None)


@app.command(help=__doc__)
def bench(
    data: Annotated[Path | None, typer.Option(help="folder with the six files (default: an invented set)")] = None,
    scale: Annotated[float, typer.Option(help="of the invented set")] = 1.0,
    rounds: Annotated[int, typer.Option(help="the median counts")] = 3,
) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, bench_database() as database_url:
        if data is None:
            data = Path(folder)
            synthesize(data, scale)
        timings = measure(check_files(data), database_url=database_url, rounds=rounds)
        command_seconds = measure_command(data, database_url=database_url, rounds=rounds)
    raise typer.Exit(report(timings, command_seconds=command_seconds))


def measure(sources: Sequence[SourceFile], *, database_url: str, rounds: int) -> list[Timing]:
    """Load every file both ways, by turns; both replace the whole table in one transaction."""
    timings = []
    access = FileAccess(on_reject=lambda reject: None)
    with PostgresReferenceStore.connect(database_url) as store:
        for source in sources:
            bare, loader, row_count = [], [], 0
            for _ in range(rounds):
                seconds, row_count = copy_bare(source, database_url=database_url)
                bare.append(seconds)
                started = time.perf_counter()
                with store.replacement():
                    loaded, _ = load_table(source, store=store, latest=latest_date(), access=access)
                store.tidy()
                loader.append(time.perf_counter() - started)
                if loaded != row_count:
                    raise AssertionError(f"{source.schema.table}: {loaded} rows, COPY took {row_count}")
            timings.append(Timing(source.schema, row_count, median(bare), median(loader)))
    return timings


def copy_bare(source: SourceFile, *, database_url: str) -> tuple[float, int]:
    """Return seconds and rows of DELETE, a plain COPY of the file, and VACUUM: what psql would do without checks."""
    table, columns = source.schema.table, ", ".join(column.name for column in source.schema.columns)
    with closing(psycopg2.connect(database_url)) as connection:
        with connection, connection.cursor() as cursor:
            started = time.perf_counter()
            cursor.execute(f"DELETE FROM {table}")
            if source.path is None:
                return 0.0, 0
            with source.path.open("rb") as stream:
                cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv, HEADER)", stream, size=1 << 18)
            row_count = cursor.rowcount
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM (ANALYZE, TRUNCATE false) {table}")
        return time.perf_counter() - started, row_count


def measure_command(data: Path, *, database_url: str, rounds: int) -> float:
    """Return the seconds of the whole command: Python's start, checks, all six tables, ANALYZE."""
    command = [sys.executable, str(_LOADER), "--data", str(data)]
    environment = os.environ | {"DATABASE_URL": database_url}
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def report(timings: Sequence[Timing], *, command_seconds: float) -> int:
    """Print rates and ratios; the exit code says whether the overall ratio is high enough."""
    table = Table(Column("table", min_width=20), "rows", "bare COPY, rows/s", "loader, rows/s", "ratio")
    for timing in timings:
        table.add_row(timing.schema.table, *_describe(timing.row_count, timing.bare_seconds, timing.loader_seconds))
    row_count = sum(timing.row_count for timing in timings)
    bare = sum(timing.bare_seconds for timing in timings)
    loader = sum(timing.loader_seconds for timing in timings)
    table.add_section()
    table.add_row("all six", *_describe(row_count, bare, loader))
    table.add_row("the whole command", *_describe(row_count, bare, command_seconds))
    console = Console()
    console.print(table, width=max(console.width, 90))
    return 0 if bare / command_seconds >= LEAST_RATIO else 1


def _describe(row_count: int, bare_seconds: float, loader_seconds: float) -> tuple[str, ...]:
    rates = (f"{row_count / bare_seconds:,.0f}", f"{row_count / loader_seconds:,.0f}")
    return (f"{row_count:,}", *rates, f"{bare_seconds / loader_seconds:.2f}")


@contextmanager
def bench_database() -> Iterator[str]:
    """Yield the URL of a new database with all tables; it is dropped afterwards."""
    with ExitStack() as stack:
        server_url = os.environ.get("DATABASE_URL")
        if not server_url:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-postgres-"))
            server_url = stack.enter_context(LocalPostgres(folder)).url()
        name = f"bench_{uuid.uuid4().hex[:12]}"
        execute_statement(server_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        stack.callback(execute_statement, server_url, f"DROP DATABASE {name} WITH (FORCE)")
        url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
        upgrade_database(url)
        yield url


if __name__ == "__main__":
    app()
