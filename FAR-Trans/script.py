"""Load the published FAR-Trans tables into Postgres: python FAR-Trans/script.py [--data DIR]

Every file is checked before any table is touched, then all six tables are replaced at once.
Exit codes: 0 every row is loaded; 1 some rows were rejected, within the limit (the rejects file says why), the others
are loaded; 2 nothing was touched (a file is missing, truncated or not as published, a limit is exceeded, or the
database cannot be used); 3 not known (the connection was lost at the very end): all six tables are new or none is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from shared.errors import CommitUnknown, DatabaseUnavailable, LoadRefused, RecommenderError, ReferenceDataInvalid
from shared.far_trans.limits import CheckedFile, add_limit_options, limits_of
from shared.far_trans.loading import FileAccess, SourceFile, Step, check_files, load_folder
from shared.far_trans.rejects import RejectsFile, make_printable
from shared.far_trans.store import PostgresReferenceStore

LOADED, SOME_REJECTED, UNTOUCHED, UNKNOWN = range(4)
REJECTS_FILE_NAME = "far_trans.rejects.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Load one folder and return the exit code."""
    options = parse_arguments(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not options.database_url:
        console.print("Say where the database is: DATABASE_URL or --database-url postgresql://user@host:port/name")
        return UNTOUCHED
    try:
        loaded = load(options, console=console)
    except (RecommenderError, OSError) as error:
        return report_failure(error, rejects_path=options.rejects, console=console)
    return report(loaded, rejects_path=options.rejects, console=console)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return data, database_url, rejects and the limits; DATABASE_URL is the default address."""
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).parent, help="folder with the CSV files (default: this one)"
    )
    parser.add_argument("--database-url", default=os.environ.get("DATABASE_URL"), help="default: DATABASE_URL")
    parser.add_argument(
        "--rejects",
        type=Path,
        default=Path(REJECTS_FILE_NAME),
        help=f"rows that are not valid (default: {REJECTS_FILE_NAME})",
    )
    add_limit_options(parser)
    return parser.parse_args(arguments)


def load(options: argparse.Namespace, *, console: Console) -> list[CheckedFile]:
    """Replace the six tables by the files of the folder, or none; return what was loaded."""
    sources = check_files(options.data)
    if any(source.path and source.path.resolve() == options.rejects.resolve() for source in sources):
        raise ReferenceDataInvalid(f"{options.rejects} is one of the files to load: name another rejects file")
    warn_of_missing(sources, console=console)
    with (
        PostgresReferenceStore.connect(options.database_url) as store,
        RejectsFile(options.rejects) as rejects,
        build_progress(console) as progress,
    ):
        access = FileAccess(rejects.add, _open_with(progress, sources))
        loaded = load_folder(sources, store=store, limits=limits_of(options), access=access)
        try:
            store.tidy()
        except DatabaseUnavailable as error:
            _print(console, "[yellow]warning:[/]", f"the data are loaded, but old rows still take space: {error}")
    return loaded


def warn_of_missing(sources: Sequence[SourceFile], *, console: Console) -> None:
    """Say which optional files are not there, and that they leave their tables empty."""
    for source in sources:
        if source.path is None:
            message = f"{source.schema.file_name} is missing: table {source.schema.table} will be empty"
            _print(console, "[yellow]warning:[/]", message)


def build_progress(console: Console) -> Progress:
    """Return a progress display in bytes read: one line for the check, one for each table."""
    return Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _open_with(progress: Progress, sources: Sequence[SourceFile]) -> Callable[[Path, Step], BinaryIO]:
    total = sum(source.size_bytes for source in sources)
    check = progress.add_task("check of all rows", total=total)

    def open_file(path: Path, step: Step) -> BinaryIO:
        if step == "check":
            return progress.open(path, "rb", buffering=0, task_id=check, total=total)
        return progress.open(path, "rb", buffering=0, description=path.stem)

    return open_file


def report_failure(error: Exception, *, rejects_path: Path, console: Console) -> int:
    """Say what failed and what that leaves in the database."""
    is_refused = isinstance(error, LoadRefused)
    _print(console, "[red]refused:[/]" if is_refused else "[red]failed:[/]", str(error))
    if isinstance(error, CommitUnknown):
        console.print("The connection was lost at the very end: all six tables are new or none is. Load again.")
        return UNKNOWN
    if is_refused and rejects_path.exists():
        _print(console, "", f"{rejects_path} lists the rejected rows.")
    console.print("Nothing was loaded; the database is as it was.")
    return UNTOUCHED


def report(loaded: Sequence[CheckedFile], *, rejects_path: Path, console: Console) -> int:
    """Print the rows of each table, and where the rejected ones are."""
    summary = Table("table", "rows", "rejected")
    for file in loaded:
        summary.add_row(file.table, f"{file.row_count:,}", f"{file.rejected_count:,}")
    console.print(summary)
    if empty := [file.table for file in loaded if file.row_count == 0]:
        _print(console, "[yellow]warning:[/]", f"no rows: {', '.join(empty)}")
    rejected_count = sum(file.rejected_count for file in loaded)
    if not rejected_count:
        return LOADED
    _print(console, "", f"{rejected_count:,} rows were not loaded; {rejects_path} says which and why.")
    return SOME_REJECTED


def _print(console: Console, mark: str, message: str) -> None:
    """Print a message that may quote a file: nothing in it is markup, and a terminal obeys none of it."""
    console.print(f"{mark} {escape(make_printable(message))}".lstrip())


if __name__ == "__main__":
    sys.exit(main())
