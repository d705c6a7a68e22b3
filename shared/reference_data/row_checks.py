"""What makes a row valid, twice: a fast pattern for runs of plain valid rows, and a check that gives reasons.

The pattern accepts only rows that the check accepts too; whatever it does not recognise (quotes, leap days, long
numbers, control characters, ...) is decided by the check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date

from shared.far_trans import Column, TableSchema

# Required texts are keys: Postgres cannot index values of more than 2,704 bytes.
MAX_KEY_CHARACTERS = 200

# No control characters, quotes, commas or backslashes, so that such bytes mean the same in CSV and to COPY.
_PLAIN = rb" !#-+\--\[\]-~\x80-\xff"
_PLAIN_TEXT = rb"[%b]{0,1000}+" % _PLAIN
_PLAIN_KEY = rb"[%b][%b]{0,63}+" % (_PLAIN[1:], _PLAIN)
_PLAIN_DATE = (
    rb"(?:19|20)[0-9]{2}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    rb"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_PLAIN_AMOUNT = rb"[0-9]{1,25}+(?:\.[0-9]{0,25}+)?"
_PLAIN_NUMBER = rb"-?" + _PLAIN_AMOUNT

_BLANKS = " \t\r\n"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_BYTE_ESCAPED = re.compile(r"[\udc80-\udcff]")


def build_plain_rows_pattern(schema: TableSchema) -> re.Pattern[bytes]:
    """Return a pattern that matches, from the start of a row, as many plain valid rows as follow each other."""
    row = b",".join(_plain_field(column) for column in schema.columns)
    # Not "(?:...)*+": before Python 3.11.5 a possessive group that fails part way leaves its match inside a row.
    return re.compile(rb"(?>(?:%b\r?\n)*)" % row)


def _plain_field(column: Column) -> bytes:
    if column.allowed:
        field = b"(?:%b)" % b"|".join(re.escape(value.encode()) for value in column.allowed)
    elif column.type == "text":
        return _PLAIN_KEY if column.required else _PLAIN_TEXT
    else:
        field = {"date": _PLAIN_DATE, "number": _PLAIN_NUMBER, "non_negative": _PLAIN_AMOUNT}[column.type]
    return b"(?:%b)" % field if column.required else b"(?:%b)?" % field


def find_fault(fields: Sequence[str], schema: TableSchema) -> str | None:
    """Return why this row cannot be loaded, or None; undecodable bytes come as surrogates (surrogateescape)."""
    if len(fields) != len(schema.columns):
        return f"expected {len(schema.columns)} columns, found {len(fields)}"
    for value, column in zip(fields, schema.columns, strict=True):
        fault = _find_field_fault(value, column)
        if fault:
            return f"{column.csv_name} {fault}"
    return None


def _find_field_fault(value: str, column: Column) -> str | None:
    if column.required and not value.strip(_BLANKS):
        return "is empty"
    if not value:
        return None
    if _BYTE_ESCAPED.search(value):
        return "is not valid UTF-8"
    if "\0" in value:
        return "holds a NUL byte"
    if column.allowed and value not in column.allowed:
        return f"is none of {', '.join(column.allowed)}"
    if column.type == "text":
        too_long = column.required and len(value) > MAX_KEY_CHARACTERS
        return f"is longer than {MAX_KEY_CHARACTERS} characters" if too_long else None
    return _find_date_fault(value) if column.type == "date" else _find_number_fault(value, column)


def _find_date_fault(value: str) -> str | None:
    if not _DATE.fullmatch(value):
        return "is not a date like 2018-01-02"
    try:
        date.fromisoformat(value)
    except ValueError:
        return "is no day of the calendar"
    return None


def _find_number_fault(value: str, column: Column) -> str | None:
    match = _NUMBER.fullmatch(value)
    if not match:
        return "is not a finite number"
    number = float(value)
    # A number that only rounds to zero is an error to Postgres.
    if not math.isfinite(number) or (number == 0 and re.search("[1-9]", match[1])):
        return "is out of range"
    if column.type == "non_negative" and number < 0:
        return "is negative"
    return None
