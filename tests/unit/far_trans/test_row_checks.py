"""Which rows are valid, why others are not, and that the fast pattern never accepts more than the check does."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.far_trans.row_checks import build_plain_rows_pattern, find_fault
from shared.far_trans.schema import CLOSE_PRICES, CUSTOMER_INFORMATION, LIMIT_PRICES, TABLES, TRANSACTIONS, TableSchema
from tests.far_trans_files import SOUND_ROWS

SOUND = SOUND_ROWS["transactions"].split(",")
LATEST = date(2024, 2, 29)
NO_CUSTOMER_ID = (
    "customerID is no customer id: 1 to 64 of A-Z, a-z, 0-9, '_', '.', ':', '-', the first one a letter, a digit or '_'"
)
NO_ISIN = "ISIN is no ISIN: 1 to 20 of A-Z, a-z, 0-9"


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
        ({"transactionID": "C" * 201}, "transactionID is longer than 200 characters"),
        ({"customerID": "C" * 65}, NO_CUSTOMER_ID),
        ({"customerID": "E1/C4"}, NO_CUSTOMER_ID),
        ({"customerID": "C1 "}, NO_CUSTOMER_ID),
        ({"customerID": " C1"}, NO_CUSTOMER_ID),
        ({"customerID": ".."}, NO_CUSTOMER_ID),
        ({"customerID": "Ω"}, NO_CUSTOMER_ID),
        ({"customerID": "C\udcff"}, "customerID is not valid UTF-8"),
        ({"customerID": "C1\n"}, "customerID holds a control character or a line separator"),
        ({"ISIN": "ALPHA.AT"}, NO_ISIN),
        ({"ISIN": "GRS1 "}, NO_ISIN),
        ({"ISIN": "G" * 21}, NO_ISIN),
        ({"ISIN": "G" * 201}, "ISIN is longer than 200 characters"),
        ({"ISIN": "G\x1b[2J"}, "ISIN holds a control character or a line separator"),
        ({"transactionID": "7\x1b[2J"}, "transactionID holds a control character or a line separator"),
        ({"channel": "two\nlines"}, "channel holds a control character or a line separator"),
        ({"channel": "a\tb"}, "channel holds a control character or a line separator"),
        ({"channel": "a\x7f"}, "channel holds a control character or a line separator"),
        ({"channel": "a\x85"}, "channel holds a control character or a line separator"),
        ({"marketID": "X\u2028"}, "marketID holds a control character or a line separator"),
        ({"timestamp": "1989-12-31"}, "timestamp is before 1990-01-01"),
        ({"timestamp": "2024-03-01"}, "timestamp is after 2024-02-29, which is tomorrow (UTC)"),
        ({"timestamp": "9999-12-31"}, "timestamp is after 2024-02-29, which is tomorrow (UTC)"),
        ({"units": "1000000000001"}, "units is out of range: more than 1e+12"),
        ({"totalValue": "1e300"}, "totalValue is out of range: more than 1e+12"),
    ],
)
def test_faulty_field_is_named_with_the_reason(changed: dict[str, str], fault: str) -> None:
    assert find_fault(transaction(**changed), TRANSACTIONS, latest=LATEST) == fault


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
        {"transactionID": "Ω" * 200},
        {"customerID": "_.:-" * 16},
        {"ISIN": "G" * 20},
        {"channel": " spaces inside, and outside "},
        {"channel": "\u00a0\u200b\U0001f4b6"},
        {"timestamp": "1990-01-01"},
        {"timestamp": "2024-02-29"},
        {"units": "1e12"},
        {"units": "1e-300"},
    ],
)
def test_unusual_but_valid_field_is_accepted(changed: dict[str, str]) -> None:
    assert find_fault(transaction(**changed), TRANSACTIONS, latest=LATEST) is None


def test_only_the_date_of_a_questionnaire_may_be_the_placeholder() -> None:
    row = ["C1", "Mass", "Income", "CAP_LT30K", "1900-01-01", "2018-01-02"]
    assert find_fault(row, CUSTOMER_INFORMATION) is None
    assert find_fault([*row[:4], "1899-12-31", row[5]], CUSTOMER_INFORMATION) == (
        "lastQuestionnaireDate is before 1900-01-01"
    )
    assert find_fault([*row[:5], "1900-01-01"], CUSTOMER_INFORMATION) == "timestamp is before 1990-01-01"


def test_period_that_ends_before_it_begins_is_a_fault() -> None:
    row = SOUND_ROWS["limit_prices"].split(",")
    assert find_fault([row[0], "2020-01-02", "2020-01-02", *row[3:]], LIMIT_PRICES) is None
    assert find_fault([row[0], "2020-01-03", "2020-01-02", *row[3:]], LIMIT_PRICES) == "minDate is after maxDate"
    assert find_fault([row[0], "2020-01-02", "2062-01-01", *row[3:]], LIMIT_PRICES, latest=LATEST) == (
        "maxDate is after 2024-02-29, which is tomorrow (UTC)"
    )


@given(st.dates(date(1990, 1, 1), LATEST).map(str), st.dates(date(1990, 1, 1), LATEST).map(str))
@example("2020-01-03", "2020-01-02")
def test_pattern_takes_no_row_whose_period_is_reversed(first: str, last: str) -> None:
    row = SOUND_ROWS["limit_prices"].split(",")
    row[1:3] = [first, last]
    if build_plain_rows_pattern(LIMIT_PRICES, latest=LATEST).fullmatch((",".join(row) + "\n").encode()):
        assert find_fault(row, LIMIT_PRICES, latest=LATEST) is None


@pytest.mark.parametrize("price", ["1e-10", "0.0000000009", "1e-300", "1e13", "1e308"])
def test_price_that_nothing_can_be_divided_by_is_out_of_range(price: str) -> None:
    fault = find_fault(["GRS1", "2018-01-02", price], CLOSE_PRICES)
    assert fault is not None
    assert fault.startswith("closePrice is out of range: ")


@pytest.mark.parametrize("price", ["0", "0.0", "1e-9", "0.0125", "1e12"])
def test_price_of_nothing_and_small_prices_are_valid(price: str) -> None:
    assert find_fault(["GRS1", "2018-01-02", price], CLOSE_PRICES) is None


def test_without_a_clock_the_last_day_is_tomorrow() -> None:
    today = datetime.now(UTC).date()
    assert find_fault(transaction(timestamp=str(today)), TRANSACTIONS) is None
    assert find_fault(transaction(timestamp=str(today + timedelta(days=3))), TRANSACTIONS) is not None


def test_only_signed_columns_may_be_negative() -> None:
    row = SOUND_ROWS["limit_prices"].split(",")
    assert row[-1] == "-0.25"
    assert find_fault(row, LIMIT_PRICES) is None
    assert find_fault([*row[:3], "-1", *row[4:]], LIMIT_PRICES) == "priceMinDate is negative"


@pytest.mark.parametrize("fields", [SOUND[:-1], [*SOUND, ""], [""], ["x"] * 30])
def test_wrong_number_of_columns_is_told(fields: list[str]) -> None:
    assert find_fault(fields, TRANSACTIONS) == f"expected 9 columns, found {len(fields)}"


@pytest.mark.parametrize("schema", [one for one in TABLES if not one.period], ids=lambda schema: schema.table)
def test_pattern_knows_ordinary_rows(schema: TableSchema) -> None:
    """Without this the loader would still be right, but slow."""
    row = SOUND_ROWS[schema.table].encode()
    plain = row if b'"' not in row else row.replace(b'"The market, described"', b"A market").replace(b'"Mon,Tue"', b"")
    match = build_plain_rows_pattern(schema).match(plain + b"\n" + plain + b"\r\n")
    assert match is not None
    assert match.end() == 2 * len(plain) + 3


_DAYS = st.dates(date(1895, 1, 1), date(2100, 1, 1)).map(str)
_NEAR_A_BOUND = st.sampled_from(
    [str(bound + timedelta(days=days)) for bound in (date(1900, 1, 1), date(1990, 1, 1), LATEST) for days in (-1, 0, 1)]
)
_FIELD = st.one_of(
    st.sampled_from(["", " ", "Buy", "Sell", "Stock", "2021-02-29", "2020-02-30", "2019-04-31", "0", "-0", "0.0"]),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True),
    _DAYS,
    _NEAR_A_BOUND,
    st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{0,30})?(e-?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"0\.0{0,14}[0-9]{1,3}", fullmatch=True),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters=',"\r\n'), max_size=6),
    st.text(alphabet="\x1b\x7f\x80\x85\x9f\xa0é\u2027\u2028\u2029\u20acA", max_size=3),
    st.text(alphabet="aé .:-_/", min_size=60, max_size=70),
    st.text(alphabet="aZ09 .", min_size=18, max_size=22),
)
_LATEST = st.one_of(st.just(LATEST), st.dates(date(1990, 1, 1), date(2100, 1, 1)))


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.table)
@given(st.lists(_FIELD, min_size=9, max_size=9), st.sets(st.integers(0, 8), max_size=3), _LATEST)
@example(["\u00a0", "x", "1", "Buy", "2020-01-01", "1", "1", "", ""], set(range(9)), LATEST)
def test_pattern_accepts_nothing_that_the_check_refuses(
    schema: TableSchema, fields: list[str], drawn: set[int], latest: date
) -> None:
    # Mostly sound rows with a few fields drawn freely; purely random ones would never match.
    sound = next(csv.reader([SOUND_ROWS[schema.table]]))
    row = [fields[place] if place in drawn else value.replace(",", " ") for place, value in enumerate(sound)]
    match = build_plain_rows_pattern(schema, latest=latest).match((",".join(row) + "\n").encode())
    assert match is not None
    if match.end():
        assert find_fault(row, schema, latest=latest) is None


@settings(max_examples=300)
@given(st.one_of(_DAYS, st.integers(-40, 3)), st.dates(date(1990, 2, 1), date(2100, 1, 1)))
@example(1, date(2024, 2, 10))
def test_pattern_knows_the_same_days_as_the_check_but_for_the_ends_of_months(day: str | int, latest: date) -> None:
    """A number is a day that many days after the last one."""
    day = day if isinstance(day, str) else str(latest + timedelta(days=day))
    row = transaction(timestamp=day)
    pattern = build_plain_rows_pattern(TRANSACTIONS, latest=latest)
    is_plain = pattern.fullmatch((",".join(row) + "\n").encode()) is not None
    is_valid = find_fault(row, TRANSACTIONS, latest=latest) is None
    assert is_plain == is_valid or (is_valid and day[8:] in ("29", "30", "31"))


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
NASTY += (
    "2020-02-29",
    "2019-00-10",
    "2019-01-00",
    "1899-01-01",
    "2100-01-01",
    "1900-01-01",
    "1989-12-31",
    "2062-12-31",
    "ALPHA.AT",
    "E1/C4",
    "A ",
    "\x1b",
    "\x85",
    "\u2028",
    "1e13",
    "1000000000001",
    "0.0000000001",
    "Buy ",
    "BuySell",
    "\t",
    "\x7f",
    "\0",
)


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
