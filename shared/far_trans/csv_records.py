"""One CSV record at a time out of a buffer, with quoting as in RFC 4180; for the rows that are not plain."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A longer record is rejected, so that memory stays bounded; the longest published one has 761 bytes.
MAX_RECORD_BYTES = 1 << 20

_FIELD = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\r?\n)')
# Whether more bytes could still complete the field: an open quote, or one that may be the first half of a pair.
_OPEN_FIELD = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+(?:"\r?)?|[^",\r\n]*+\r?)\Z')


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


def read_record(buffer: bytes, start: int, *, at_end: bool) -> CsvRecord | None:
    """Return the record that begins at `start`, or None where the buffer holds only a part of it.

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
    fault = _name_fault(buffer, position, is_open=is_open)
    return CsvRecord(newline + 1 if newline >= 0 else limit, fault=fault, is_cut=newline < 0)


def _name_fault(buffer: bytes, position: int, *, is_open: bool) -> str:
    is_quoted = buffer[position : position + 1] == b'"'
    if is_open:
        return "a quote is not closed" if is_quoted else f"the line is longer than {MAX_RECORD_BYTES} bytes"
    return "text follows a closing quote" if is_quoted else "a quote or carriage return inside a field"
