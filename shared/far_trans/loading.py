"""Replace the reference tables by one folder of published files: check every file, then load all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from shared.errors import ReferenceDataInvalid
from shared.far_trans.clean_rows import BLOCK_BYTES, MAX_RAW_BYTES, CleanRows, Reject, RowBlock, check_header, truncated
from shared.far_trans.limits import CheckedFile, LoadLimits, check_limits
from shared.far_trans.schema import TABLES, TableSchema
from shared.identifiers import latest_date

Step = Literal["check", "load"]


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
class SourceFile:
    """A checked file of the folder; `path` None where an optional one is missing."""

    schema: TableSchema
    path: Path | None
    size_bytes: int


@dataclass(frozen=True)
class FileAccess:
    """How the files are read: `open_file` is called once for each step, `on_reject` gets every rejected row once."""

    on_reject: Callable[[Reject], None]
    open_file: Callable[[Path, Step], BinaryIO] = lambda path, step: path.open("rb")
    block_bytes: int = BLOCK_BYTES


def check_files(directory: Path) -> list[SourceFile]:
    """Return the six files in loading order. Raises ReferenceDataInvalid with every fault."""
    sources, faults = list[SourceFile](), list[str]()
    for schema in TABLES:
        try:
            sources.append(_check_file(directory / schema.file_name, schema))
        except ReferenceDataInvalid as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{schema.file_name} cannot be read: {error.strerror}")
    if faults:
        raise ReferenceDataInvalid("\n".join(faults))
    return sources


def _check_file(path: Path, schema: TableSchema) -> SourceFile:
    if not path.exists():
        if schema.optional:
            return SourceFile(schema, None, 0)
        raise ReferenceDataInvalid(f"{schema.file_name} is missing in {path.parent}")
    with path.open("rb") as stream:
        check_header(stream.readline(MAX_RAW_BYTES), schema)
        stream.seek(-1, 2)
        if stream.read(1) != b"\n":
            raise truncated(schema)
        return SourceFile(schema, path, stream.tell())


def load_folder(
    sources: Sequence[SourceFile], *, store: ReferenceStore, limits: LoadLimits, access: FileAccess
) -> list[CheckedFile]:
    """Replace all tables by the valid rows of these files, or none of them; a missing file empties its table.

    Each file is read twice: the first pass checks the rows and touches no table. Raises LoadRefused if a
    limit is exceeded, and ReferenceDataInvalid. Memory does not grow with the files.
    """
    latest = latest_date(store.fetch_today())
    checked = [check_rows(source, latest=latest, access=access) for source in sources]
    check_limits(checked, row_counts=store.count_rows(), limits=limits)
    with store.replacement():
        for source, file in zip(sources, checked, strict=True):
            found = load_table(source, store=store, latest=latest, access=access)
            if found != (file.row_count, file.rejected_count):
                raise ReferenceDataInvalid(f"{file.file_name} changed while it was loaded")
    return checked


def check_rows(source: SourceFile, *, latest: date, access: FileAccess) -> CheckedFile:
    """Return what a load would make of this file; touches no table."""
    with _open_rows(source, "check", latest=latest, access=access) as rows:
        for _ in rows:
            pass
    counts = (rows.row_count, rows.rejected_count)
    return CheckedFile(source.schema.file_name, source.schema.table, *counts, rows.first_reject)


def load_table(source: SourceFile, *, store: ReferenceStore, latest: date, access: FileAccess) -> tuple[int, int]:
    """Replace the table of this file by its valid rows; return how many were loaded and how many were rejected."""
    with _open_rows(source, "load", latest=latest, access=access) as rows:
        store.replace_table(source.schema, rows, source=str(source.path.resolve()) if source.path else "")
    return rows.row_count, rows.rejected_count


@contextmanager
def _open_rows(source: SourceFile, step: Step, *, latest: date, access: FileAccess) -> Iterator[CleanRows]:
    """Yield the rows of a file, none if it is missing; only the check reports rejects."""
    header = BytesIO(f"{source.schema.header}\n".encode())
    with access.open_file(source.path, step) if source.path else header as stream:
        on_reject = access.on_reject if step == "check" else lambda _: None
        yield CleanRows(stream, source.schema, on_reject=on_reject, latest=latest, block_bytes=access.block_bytes)
