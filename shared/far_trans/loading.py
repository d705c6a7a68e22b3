"""Replace the reference tables by one folder of published files: check every file, then load all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

from shared.errors import ReferenceDataInvalid
from shared.far_trans.clean_rows import BLOCK_BYTES, CleanRows, Reject, RowBlock
from shared.far_trans.limits import CheckedFile, LoadLimits, check_limits
from shared.far_trans.schema import TableSchema
from shared.far_trans.source_files import SourceFile, Step, open_text
from shared.identifiers import latest_date


class RowSource(Protocol):
    """Blocks of rows for COPY; the counts are right once it has been iterated over."""

    row_count: int
    rejected_count: int

    def __iter__(self) -> Iterator[RowBlock]: ...


class ReferenceStore(Protocol):
    """Stores the reference tables."""

    def fetch_today(self) -> date:
        """Return the day (UTC) by the store's clock. Raises ReferenceDataInvalid if that clock must be wrong."""

    def count_rows(self) -> Mapping[str, int]:
        """Return how many rows each table has now."""

    def replacement(self) -> AbstractContextManager[None]:
        """Return one transaction: its end makes all tables that it replaced visible at once; an error, none of them."""

    def replace_table(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        """Replace the table by these rows and store the counts and the source; within a `replacement` only.

        An error that `rows` raises ends the replacement without effect.
        """


@dataclass(frozen=True)
class FileAccess:
    """How the files are read: `open_file` is called once for each step, `on_reject` gets every rejected row once."""

    on_reject: Callable[[Reject], None]
    open_file: Callable[[Path, Step], BinaryIO] = lambda path, step: path.open("rb")
    block_bytes: int = BLOCK_BYTES


def load_folder(
    sources: Sequence[SourceFile], *, store: ReferenceStore, limits: LoadLimits, access: FileAccess
) -> list[CheckedFile]:
    """Replace all tables by the valid rows of these files, or none of them; a missing file empties its table.

    Each file is read twice: the first pass checks the rows and touches no table. Raises LoadRefused if a
    limit is exceeded, and ReferenceDataInvalid. Memory does not grow with the files.
    """
    latest = latest_date(store.fetch_today())
    checked = check_folder(sources, store=store, limits=limits, access=access, latest=latest)
    with store.replacement():
        for source, file in zip(sources, checked, strict=True):
            found = load_table(source, store=store, latest=latest, access=access)
            if found != (file.row_count, file.rejected_count):
                raise ReferenceDataInvalid(f"{file.file_name} changed while it was loaded")
    return checked


def check_folder(
    sources: Sequence[SourceFile],
    *,
    store: ReferenceStore,
    limits: LoadLimits,
    access: FileAccess,
    latest: date | None = None,
) -> list[CheckedFile]:
    """Return what a load would make of these files; touches no table. Raises what `load_folder` raises."""
    latest = latest or latest_date(store.fetch_today())
    checked = [check_rows(source, latest=latest, access=access) for source in sources]
    check_limits(checked, row_counts=store.count_rows(), limits=limits)
    return checked


def check_rows(source: SourceFile, *, latest: date, access: FileAccess) -> CheckedFile:
    """Return what a load would make of this file; touches no table."""
    with _open_rows(source, "check", latest=latest, access=access) as rows:
        for _ in rows:
            pass
    return CheckedFile(
        source.schema.file_name,
        source.schema.table,
        row_count=rows.row_count,
        rejected_count=rows.rejected_count,
        first_reject=rows.first_reject,
        first_other_format=rows.first_other_format,
    )


def load_table(source: SourceFile, *, store: ReferenceStore, latest: date, access: FileAccess) -> tuple[int, int]:
    """Replace the table of this file by its valid rows; return how many were loaded and how many were rejected."""
    with _open_rows(source, "load", latest=latest, access=access) as rows:
        store.replace_table(source.schema, rows, source=str(source.path.resolve()) if source.path else "")
    return rows.row_count, rows.rejected_count


@contextmanager
def _open_rows(source: SourceFile, step: Step, *, latest: date, access: FileAccess) -> Iterator[CleanRows]:
    """Yield the rows of a file, none if it is missing; only the check reports rejects."""
    on_reject = access.on_reject if step == "check" else lambda _: None
    clean = partial(CleanRows, schema=source.schema, on_reject=on_reject, latest=latest, block_bytes=access.block_bytes)
    if source.path is None:
        yield clean(BytesIO(f"{source.schema.header}\n".encode()))
        return
    with access.open_file(source.path, step) as stream, open_text(stream, source.path) as text:
        yield clean(text)
