"""Load the published FAR-Trans tables into Postgres: python FAR-Trans/script.py [--data DIR] [--append] [--check]

Every file is checked before any table is touched, then all six tables are replaced at once. --append adds the rows of
the files that are there, each in place of the rows with its key and date. --undo restores what the last load or append
replaced.
Exit codes: 0 every row is loaded, or --check finds that a load would be accepted; 1 some rows were rejected, within the
limit (the rejects file says why), the others are loaded; 2 nothing was touched (a file is missing, truncated or not as
published, a limit is exceeded, or the database cannot be used); 3 not known (the connection was lost at the very end):
all six tables are new or none is.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("psycopg2", "rich")

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from shared.errors import CommitUnknown, DatabaseUnavailable, LoadRefused, RecommenderError, ReferenceDataInvalid
from shared.far_trans.clean_rows import Reject
from shared.far_trans.limits import (
    CheckedFile,
    add_change_options,
    add_limit_options,
    change_arguments,
    check_limits,
    limit_arguments,
    limits_of,
)
from shared.far_trans.loading import FileAccess, append_folder, check_append, check_folder, load_folder
from shared.far_trans.source_files import SourceFile, Step, check_files
from shared.far_trans.store import PostgresReferenceStore
from shared.transport_checks import environment_database_url

if TYPE_CHECKING:
    from _csv import Writer

REPOSITORY = Path(__file__).resolve().parent.parent
COMPOSE = "compose"  # what script/running_system.py prints
LOADED, SOME_REJECTED, UNTOUCHED, UNKNOWN = range(4)
REJECTS_FILE_NAME = "far_trans.rejects.csv"
MAX_REJECTS_CHARACTERS = 1 << 26
_MAX_WARNING_CHARACTERS = 2_000
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_DATABASE_HELP = "default: DATABASE_URL, else that of the running demo, else that of docker compose"
_WARNING, _REFUSED, _FAILED = "[yellow]warning:[/] ", "[red]refused:[/] ", "[red]failed:[/] "


def main(arguments: Sequence[str] | None = None) -> int:
    """Load one folder and return the exit code."""
    options = parse_arguments(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not options.database_url:
        options.database_url = find_database()
    if options.database_url == COMPOSE:
        return load_in_compose(options, console=console)
    if not options.database_url:
        console.print("No system of this clone runs: start one (make demo, or docker compose up --build -d), or")
        console.print("say where the database is: DATABASE_URL or --database-url postgresql://user@host:port/name")
        return UNTOUCHED
    try:
        if options.undo is not None:
            return undo(options, console=console)
        return (check if options.check else load)(options, console=console)
    except (RecommenderError, OSError) as error:
        return report_failure(error, rejects_path=options.rejects, console=console)


def find_database() -> str:
    """Return the address of the running demo's database, COMPOSE, or nothing."""
    command = [sys.executable, "-m", "script.running_system"]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def load_in_compose(options: argparse.Namespace, *, console: Console) -> int:
    """Do the same inside the network of docker compose, where alone its database is reached; return the exit code."""
    try:
        if options.undo is None:
            check_files(options.data, only_present=options.append)
    except (RecommenderError, OSError) as error:
        return report_failure(error, rejects_path=options.rejects, console=console)
    folder = str(options.data.resolve())
    command = ["docker", "compose", "run", "--rm", "load"]
    command += [*limit_arguments(options), *change_arguments(options)]
    shown = f"DATA_DIR={shlex.quote(folder)} {shlex.join(command)}"
    _print(console, "", f"The database is that of docker compose: {shown}")
    return subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "DATA_DIR": folder}, check=False).returncode


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return data, database_url, rejects and the limits; DATABASE_URL is the default address."""
    # argparse, not Typer: script/demo.py and script/first_data.py have the options of the limits too.
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder, rejects = Path(__file__).parent, Path(REJECTS_FILE_NAME)
    parser.add_argument("--data", type=Path, default=folder, help="folder with the CSV files (default: this one)")
    parser.add_argument("--database-url", help=_DATABASE_HELP)
    parser.add_argument("--rejects", type=Path, default=rejects, help="file for invalid rows (default: %(default)s)")
    add_change_options(parser)
    add_limit_options(parser)
    options = parser.parse_args(arguments)
    try:
        options.database_url = options.database_url or environment_database_url()
    except ValueError as error:
        parser.error(str(error))
    return options


def load(options: argparse.Namespace, *, console: Console) -> int:
    """Replace the six tables by the files of the folder, or append those that are there; return the exit code."""
    sources = find_files(options, console=console)
    change = append_folder if options.append else load_folder
    with _opened(options, sources, console=console) as (store, access):
        loaded = change(sources, store=store, limits=limits_of(options), access=access)
        _tidy(store, [file.table for file in loaded], appended=options.append, console=console)
    return report(loaded, rejects_path=options.rejects, console=console)


def check(options: argparse.Namespace, *, console: Console) -> int:
    """Do everything but load or append, and print what they would do; return the exit code."""
    sources = find_files(options, console=console)
    check_sources, column = (check_append, "rows to append") if options.append else (check_folder, "rows after a load")
    with _opened(options, sources, console=console) as (store, access):
        checked = check_sources(sources, store=store, limits=limits_of(options), access=access)
        rows_now = store.count_rows()
    summary = Table("table", "rows now", column, "rejected")
    for file in checked:
        summary.add_row(file.table, f"{rows_now[file.table]:,}", f"{file.row_count:,}", f"{file.rejected_count:,}")
    console.print(summary)
    if any(file.rejected_count for file in checked):
        _print(console, "", f"{options.rejects} says which rows would not be loaded and why.")
    console.print("Checked only: a load would be accepted. The database is as it was.")
    return LOADED


def undo(options: argparse.Namespace, *, console: Console) -> int:
    """Restore the previous rows of the tables, or print what would be restored; return the exit code."""
    with PostgresReferenceStore.connect(options.database_url, read_only=options.check) as store:
        found, rows_now = store.fetch_undoable(options.undo), store.count_rows()
        missing = [table for table in options.undo if table not in {snapshot.table for snapshot in found}]
        if missing or not found:
            raise LoadRefused(f"there is nothing to undo{' in ' if missing else ''}{', '.join(missing)}")
        files = [CheckedFile(snapshot.source, snapshot.table, snapshot.row_count) for snapshot in found]
        check_limits(files, row_counts=rows_now, limits=replace(limits_of(options), max_shrink=1.0))
        summary = Table("table", "undone", "rows now", "rows before it", "loaded from")
        for snapshot in found:
            counts = (f"{rows_now[snapshot.table]:,}", f"{snapshot.row_count:,}")
            summary.add_row(snapshot.table, snapshot.kind, *counts, escape(make_printable(snapshot.source)))
        if not options.check:
            with store.replacement():
                store.restore(found)
            _tidy(store, [snapshot.table for snapshot in found], appended=False, console=console)
    console.print(summary)
    if options.check:
        console.print("Checked only: an undo would be accepted. The database is as it was.")
    return LOADED


def _tidy(store: PostgresReferenceStore, tables: Sequence[str], *, appended: bool, console: Console) -> None:
    try:
        store.tidy(tables, appended=appended)
    except DatabaseUnavailable as error:
        _print(console, _WARNING, f"the data are loaded, but old rows still take space: {error}")


def find_files(options: argparse.Namespace, *, console: Console) -> list[SourceFile]:
    """Return the files of the folder; print a warning for missing ones and one for all ignored columns."""
    sources = check_files(options.data, only_present=options.append)
    if any(source.path and source.path.resolve() == options.rejects.resolve() for source in sources):
        raise ReferenceDataInvalid(f"{options.rejects} is one of the files to load: name another rejects file")
    for schema in (source.schema for source in sources if source.path is None):
        _print(console, _WARNING, f"{schema.file_name} is missing: table {schema.table} will be empty")
    if ignored := [source for source in sources if source.path and source.ignored_columns]:
        names = [f"{source.path.name}: {', '.join(source.ignored_columns)}" for source in ignored if source.path]
        _print(console, _WARNING, f"ignored columns: {'; '.join(names)}"[:_MAX_WARNING_CHARACTERS])
    return sources


@contextmanager
def _opened(
    options: argparse.Namespace, sources: Sequence[SourceFile], *, console: Console
) -> Iterator[tuple[PostgresReferenceStore, FileAccess]]:
    """Connect to the database; show progress while files are read, and write the rejects file."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with (
        PostgresReferenceStore.connect(options.database_url, read_only=options.check) as store,
        RejectsFile(options.rejects) as rejects,
        Progress(TextColumn("{task.description:<22}"), *columns, console=console) as progress,
    ):
        yield store, FileAccess(rejects.add, _open_with(progress, sources))


def _open_with(progress: Progress, sources: Sequence[SourceFile]) -> Callable[[Path, Step], BinaryIO]:
    """Return a function that opens a file and shows the bytes read: one line for the check, one for each table."""
    total = sum(source.size_bytes for source in sources)
    check = progress.add_task("check of all rows", total=total)

    def open_file(path: Path, step: Step) -> BinaryIO:
        if step == "check":
            return progress.open(path, "rb", buffering=0, task_id=check, total=total)
        return progress.open(path, "rb", buffering=0, description=path.stem)

    return open_file


def report_failure(error: Exception, *, rejects_path: Path, console: Console) -> int:
    """Print the error and what it means for the database; return the exit code."""
    is_refused = isinstance(error, LoadRefused)
    _print(console, _REFUSED if is_refused else _FAILED, str(error))
    if isinstance(error, CommitUnknown):
        console.print("The connection was lost at the very end: all six tables are new or none is. Load again.")
        console.print("After --append or --undo: all tables that it changes. Repeat it: that has no second effect.")
        return UNKNOWN
    if is_refused and rejects_path.exists():
        _print(console, "", f"{rejects_path} lists the rejected rows.")
    console.print("Nothing was loaded; the database is as it was.")
    return UNTOUCHED


def report(loaded: Sequence[CheckedFile], *, rejects_path: Path, console: Console) -> int:
    """Print the rows of each table, and where the rejected ones are; return the exit code."""
    summary = Table("table", "rows", "rejected")
    for file in loaded:
        summary.add_row(file.table, f"{file.row_count:,}", f"{file.rejected_count:,}")
    console.print(summary)
    if empty := [file.table for file in loaded if file.row_count == 0]:
        _print(console, _WARNING, f"no rows: {', '.join(empty)}")
    rejected_count = sum(file.rejected_count for file in loaded)
    if not rejected_count:
        return LOADED
    _print(console, "", f"{rejected_count:,} rows were not loaded; {rejects_path} says which and why.")
    return SOME_REJECTED


def _print(console: Console, mark: str, message: str) -> None:
    """Print a message that may quote a file: markup and control characters in it have no effect."""
    console.print(mark + escape(make_printable(message)))


class RejectsFile(ExitStack):
    """A context manager; the file of an earlier run is removed, a new one is made by the first reject only.

    `max_characters` bounds the file: its last line then says that more rows were rejected.
    """

    def __init__(self, path: Path, *, max_characters: int = MAX_REJECTS_CHARACTERS) -> None:
        super().__init__()
        self._path = path
        self._left = max_characters
        self._writer: Writer | None = None

    def __enter__(self) -> Self:
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self._path.parent} for the rejects file")
        self._path.unlink(missing_ok=True)
        return self

    def add(self, reject: Reject) -> None:
        """Write one line; bytes that are no UTF-8, and control characters other than a line end, appear as \\xNN."""
        if self._left < 0:
            return
        if self._writer is None:
            self._writer = csv.writer(self.enter_context(self._path.open("w", encoding="utf-8", newline="")))
            self._writer.writerow(("file", "line", "reason", "row"))
        row = make_printable(reject.raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace"))
        self._left -= len(row) + len(reject.reason)
        full = ("", "", "more rows were rejected: this file is full", "")
        self._writer.writerow(full if self._left < 0 else (reject.file_name, reject.line_number, reject.reason, row))


def make_printable(text: str) -> str:
    """Return the text with each control character, other than a line end, written as an escape."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


if __name__ == "__main__":
    sys.exit(main())
