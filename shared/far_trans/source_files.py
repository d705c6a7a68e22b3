"""The files of a folder before any row is read: which are there, plain or compressed, and what their headers say."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, Literal

from shared.errors import ReferenceDataInvalid
from shared.far_trans.layout import MAX_HEADER_BYTES, parse_header
from shared.far_trans.schema import TABLES, TableSchema

Step = Literal["check", "load"]
# A compressed file may hold that much; beyond it, at most so many times its own size (real exports: 5 to 30 times).
FREE_BYTES = 1 << 26
MAX_EXPANSION = 200
_BUFFER_BYTES = 1 << 17


@dataclass(frozen=True)
class SourceFile:
    """A checked file of the folder; `path` None where an optional one is missing. `size_bytes` is its size on disk."""

    schema: TableSchema
    path: Path | None
    size_bytes: int
    ignored_columns: tuple[str, ...] = ()


def check_files(directory: Path) -> list[SourceFile]:
    """Return the six files in loading order. Raises ReferenceDataInvalid with every fault."""
    sources, faults = list[SourceFile](), list[str]()
    for schema in TABLES:
        try:
            sources.append(_check_file(directory, schema))
        except ReferenceDataInvalid as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{schema.file_name} cannot be read: {error.strerror}")
    if faults:
        raise ReferenceDataInvalid("\n".join(faults))
    return sources


def _check_file(directory: Path, schema: TableSchema) -> SourceFile:
    names = [schema.file_name, f"{schema.file_name}.gz"]
    paths = [directory / name for name in names if (directory / name).exists()]
    if not paths and schema.optional:
        return SourceFile(schema, None, 0)
    if not paths:
        raise ReferenceDataInvalid(f"{schema.file_name} is missing in {directory}")
    if len(paths) > 1:
        raise ReferenceDataInvalid(f"{names[0]} and {names[1]} are both in {directory}: remove one")
    return check_source(paths[0], schema)


def check_source(path: Path, schema: TableSchema) -> SourceFile:
    """Return the file with what its header says. Raises ReferenceDataInvalid where that is not as published."""
    with path.open("rb") as stream, open_text(stream, path) as text:
        start = text.read(MAX_HEADER_BYTES)
    header, end, body = start.partition(b"\n")
    layout = parse_header(header + end, schema)
    if b"\0" in body:
        raise ReferenceDataInvalid(f"{path.name} is binary: its first lines hold NUL bytes")
    return SourceFile(schema, path, path.stat().st_size, layout.ignored)


@contextmanager
def open_text(stream: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Yield the bytes of an open file, uncompressed if its name ends with .gz; memory does not grow with the file.

    Reading raises ReferenceDataInvalid where a compressed file is damaged, or expands beyond every real export.
    """
    if path.suffix != ".gz":
        yield stream
        return
    with BufferedReader(_Expanded(stream, path), _BUFFER_BYTES) as text:
        yield text


class _Expanded(RawIOBase):
    """The uncompressed bytes of a gzip file, within the limits of this module."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._file = gzip.GzipFile(fileobj=stream, mode="rb")
        self._name = path.name
        self._left = max(FREE_BYTES, MAX_EXPANSION * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            count = self._file.readinto(buffer)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ReferenceDataInvalid(f"{self._name} is no whole gzip file: {error}") from error
        self._left -= count
        if self._left < 0:
            raise ReferenceDataInvalid(
                f"{self._name} expands to more than {MAX_EXPANSION} times its size: decompress it first if it is sound"
            )
        return count
