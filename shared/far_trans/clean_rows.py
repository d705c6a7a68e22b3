"""The valid rows of one CSV file as blocks for COPY (text format), the others as rejects; in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import BinaryIO

from shared.errors import ReferenceDataInvalid
from shared.far_trans.csv_records import CsvRecord, read_record
from shared.far_trans.row_checks import build_plain_rows_pattern, find_fault
from shared.far_trans.schema import TableSchema
from shared.identifiers import latest_date

BLOCK_BYTES = 1 << 18
MAX_RAW_BYTES = 10_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Valid texts hold no line ends (row_checks), so only these two mean something to COPY.
_COPY_ESCAPES = str.maketrans({"\\": "\\\\", ",": "\\,"})


@dataclass(frozen=True)
class Reject:
    """A row that was not loaded: where it begins (line 1 is the header), why, and its first 10,000 bytes."""

    file_name: str
    line_number: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class RowBlock:
    """Valid rows of consecutive lines, as COPY takes them; `first_line` is the line of the first row in its file."""

    first_line: int
    text: bytes


class CleanRows:
    """Iterates over blocks of valid rows, as `COPY ... (FORMAT text, DELIMITER ',', NULL '')` takes them.

    Empty fields are NULL. Rejected rows go to `on_reject` in the order of the file; a date after `latest` (default:
    tomorrow) is one of their reasons. Raises ReferenceDataInvalid where the header is not as published or the last
    line has no end.
    """

    def __init__(
        self,
        stream: BinaryIO,
        schema: TableSchema,
        *,
        on_reject: Callable[[Reject], None],
        latest: date | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.row_count = 0
        self.rejected_count = 0
        self.bytes_read = 0
        self._stream = stream
        self._schema = schema
        self._on_reject = on_reject
        self._block_bytes = block_bytes
        self._latest = latest or latest_date()
        self._plain_rows = build_plain_rows_pattern(schema, latest=self._latest)
        self._line_number = 1
        self._in_long_line = False

    def __iter__(self) -> Iterator[RowBlock]:
        self._read_header()
        rest = b""
        at_end = False
        while not at_end:
            block = self._stream.read(self._block_bytes)
            self.bytes_read += len(block)
            at_end = not block
            buffer = rest + block
            blocks, position = self._clean(buffer, at_end=at_end)
            rest = buffer[position:]
            yield from blocks
        if rest or self._in_long_line:
            raise ReferenceDataInvalid(f"{self._schema.file_name} ends inside a line: it is truncated")

    def _read_header(self) -> None:
        header = self._stream.readline(MAX_RAW_BYTES)
        self.bytes_read += len(header)
        check_header(header, self._schema)
        self._line_number = 2

    def _clean(self, buffer: bytes, *, at_end: bool) -> tuple[list[RowBlock], int]:
        """Return the valid rows of this buffer for COPY, and where its last, unfinished record begins."""
        blocks: list[RowBlock] = []
        position = plain_end = 0
        while position < len(buffer):
            if self._in_long_line:
                position = self._skip_long_line(buffer, position)
                continue
            if plain_end <= position:
                plain_end = _end_of(self._plain_rows.match(buffer, position))
            first_line = self._line_number
            decodable_end = _find_decodable_end(buffer, position, plain_end)
            if decodable_end > position:
                blocks.append(RowBlock(first_line, self._take_plain_rows(buffer[position:decodable_end])))
                position = decodable_end
                continue
            record = read_record(buffer, position, at_end=at_end)
            if record is None:
                break
            if row := self._take_record(record, raw=buffer[position : record.end]):
                blocks.append(RowBlock(first_line, row))
            position = record.end
        return blocks, position

    def _skip_long_line(self, buffer: bytes, position: int) -> int:
        newline = buffer.find(b"\n", position)
        if newline < 0:
            return len(buffer)
        self._in_long_line = False
        self._line_number += 1
        return newline + 1

    def _take_plain_rows(self, rows: bytes) -> bytes:
        row_count = rows.count(b"\n")
        self.row_count += row_count
        self._line_number += row_count
        return rows.replace(b"\r\n", b"\n") if b"\r" in rows else rows

    def _take_record(self, record: CsvRecord, *, raw: bytes) -> bytes:
        line_number = self._line_number
        self._in_long_line = record.is_cut
        self._line_number += raw.count(b"\n")
        if record.fields == (b"",):  # a blank line
            return b""
        fields = [field.decode("utf-8", "surrogateescape") for field in record.fields]
        fault = record.fault or find_fault(fields, self._schema, latest=self._latest)
        if fault:
            self.rejected_count += 1
            self._on_reject(Reject(self._schema.file_name, line_number, fault, raw[:MAX_RAW_BYTES]))
            return b""
        self.row_count += 1
        return (",".join(field.translate(_COPY_ESCAPES) for field in fields) + "\n").encode()


def check_header(header: bytes, schema: TableSchema) -> None:
    """Raise ReferenceDataInvalid unless this first line names the published columns in their order."""
    expected = ",".join(column.csv_name for column in schema.columns)
    found = header.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n").decode("utf-8", "replace")
    if found.replace('"', "") != expected or not header.endswith(b"\n"):
        raise ReferenceDataInvalid(
            f"{schema.file_name}: the header is not as published\n  expected {expected}\n  found    {found[:300]}"
        )


def _end_of(match: re.Match[bytes] | None) -> int:
    assert match is not None  # the pattern matches zero rows too
    return match.end()


def _find_decodable_end(buffer: bytes, start: int, end: int) -> int:
    """Return the end of the last whole line before the first byte that is not UTF-8."""
    rows = buffer[start:end]
    if rows.isascii():
        return end
    try:
        rows.decode()
    except UnicodeDecodeError as error:
        return start + rows.rfind(b"\n", 0, error.start) + 1
    return end
