"""Whether an invalid row is written in another format, which the whole file then has: encoding, dates, numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shared.far_trans.layout import DELIMITERS
from shared.far_trans.schema import Column

# Day or month first, with any of three separators; the published format has the year first.
_DAY_FIRST = re.compile(r"\d{1,2}([/.-])\d{1,2}\1(\d{4}|\d{2})(?:[ T].*)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:[. \u00a0]\d{3})+|\d*),\d+", re.ASCII)
_WHOLE_PAIR = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_NUMBERS = frozenset({"number", "amount", "price"})


def find_other_encoding(raw: bytes) -> str | None:
    """Return what these bytes of a row hold that no text in UTF-8 holds, or None."""
    if b"\0" in raw:
        return "binary data"
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"
    return None


def find_other_format(raw: bytes, fields: Sequence[str], columns: Sequence[Column | None]) -> str | None:
    """Return the format that this invalid row has instead of the published one, or None where it is just wrong.

    `columns` are those of the file. Of the row the result quotes only what looks like a date or a number.
    """
    if len(fields) != len(columns):
        return _find_other_delimiter(raw, len(columns)) or _find_bare_decimal_comma(fields, columns)
    return next(filter(None, map(_find_other_value, columns, fields)), None)


def _find_other_value(column: Column | None, value: str) -> str | None:
    if column is not None and column.type == "date" and _DAY_FIRST.fullmatch(value):
        return f"dates with the day or the month first, like {value[:10]}"
    if column is not None and column.type in _NUMBERS and _DECIMAL_COMMA.fullmatch(value):
        return f"decimal commas, like {value[:20]}"
    return None


def _find_other_delimiter(raw: bytes, column_count: int) -> str | None:
    for delimiter, name in DELIMITERS.items():
        if raw.count(delimiter.encode()) >= column_count - 1:
            return f"fields separated by {name}"
    return None


def _find_bare_decimal_comma(fields: Sequence[str], columns: Sequence[Column | None]) -> str | None:
    """Return the fault of a row in which commas of numbers without quotes make fields of their own."""
    found, position = None, 0
    for place, column in enumerate(columns):
        pair = fields[position : position + 2]
        is_number = column is not None and column.type in _NUMBERS
        if is_number and len(fields) - position > len(columns) - place and _WHOLE_PAIR.fullmatch(",".join(pair)):
            found = found or f"decimal commas, like {','.join(pair)[:20]}"
            position += 1
        position += 1
    return found if position == len(fields) else None
