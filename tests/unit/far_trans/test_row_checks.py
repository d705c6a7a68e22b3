"""Which rows are valid, why others are not, and that the fast pattern never accepts more than the check does."""

from __future__ import annotations

import csv

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.far_trans import LIMIT_PRICES, TABLES, TRANSACTIONS, TableSchema
from shared.reference_data.row_checks import build_plain_rows_pattern, find_fault
from tests.far_trans_files import SOUND_ROWS

SOUND = SOUND_ROWS["transactions"].split(",")


def transaction(**changed: str) -> list[str]:
    """Return a sound transaction with some fields changed, by CSV name."""
    names = [column.csv_name for column in TRANSACTIONS.columns]
    return [changed.get(name, value) for name, value in zip(names, SOUND, strict=True)]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"customerID": ""}, "customerID is empty"),
        ({"ISIN": "  "}, "ISIN is empty"),
        ({"transactionID": ""}, "transactionID is empty"),
        ({"timestamp": ""}, "timestamp is empty"),
        ({"transactionType": ""}, "transactionType is empty"),
        ({"transactionType": "buy"}, "transactionType is none of Buy, Sell"),
        ({"timestamp": "02/07/2020"}, "timestamp is not a date like 2018-01-02"),
        ({"timestamp": "20200702"}, "timestamp is not a date like 2018-01-02"),
        ({"timestamp": "2020-7-2"}, "timestamp is not a date like 2018-01-02"),
        ({"timestamp": "2020-07-02 10:00"}, "timestamp is not a date like 2018-01-02"),
        ({"timestamp": "2021-02-29"}, "timestamp is no day of the calendar"),
        ({"timestamp": "2020-06-31"}, "timestamp is no day of the calendar"),
        ({"timestamp": "2020-13-01"}, "timestamp is no day of the calendar"),
        ({"timestamp": "0000-01-01"}, "timestamp is no day of the calendar"),
        ({"units": "-1"}, "units is negative"),
        ({"totalValue": "-0.5"}, "totalValue is negative"),
        ({"units": "ten"}, "units is not a finite number"),
        ({"units": "nan"}, "units is not a finite number"),
        ({"units": "inf"}, "units is not a finite number"),
        ({"units": "1_000"}, "units is not a finite number"),
        ({"units": " 1"}, "units is not a finite number"),
        ({"units": "٣"}, "units is not a finite number"),
        ({"units": "0x10"}, "units is not a finite number"),
        ({"units": "1e999"}, "units is out of range"),
        ({"units": "1e-999"}, "units is out of range"),
        ({"channel": "a\0b"}, "channel holds a NUL byte"),
        ({"channel": "a\udcffb"}, "channel is not valid UTF-8"),
        ({"customerID": "C" * 201}, "customerID is longer than 200 characters"),
    ],
)
def test_faulty_field_is_named_with_the_reason(changed: dict[str, str], fault: str) -> None:
    assert find_fault(transaction(**changed), TRANSACTIONS) == fault


@pytest.mark.parametrize(
    "changed",
    [
        {"timestamp": "2020-02-29"},
        {"timestamp": "2000-02-29"},
        {"units": "0"},
        {"units": "1e-05"},
        {"units": ".5"},
        {"units": "5."},
        {"units": ""},
        {"totalValue": "0.000"},
        {"channel": ""},
        {"channel": "Κατάστημα"},
        {"marketID": "x" * 5000},
        {"customerID": "Ω" * 200},
    ],
)
def test_unusual_but_valid_field_is_accepted(changed: dict[str, str]) -> None:
    assert find_fault(transaction(**changed), TRANSACTIONS) is None


def test_only_signed_columns_may_be_negative() -> None:
    row = SOUND_ROWS["limit_prices"].split(",")
    assert row[-1] == "-0.25"
    assert find_fault(row, LIMIT_PRICES) is None
    assert find_fault([*row[:3], "-1", *row[4:]], LIMIT_PRICES) == "priceMinDate is negative"


@pytest.mark.parametrize("fields", [SOUND[:-1], [*SOUND, ""], [""], ["x"] * 30])
def test_wrong_number_of_columns_is_told(fields: list[str]) -> None:
    assert find_fault(fields, TRANSACTIONS) == f"expected 9 columns, found {len(fields)}"


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.table)
def test_pattern_knows_ordinary_rows(schema: TableSchema) -> None:
    """Without this the loader would still be right, but slow."""
    row = SOUND_ROWS[schema.table].encode()
    plain = row if b'"' not in row else row.replace(b'"The market, described"', b"A market").replace(b'"Mon,Tue"', b"")
    match = build_plain_rows_pattern(schema).match(plain + b"\n" + plain + b"\r\n")
    assert match is not None
    assert match.end() == 2 * len(plain) + 3


_FIELD = st.one_of(
    st.sampled_from(
        ["", " ", "Buy", "Sell", "Stock", "2020-02-29", "2021-02-29", "2020-02-30", "2019-04-31", "0", "-0"]
    ),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{0,30})?(e-?[0-9]{1,3})?", fullmatch=True),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters=',"\r\n'), max_size=6),
    st.text(alphabet="aé ", min_size=60, max_size=70),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_FIELD, min_size=9, max_size=9), st.data())
@example(["\u00a0", "x", "1", "Buy", "2020-01-01", "1", "1", "", ""], None)
def test_pattern_accepts_nothing_that_the_check_refuses(fields: list[str], data: st.DataObject | None) -> None:
    # Mostly sound rows with a few fields drawn freely; purely random ones would never match.
    drawn = data.draw(st.sets(st.integers(0, 8), max_size=3)) if data else set(range(9))
    row = [fields[place] if place in drawn else SOUND[place] for place in range(9)]
    match = build_plain_rows_pattern(TRANSACTIONS).match((",".join(row) + "\n").encode())
    assert match is not None
    if match.end():
        assert find_fault(row, TRANSACTIONS) is None


NASTY: tuple[str, ...] = (
    "",
    " ",
    "-1",
    "-0.5",
    "+1",
    "1e5",
    "1e999",
    "nan",
    "1.",
    ".5",
    "9" * 30,
    "x" * 300,
    "Ω" * 150,
    "2021-02-29",
)
NASTY += ("2020-02-29", "2019-00-10", "2019-01-00", "1899-01-01", "2100-01-01", "Buy ", "BuySell", "\t", "\x7f", "\0")


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.table)
def test_pattern_refuses_in_every_column_what_the_check_refuses(schema: TableSchema, value: str) -> None:
    pattern = build_plain_rows_pattern(schema)
    sound = next(csv.reader([SOUND_ROWS[schema.table]]))
    for place in range(len(sound)):
        row = [*sound[:place], value, *sound[place + 1 :]]
        if pattern.fullmatch((",".join(field.replace(",", ";") for field in row) + "\n").encode()):
            assert find_fault(row, schema) is None


@pytest.mark.parametrize("month", range(1, 13))
def test_pattern_knows_every_day_of_a_month_but_no_other(month: int) -> None:
    days = [f"2021-{month:02}-{day:02}" for day in range(33)]
    pattern = build_plain_rows_pattern(TRANSACTIONS)
    for day in days:
        row = transaction(timestamp=day)
        is_plain = pattern.fullmatch((",".join(row) + "\n").encode()) is not None
        assert is_plain == (find_fault(row, TRANSACTIONS) is None)
