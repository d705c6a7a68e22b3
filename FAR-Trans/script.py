"""Load the published FAR-Trans tables into Postgres: python FAR-Trans/script.py [--data DIR]

Exit codes: 0 every row is loaded; 1 some rows were rejected (the rejects file says why), the others are loaded;
2 nothing was touched (a file is missing, truncated or not as published, or the database cannot be used);
3 stopped part way: the tables named as done are new, the others are as they were.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from shared.adapters.reference_store import PostgresReferenceStore
from shared.errors import RecommenderError
from shared.reference_data.loading import LoadedTable, SourceFile, check_files, load_table
from shared.reference_data.rejects import RejectsFile

LOADED, SOME_REJECTED, UNTOUCHED, PART_WAY = range(4)
REJECTS_FILE_NAME = "far_trans.rejects.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Load one folder and return the exit code."""
    options = parse_arguments(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not options.database_url:
        console.print("Say where the database is: DATABASE_URL or --database-url postgresql://user@host:port/name")
        return UNTOUCHED
    loaded: list[LoadedTable] = []
    try:
        sources = check_files(options.data)
        warn_of_missing(sources, console=console)
        with (
            PostgresReferenceStore.connect(options.database_url) as store,
            RejectsFile(options.rejects) as rejects,
            build_progress(console) as progress,
        ):
            for source in sources:
                loaded.append(_load(source, store=store, rejects=rejects, progress=progress))
    except (RecommenderError, OSError) as error:
        return report_failure(error, loaded, console=console)
    return report(loaded, rejects_path=options.rejects, console=console)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return data, database_url and rejects; the database's address comes from the environment by default."""
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
        help=f"rows that were not loaded (default: {REJECTS_FILE_NAME})",
    )
    return parser.parse_args(arguments)


def warn_of_missing(sources: Sequence[SourceFile], *, console: Console) -> None:
    """Say which optional files are not there, and that their tables become empty."""
    for source in sources:
        if source.path is None:
            console.print(
                f"[yellow]warning:[/] {source.schema.file_name} is missing: table {source.schema.table} will be empty"
            )


def build_progress(console: Console) -> Progress:
    """Return a progress display in bytes read, one line a table."""
    return Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _load(
    source: SourceFile, *, store: PostgresReferenceStore, rejects: RejectsFile, progress: Progress
) -> LoadedTable:
    task = progress.add_task(source.schema.table, total=source.size_bytes)

    def open_with_progress(path: Path) -> BinaryIO:
        return progress.open(path, "rb", buffering=0, task_id=task)

    return load_table(source, store=store, on_reject=rejects.add, open_file=open_with_progress)


def report_failure(error: Exception, loaded: Sequence[LoadedTable], *, console: Console) -> int:
    """Say what failed and what that leaves in the database."""
    console.print("[red]failed:[/]", escape(str(error)))
    if not loaded:
        console.print("Nothing was loaded; the database is as it was.")
        return UNTOUCHED
    done = ", ".join(table.schema.table for table in loaded)
    console.print(f"Stopped part way: {done} are loaded; the other tables are as they were. Mend it and load again.")
    return PART_WAY


def report(loaded: Sequence[LoadedTable], *, rejects_path: Path, console: Console) -> int:
    """Print the rows of each table, and where the rejected ones are."""
    summary = Table("table", "rows", "rejected")
    for table in loaded:
        summary.add_row(table.schema.table, f"{table.row_count:,}", f"{table.rejected_count:,}")
    console.print(summary)
    rejected_count = sum(table.rejected_count for table in loaded)
    if not rejected_count:
        return LOADED
    console.print(f"{rejected_count:,} rows were not loaded; {rejects_path} says which and why.")
    return SOME_REJECTED


if __name__ == "__main__":
    sys.exit(main())
