"""What makes a row valid, twice: a fast pattern for runs of plain valid rows, and a check that gives reasons.

The pattern accepts only rows that the check accepts too. The check decides about all other rows: those with quotes,
leap days, long numbers, most punctuation beyond ASCII and so on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date

from shared.far_trans.schema import Column, TableSchema
from shared.identifiers import (
    CUSTOMER_ID_PATTERN,
    ISIN_PATTERN,
    MAX_KEY_CHARACTERS,
    is_customer_id,
    is_isin,
    is_plain_text,
    latest_date,
)
from shared.number_bounds import MAX_NUMBER, MIN_PRICE

# No control characters, quotes, commas or backslashes, so that such bytes mean the same in CSV and to COPY. C2 and E2
# begin the control characters and line separators beyond ASCII; the check decides about texts that hold those bytes.
_PLAIN = rb" !#-+\--\[\]-~\x80-\xc1\xc3-\xe1\xe3-\xff"
_PLAIN_TEXT = rb"[%b]{0,1000}+" % _PLAIN
_PLAIN_KEY = rb"[%b][%b]{0,63}+" % (_PLAIN[1:], _PLAIN)
_PLAIN_AMOUNT = rb"[0-9]{1,12}+(?:\.[0-9]{0,25}+)?"
_PLAIN_PRICE = rb"(?:[1-9][0-9]{0,11}+(?:\.[0-9]{0,25}+)?|0\.0{0,8}[1-9][0-9]{0,16}+)"
_PLAIN_NUMBER = rb"-?" + _PLAIN_AMOUNT
_PLAIN_FIELDS = {
    "customer_id": CUSTOMER_ID_PATTERN.strip("^$").encode(),
    "isin": ISIN_PATTERN.strip("^$").encode(),
    "number": _PLAIN_NUMBER,
    "amount": _PLAIN_AMOUNT,
    "price": _PLAIN_PRICE,
}
_MONTH_AND_DAY = rb"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_MATCHES_NO_ROW = rb"(?!)"

_BLANKS = " \t\r\n"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_BYTE_ESCAPED = re.compile(r"[\udc80-\udcff]")


def build_plain_rows_pattern(
    schema: TableSchema, *, columns: Sequence[Column | None] | None = None, latest: date | None = None
) -> re.Pattern[bytes]:
    """Return a pattern that matches, from the start of a row, as many plain valid rows as follow each other.

    `columns`: those of the file, None for an ignored one (default: those of the table). `latest`: the last day that a
    date may name (default: tomorrow). No pattern compares two dates, so rows of a table with a period are never plain.
    """
    latest = latest or latest_date()
    row = b",".join(_plain_field(column, latest) if column else _PLAIN_TEXT for column in columns or schema.columns)
    # Not "(?:...)*+": before Python 3.11.5 a possessive group that fails part way leaves its match inside a row.
    return re.compile(rb"(?>(?:%b\r?\n)*)" % (_MATCHES_NO_ROW if schema.period else row))


def _plain_field(column: Column, latest: date) -> bytes:
    if column.allowed:
        field = b"|".join(re.escape(value.encode()) for value in column.allowed)
    elif column.type == "text":
        return _PLAIN_KEY if column.required else _PLAIN_TEXT
    else:
        field = _plain_date(column.earliest, latest) if column.type == "date" else _PLAIN_FIELDS[column.type]
    return b"(?:%b)%b" % (field, b"" if column.required else b"?")


def _plain_date(earliest: date, latest: date) -> bytes:
    """Return a pattern for the days between both; it leaves leap days and the last days of a month to the check."""
    first_year = earliest.year if (earliest.month, earliest.day) == (1, 1) else earliest.year + 1
    years = [b"%04d" % year for year in range(first_year, latest.year)]
    months = [b"%02d" % month for month in range(1, latest.month)]
    days = [b"%02d" % day for day in range(1, min(latest.day, 28) + 1)]
    this_month = rb"%04d-%02d-(?:%b)" % (latest.year, latest.month, b"|".join(days))
    earlier_months = rb"%04d-(?=%b)%b" % (latest.year, _any_of(months), _MONTH_AND_DAY)
    return rb"(?:%b-%b|%b|%b)" % (_any_of(years), _MONTH_AND_DAY, earlier_months, this_month)


def _any_of(numbers: Sequence[bytes]) -> bytes:
    """Return a pattern for consecutive numbers of one length, grouped by all digits but the last."""
    last_digits: dict[bytes, bytes] = {}
    for number in numbers:
        last_digits[number[:-1]] = last_digits.get(number[:-1], b"") + number[-1:]
    return b"(?:%b)" % (b"|".join(b"%b[%b]" % group for group in last_digits.items()) or _MATCHES_NO_ROW)


def find_fault(fields: Sequence[str], schema: TableSchema, *, latest: date | None = None) -> str | None:
    """Return why this row cannot be loaded, or None; undecodable bytes come as surrogates (surrogateescape).

    `latest`: the last day that a date may name (default: tomorrow).
    """
    if fault := find_count_fault(fields, schema.columns):
        return fault
    latest = latest or latest_date()
    values = dict(zip(schema.columns, fields, strict=True))
    for column, value in values.items():
        if fault := _find_field_fault(value, column, latest):
            return f"{column.csv_name} {fault}"
    if schema.period:
        first, last = (column for column in schema.columns if column.csv_name in schema.period)
        if values[first] > values[last]:  # dates of this format compare like the days that they name
            return f"{first.csv_name} is after {last.csv_name}"
    return None


def find_count_fault(fields: Sequence[object], columns: Sequence[object]) -> str | None:
    """Return why a row of these fields is none of a file with these columns, or None."""
    return None if len(fields) == len(columns) else f"expected {len(columns)} columns, found {len(fields)}"


def _find_field_fault(value: str, column: Column, latest: date) -> str | None:
    if not value.strip(_BLANKS) and column.required:
        return "is empty"
    if not value:
        return None
    if column.type == "date":
        return _find_date_fault(value, column.earliest, latest)
    is_text = column.type in ("text", "customer_id", "isin")
    return _find_text_fault(value, column) if is_text else _find_number_fault(value, column)


def _find_text_fault(value: str, column: Column) -> str | None:
    if _BYTE_ESCAPED.search(value):
        return "is not valid UTF-8"
    if not is_plain_text(value):
        return "holds a NUL byte" if "\0" in value else "holds a control character or a line separator"
    if column.allowed and value not in column.allowed:
        return f"is none of {', '.join(column.allowed)}"
    if column.required and len(value) > MAX_KEY_CHARACTERS:
        return f"is longer than {MAX_KEY_CHARACTERS} characters"
    if column.type == "customer_id" and not is_customer_id(value):
        return "is no customer id: 1 to 64 of A-Z, a-z, 0-9, '_', '.', ':', '-', the first one a letter, a digit or '_'"
    is_no_isin = column.type == "isin" and not is_isin(value)
    return "is no ISIN: 1 to 20 of A-Z, a-z, 0-9" if is_no_isin else None


def _find_date_fault(value: str, earliest: date, latest: date) -> str | None:
    if not _DATE.fullmatch(value):
        return "is not a date like 2018-01-02"
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return "is no day of the calendar"
    if day < earliest:
        return f"is before {earliest}"
    return f"is after {latest}, which is tomorrow (UTC)" if day > latest else None


def _find_number_fault(value: str, column: Column) -> str | None:
    match = _NUMBER.fullmatch(value)
    if not match:
        return "is not a finite number"
    number = float(value)
    # A number that only rounds to zero is an error to Postgres.
    if not math.isfinite(number) or (number == 0 and re.search("[1-9]", match[1])):
        return "is out of range"
    if column.type != "number" and number < 0:
        return "is negative"
    if abs(number) > MAX_NUMBER:
        return f"is out of range: more than {MAX_NUMBER:g}"
    if column.type == "price" and 0 < number < MIN_PRICE:
        return f"is out of range: less than {MIN_PRICE:g}"
    return None
