"""Replace the reference tables by one folder of published files: first check all files, then load one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from shared.errors import ReferenceDataInvalid
from shared.far_trans import TABLES, TableSchema
from shared.reference_data.clean_rows import BLOCK_BYTES, MAX_RAW_BYTES, CleanRows, Reject, check_header


class RowSource(Protocol):
    """Blocks of rows for COPY; the counts are right once it has been iterated over."""

    row_count: int
    rejected_count: int

    def __iter__(self) -> Iterator[bytes]: ...


class ReferenceStore(Protocol):
    """Where the reference tables live."""

    def replace_table(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        """Replace the table by these rows, all or nothing, and note the counts and the source of the snapshot.

        Whatever `rows` raises leaves the table as it was.
        """


@dataclass(frozen=True)
class SourceFile:
    """A checked file of the folder; `path` None where an optional one is missing."""

    schema: TableSchema
    path: Path | None
    size_bytes: int


@dataclass(frozen=True)
class LoadedTable:
    """What became of one file."""

    schema: TableSchema
    row_count: int
    rejected_count: int


def check_files(directory: Path) -> list[SourceFile]:
    """Return the six files in loading order. Raises ReferenceDataInvalid with every fault."""
    sources: list[SourceFile] = []
    faults: list[str] = []
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
            raise ReferenceDataInvalid(f"{schema.file_name} ends inside a line: it is truncated")
        return SourceFile(schema, path, stream.tell())


def load_table(
    source: SourceFile,
    *,
    store: ReferenceStore,
    on_reject: Callable[[Reject], None],
    open_file: Callable[[Path], BinaryIO] = lambda path: path.open("rb"),
    block_bytes: int = BLOCK_BYTES,
) -> LoadedTable:
    """Replace the table of this file by its valid rows; a missing file empties it.

    Memory does not grow with the file.
    """
    if source.path is None:
        store.replace_table(source.schema, _NoRows(), source="")
        return LoadedTable(source.schema, 0, 0)
    with open_file(source.path) as stream:
        rows = CleanRows(stream, source.schema, on_reject=on_reject, block_bytes=block_bytes)
        store.replace_table(source.schema, rows, source=str(source.path.resolve()))
    return LoadedTable(source.schema, rows.row_count, rows.rejected_count)


@dataclass
class _NoRows:
    row_count: int = 0
    rejected_count: int = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(())
