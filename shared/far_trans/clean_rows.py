"""The valid rows of one CSV file as blocks for COPY (text format), the others as rejects; in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import BinaryIO

from shared.errors import ReferenceDataInvalid
from shared.far_trans.layout import MAX_HEADER_BYTES, parse_header
from shared.far_trans.other_formats import find_other_encoding, find_other_format
from shared.far_trans.row_checks import build_plain_rows_pattern, find_count_fault, find_fault
from shared.far_trans.schema import Column, TableSchema
from shared.identifiers import latest_date

BLOCK_BYTES = 1 << 18
MAX_RAW_BYTES = 10_000
# A longer record is rejected, so that memory stays bounded; the longest published one has 761 bytes.
MAX_RECORD_BYTES = 1 << 20
# Valid texts hold no line ends (row_checks), so only these two mean something to COPY.
_COPY_ESCAPES = str.maketrans({"\\": "\\\\", ",": "\\,"})
_FIELD = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\r?\n)')
# Whether more bytes could still complete the field: an open quote, or one that may be the first half of a pair.
_OPEN_FIELD = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+(?:"\r?)?|[^",\r\n]*+\r?)\Z')


@dataclass(frozen=True)
class Reject:
    """A row that was not loaded: where it begins (line 1 is the header), why, and its first 10,000 bytes.

    `other_format` says that the row is written as the published files never are, so that the whole file may be.
    """

    file_name: str
    line_number: int
    reason: str
    raw: bytes
    other_format: str | None = None


@dataclass(frozen=True)
class RowBlock:
    """Valid rows of consecutive lines, as COPY takes them; `first_line` is the line of the first row in its file."""

    first_line: int
    text: bytes


@dataclass(frozen=True)
class CsvRecord:
    """Bytes `start` to `end` of the buffer: either fields, or a fault of the quoting.

    With a fault, `end` is the end of the first line, so that one stray quote costs one line and not the file.
    `is_cut`: that line goes on behind `end`.
    """

    end: int
    fields: tuple[bytes, ...] = ()
    fault: str | None = None
    is_cut: bool = False


class CleanRows:
    """Iterates over blocks of valid rows, as `COPY ... (FORMAT text, DELIMITER ',', NULL '')` takes them.

    Empty fields are NULL. Columns may be in any order, and others beside them are left out. Rejected rows go to
    `on_reject` in the order of the file; a date after `latest` (default: tomorrow) is one of their reasons. Raises
    ReferenceDataInvalid where the header lacks a column or the file ends inside a row.
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
        self.first_reject: Reject | None = None
        self.first_other_format: Reject | None = None
        self._stream = stream
        self._schema = schema
        self._on_reject = on_reject
        self._block_bytes = block_bytes
        self._latest = latest or latest_date()
        self._line_number = 2
        self._ends_with_reject = False

    def __iter__(self) -> Iterator[RowBlock]:
        self._layout = parse_header(self._stream.readline(MAX_HEADER_BYTES), self._schema)
        self._plain_rows = build_plain_rows_pattern(self._schema, columns=self._layout.columns, latest=self._latest)
        rest = b""
        while block := self._stream.read(self._block_bytes):
            rest = yield from self._clean(rest + block)
        yield from self._clean_end(rest)

    def _clean_end(self, rest: bytes) -> Iterator[RowBlock]:
        """Yield the rows of the last bytes; their last line needs no end if it is a valid row."""
        is_ended = rest.endswith(b"\n")
        if rest := (yield from self._clean(rest, at_end=is_ended)):
            yield from self._clean(rest if is_ended else rest + b"\n", at_end=True)
            if self._ends_with_reject and not is_ended:
                raise truncated(self._schema)

    def _clean(self, buffer: bytes, *, at_end: bool = False) -> Generator[RowBlock, None, bytes]:
        """Yield the valid rows of this buffer; return its last, unfinished record."""
        position = plain_end = 0
        while position < len(buffer):
            if plain_end <= position and (match := self._plain_rows.match(buffer, position)):
                plain_end = match.end()
            first_line = self._line_number
            if (end := _find_decodable_end(buffer, position, plain_end)) > position:
                rows = self._take_plain_rows(buffer[position:end])
            else:
                record = read_record(buffer, position, at_end=at_end)
                if record is None:
                    break
                end = record.end
                rows = self._take_record(record, raw=buffer[position:end])
                if record.is_cut:
                    buffer, end, plain_end = self._skip_line(buffer[end:]), 0, 0
            if rows:
                yield RowBlock(first_line, rows)
            position = end
        return buffer[position:]

    def _skip_line(self, buffer: bytes) -> bytes:
        """Read on to the end of the line that the buffer begins in; return what follows it."""
        while b"\n" not in buffer:
            buffer = self._stream.read(self._block_bytes)
            if not buffer:
                raise truncated(self._schema)
        self._line_number += 1
        return buffer[buffer.index(b"\n") + 1 :]

    def _take_plain_rows(self, rows: bytes) -> bytes:
        row_count = rows.count(b"\n")
        self._ends_with_reject = False
        self.row_count += row_count
        self._line_number += row_count
        return self._layout.arrange_plain_rows(rows.replace(b"\r\n", b"\n") if b"\r" in rows else rows)

    def _take_record(self, record: CsvRecord, *, raw: bytes) -> bytes:
        line_number = self._line_number
        self._line_number += raw.count(b"\n")
        if record.fields == (b"",):  # a blank line
            return b""
        fields = [field.decode("utf-8", "surrogateescape") for field in record.fields]
        row, fault = self._check(fields)
        other = None if record.is_cut else find_other_encoding(raw)
        if fault := record.fault or fault or (other and f"an ignored column holds {other}"):
            other = other or find_other_format(raw, fields, self._layout.columns)
            self._reject(Reject(self._schema.file_name, line_number, fault, raw[:MAX_RAW_BYTES], other))
            return b""
        self._ends_with_reject = False
        self.row_count += 1
        return (",".join(field.translate(_COPY_ESCAPES) for field in row) + "\n").encode()

    def _check(self, fields: Sequence[str]) -> tuple[list[str], str | None]:
        """Return the fields of the table's columns, and why they cannot be loaded."""
        if fault := find_count_fault(fields, self._layout.columns):
            return [], fault
        row = list(map(_join_lines, self._layout.pick(fields), self._schema.columns))
        return row, find_fault(row, self._schema, latest=self._latest)

    def _reject(self, reject: Reject) -> None:
        self._ends_with_reject = True
        self.rejected_count += 1
        self.first_reject = self.first_reject or reject
        if reject.other_format:
            self.first_other_format = self.first_other_format or reject
        self._on_reject(reject)


def _join_lines(value: str, column: Column) -> str:
    """Return an optional text with a blank for each line break in it: a stored text is one line."""
    if column.type != "text" or column.required:
        return value
    return value.replace("\r\n", " ").replace("\n", " ")


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


def read_record(buffer: bytes, start: int, *, at_end: bool) -> CsvRecord | None:
    """Return the record that begins at `start` (quoting as in RFC 4180), or None where the buffer holds only its start.

    `at_end`: no bytes follow the buffer.
    """
    limit = min(len(buffer), start + MAX_RECORD_BYTES)
    fields: list[bytes] = []
    position = start
    while match := _FIELD.match(buffer, position, limit):
        quoted, plain, separator = match.groups()
        fields.append(plain if quoted is None else quoted.replace(b'""', b'"'))
        position = match.end()
        if separator != b",":
            return CsvRecord(position, tuple(fields))
    is_open = _OPEN_FIELD.match(buffer, position, limit) is not None
    is_whole = at_end or limit - start == MAX_RECORD_BYTES
    if is_open and not is_whole:
        return None
    newline = buffer.find(b"\n", start, limit)
    if newline < 0 and not is_whole:
        return None
    is_quoted = buffer[position : position + 1] == b'"'
    if is_open:
        fault = "a quote is not closed" if is_quoted else f"the line is longer than {MAX_RECORD_BYTES} bytes"
    else:
        fault = "text follows a closing quote" if is_quoted else "a quote or carriage return inside a field"
    return CsvRecord(newline + 1 if newline >= 0 else limit, fault=fault, is_cut=newline < 0)


def truncated(schema: TableSchema) -> ReferenceDataInvalid:
    """Return the error for a file whose last line is no whole row."""
    return ReferenceDataInvalid(f"{schema.file_name} ends inside a line: it is truncated")
