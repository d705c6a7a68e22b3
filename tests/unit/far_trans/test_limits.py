"""When a load is refused, what it says, and which option accepts it."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import LoadRefused
from shared.far_trans.clean_rows import Reject
from shared.far_trans.limits import (
    CheckedFile,
    LoadLimits,
    add_limit_options,
    check_limits,
    limit_arguments,
    limits_of,
    parse_share,
)

DEFAULTS = LoadLimits(max_rejects=0.01, max_shrink=0.2)
FIRST = Reject("close_prices.csv", 7, "timestamp is not a date like 2018-01-02", b"GRS1,1/2/18,3\n")


def prices(row_count: int, rejected_count: int = 0) -> CheckedFile:
    first = FIRST if rejected_count else None
    return CheckedFile("close_prices.csv", "close_prices", row_count, rejected_count, first)


def refusal(file: CheckedFile, rows_now: int = 0, limits: LoadLimits = DEFAULTS) -> str | None:
    try:
        check_limits([file], row_counts={"close_prices": rows_now}, limits=limits)
    except LoadRefused as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("file", "rows_now"),
    [
        (prices(0), 0),
        (prices(99, 1), 0),
        (prices(990, 10), 1000),
        (prices(80), 100),
        (prices(5), 0),
        (prices(1000), 1),
    ],
)
def test_load_within_the_limits_is_accepted(file: CheckedFile, rows_now: int) -> None:
    assert refusal(file, rows_now) is None


def test_too_many_rejects_are_told_with_the_first_line_its_reason_and_the_option() -> None:
    assert refusal(prices(98, 2)) == (
        "close_prices.csv: 2 of 100 rows are rejected (2%; the limit is 1%). "
        "The first one is line 7: timestamp is not a date like 2018-01-02. To load the other rows: --max-rejects 2%"
    )


def test_limit_counts_rows_however_few_they_are() -> None:
    message = refusal(prices(9, 1))
    assert message is not None
    assert "1 of 10 rows are rejected (10%; the limit is 1%)" in message
    assert refusal(prices(9, 1), limits=LoadLimits(0.1, 0.2)) is None


def test_shrunken_table_is_told_with_both_counts_and_the_option() -> None:
    assert refusal(prices(12_450), rows_now=703_303) == (
        "close_prices.csv: table close_prices would shrink from 703,303 to 12,450 rows "
        "(98.3% fewer; the limit is 20%). To accept that: --max-shrink 98.3%"
    )


def test_empty_table_needs_an_option_of_its_own() -> None:
    anything = LoadLimits(max_rejects=1, max_shrink=1)
    assert refusal(prices(0), rows_now=5, limits=anything) == (
        "close_prices.csv: table close_prices would become empty; it has 5 rows now. "
        "To accept that: --allow-empty close_prices"
    )
    assert refusal(prices(0), 5, LoadLimits(0.01, 0.2, frozenset({"close_prices"}))) is None
    assert refusal(prices(0), 5, LoadLimits(0.01, 0.2, frozenset({"transactions"}))) is not None


def test_every_reason_is_told_at_once() -> None:
    files = [prices(5, 5), CheckedFile("transactions.csv", "transactions", 0)]
    with pytest.raises(LoadRefused) as caught:
        check_limits(files, row_counts={"close_prices": 100, "transactions": 3}, limits=DEFAULTS)
    assert [line.split("To ")[1] for line in str(caught.value).splitlines()] == [
        "load the other rows: --max-rejects 50%",
        "accept that: --max-shrink 95%",
        "accept that: --allow-empty transactions",
    ]


@example(71, 29, 100, 0.0, 0.0)
@example(3, 0, 10, 0.01, 0.2)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_option_that_a_refusal_names_accepts_the_load(
    row_count: int, rejected_count: int, rows_now: int, max_rejects: float, max_shrink: float
) -> None:
    file = prices(row_count, rejected_count)
    message = refusal(file, rows_now, LoadLimits(max_rejects, max_shrink))
    if message is None:
        return
    words = [word for line in message.splitlines() for word in line.rsplit(": ", 1)[1].split()]
    parser = argparse.ArgumentParser()
    add_limit_options(parser)
    # Not named: the limit was kept, and it stays.
    kept = ["--max-rejects", repr(max_rejects), "--max-shrink", repr(max_shrink)]
    assert refusal(file, rows_now, limits_of(parser.parse_args([*kept, *words]))) is None


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.01", 0.01), ("100%", 1), ("0", 0), ("1", 1), ("12.5%", 0.125)]
)
def test_share_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "-1%", "101%", "nan", "inf", "", "%", "five"])
def test_other_shares_are_a_usage_error(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"write 5% or 0\.05"):
        parse_share(text)


def test_limits_can_be_handed_on_to_another_command() -> None:
    parser = argparse.ArgumentParser()
    add_limit_options(parser)
    given_options = parser.parse_args(["--max-rejects", "2.5%", "--allow-empty", "transactions"])
    assert limits_of(given_options) == LoadLimits(0.025, 0.2, frozenset({"transactions"}))
    assert limits_of(parser.parse_args(limit_arguments(given_options))) == limits_of(given_options)
    assert limits_of(parser.parse_args([])) == DEFAULTS
