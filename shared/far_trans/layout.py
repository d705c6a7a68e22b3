"""The header of one CSV file: which column of the table each field of a row belongs to, or why it is no such file."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

from shared.errors import ReferenceDataInvalid
from shared.far_trans.schema import Column, TableSchema

# A longer header is refused; the longest published one has 97 bytes.
MAX_HEADER_BYTES = 10_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN_CHARACTERS = 300
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
DELIMITERS = {";": "semicolon", "\t": "tab", "|": "vertical bar"}
_WIDE_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_FILE_TYPES = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: export it as CSV",
    b"\x1f\x8b": "compressed: gzip files are read if their name ends with .csv.gz",
}


@dataclass(frozen=True)
class Layout:
    """The columns of a file in its order, None where one is ignored; `ignored` has the names of those."""

    schema: TableSchema
    columns: tuple[Column | None, ...]
    ignored: tuple[str, ...] = ()

    @property
    def is_published(self) -> bool:
        """Whether a row of the file has exactly the columns of the table, in their order."""
        return self.columns == self.schema.columns

    @cached_property
    def _positions(self) -> tuple[int, ...]:
        return tuple(self.columns.index(column) for column in self.schema.columns)

    def pick(self, fields: Sequence[str]) -> list[str]:
        """Return the fields of the table's columns, in their order, of a row with all columns of the file."""
        return [fields[position] for position in self._positions]

    def arrange_plain_rows(self, rows: bytes) -> bytes:
        """Return rows without quotes with the columns of the table only, in their order."""
        if self.is_published:
            return rows
        pick = itemgetter(*self._positions)
        return b"".join(b",".join(pick(line.split(b","))) + b"\n" for line in rows.splitlines())


def parse_header(line: bytes, schema: TableSchema) -> Layout:
    """Return the layout that this first line gives; order and case of the names do not matter.

    Raises ReferenceDataInvalid, without the bytes of the line, where it is no text, and with them where a column is
    missing or named twice, or the delimiter is another one.
    """
    refuse_binary(line, schema.file_name)
    text = line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    if len(line) >= MAX_HEADER_BYTES:
        raise _other_header(schema, f"it is longer than {MAX_HEADER_BYTES} bytes")
    if "\r" in text:
        raise _other_header(schema, "the lines end with CR alone, LF or CR LF is needed")
    if not text.isascii() and re.search(r"[\udc80-\udcff]", text):
        raise _other_header(schema, "it is not UTF-8")
    names = _split_names(text, ",")
    columns = {column.csv_name.lower(): column for column in schema.columns}
    layout = tuple(columns.get(name.lower()) for name in names)
    if fault := _find_header_fault(layout, schema, text=text):
        shown = f"\n  expected {schema.header}\n  found    {text[:_SHOWN_CHARACTERS]}"
        raise _other_header(schema, fault + shown)
    return Layout(schema, layout, tuple(name for name, column in zip(names, layout, strict=True) if column is None))


def _split_names(text: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([text], delimiter=delimiter), [""])]


def _other_header(schema: TableSchema, fault: str) -> ReferenceDataInvalid:
    return ReferenceDataInvalid(f"{schema.file_name}: the header is not as published: {fault}")


def _find_header_fault(layout: Sequence[Column | None], schema: TableSchema, *, text: str) -> str | None:
    counts = Counter(column.csv_name for column in layout if column)
    missing = [column.csv_name for column in schema.columns if column.csv_name not in counts]
    if missing and (delimiter := _find_delimiter(text, schema)):
        return f"the fields are separated by {delimiter}, a comma is needed"
    if missing:
        return f"no column {', '.join(missing)}"
    doubled = [name for name, count in counts.items() if count > 1]
    return f"more than one column {', '.join(doubled)}" if doubled else None


def _find_delimiter(text: str, schema: TableSchema) -> str | None:
    """Return the name of another delimiter that separates at least two published names."""
    published = {column.csv_name.lower() for column in schema.columns}
    for delimiter, name in DELIMITERS.items():
        if len(published & {one.lower() for one in _split_names(text, delimiter)}) >= 2:
            return name
    return None


def refuse_binary(start: bytes, file_name: str) -> None:
    """Raise ReferenceDataInvalid where these first bytes of a file, at most its header, are no text of one byte a unit.

    The message shows none of them.
    """
    for mark, name in _WIDE_MARKS.items():
        if start.startswith(mark):
            raise ReferenceDataInvalid(f"{file_name} is {name} text: save it as UTF-8")
    for magic, meaning in _FILE_TYPES.items():
        if start.startswith(magic):
            raise ReferenceDataInvalid(f"{file_name} is binary: it is {meaning}")
    if _is_utf_16(start):
        raise ReferenceDataInvalid(f"{file_name} is UTF-16 text: save it as UTF-8")
    if _CONTROL.search(start.decode("latin-1")):
        raise ReferenceDataInvalid(f"{file_name} is binary: its first line holds control characters")


def _is_utf_16(start: bytes) -> bool:
    """Return whether every second byte is NUL, as in UTF-16 without a mark."""
    halves = start[: len(start) // 2 * 2][::2], start[1::2]
    return len(start) >= 4 and any(not any(half) and other.strip(b"\0") for half, other in (halves, halves[::-1]))
