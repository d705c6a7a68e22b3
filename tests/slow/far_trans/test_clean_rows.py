"""What of a file goes to COPY and what to the rejects file, whatever the blocks that it is read in."""

from __future__ import annotations

import io
import time
import tracemalloc
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ReferenceDataInvalid
from shared.far_trans.clean_rows import MAX_RECORD_BYTES, CleanRows, Reject
from shared.far_trans.schema import ASSET_INFORMATION, CLOSE_PRICES, CUSTOMER_INFORMATION, MARKETS, TRANSACTIONS
from tests.far_trans_files import SOUND_ROWS, clean, header_of

PRICE = b"GRS1,2018-01-02,3.5\n"
MARKET = b"ATHEX,XATH,Athens,%b,Greece,Mon,08:15-15:20,Public\n"


def test_plain_rows_pass_unchanged() -> None:
    body = "".join(f"C{n},GRS1,{n},Sell,2020-07-02,1.5,,,XATH\n" for n in range(10_000)).encode()
    copied, rejects, rows = clean(body)
    assert copied == body
    assert rejects == []
    assert rows.row_count == 10_000


def test_windows_line_ends_and_byte_order_mark_are_no_part_of_the_data() -> None:
    header = b"\xef\xbb\xbf" + header_of(CLOSE_PRICES).strip().encode() + b"\r\n"
    copied, rejects, _ = clean(b"GRS1,2018-01-02,3.5\r\nGRS2,2020-02-29,4\r\n", CLOSE_PRICES, header=header)
    assert copied == b"GRS1,2018-01-02,3.5\nGRS2,2020-02-29,4\n"
    assert rejects == []


def test_quoted_commas_quotes_and_backslashes_become_copy_escapes() -> None:
    copied, rejects, rows = clean(MARKET % b'"One, ""two"" three back\\slash and \\."', MARKETS)
    escaped = rb'One\, "two" three back\\slash and \\.'
    assert copied == MARKET % escaped
    assert rejects == []
    assert rows.row_count == 1


def test_backslash_outside_quotes_is_escaped_too() -> None:
    copied, _, _ = clean(MARKET % rb"\N \. a\b", MARKETS)
    assert copied == MARKET % rb"\\N \\. a\\b"


def test_quoted_empty_field_is_empty() -> None:
    copied, rejects, _ = clean(b'C1,"","",,,2018-01-02\n', CUSTOMER_INFORMATION)
    assert copied == b"C1,,,,,2018-01-02\n"
    assert rejects == []


def test_greek_names_pass() -> None:
    body = (SOUND_ROWS["asset_information"] + "\n").encode()
    copied, rejects, _ = clean(body, ASSET_INFORMATION)
    assert copied == body
    assert rejects == []


def test_blank_lines_are_no_rows_but_count_as_lines() -> None:
    copied, rejects, rows = clean(PRICE + b"\n\r\n" + PRICE + b"bad\n", CLOSE_PRICES)
    assert copied == PRICE * 2
    assert rows.row_count == 2
    assert [reject.line_number for reject in rejects] == [6]


def test_line_numbers_are_right_behind_quoted_line_ends() -> None:
    quoted = MARKET % b'"one\ntwo\nthree"'
    body = MARKET % b"plain" + quoted + b"bad\n" + MARKET % b"x" + b'a,"b\nc",bad\n' + b"bad\n"
    copied, rejects, rows = clean(body, MARKETS)
    assert [(reject.line_number, reject.raw) for reject in rejects] == [
        (6, b"bad\n"),
        (8, b'a,"b\nc",bad\n'),
        (10, b"bad\n"),
    ]
    assert copied == MARKET % b"plain" + MARKET % b"one two three" + MARKET % b"x"
    assert (rows.row_count, rows.rejected_count) == (3, 3)


def test_line_break_in_a_key_is_rejected() -> None:
    copied, rejects, _ = clean(b'ATHEX,"XA\nTH",Athens,,Greece,,,\n', MARKETS)
    assert copied == b""
    assert [reject.reason for reject in rejects] == ["marketID holds a control character or a line separator"]


def test_lone_carriage_return_in_a_text_is_rejected() -> None:
    _, rejects, _ = clean(MARKET % b'"one\rtwo"', MARKETS)
    assert [reject.reason for reject in rejects] == ["description holds a control character or a line separator"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'GRS1,"2018-01-02,3.5\n', "a quote is not closed"),
        (b'GRS1,"2018-01-02"x,3.5\n', "text follows a closing quote"),
        (b'GR"S1,2018-01-02,3.5\n', "a quote or carriage return inside a field"),
        (b"GRS1\r,2018-01-02,3.5\n", "a quote or carriage return inside a field"),
        (b"GRS\xff1,2018-01-02,3.5\n", "ISIN is not valid UTF-8"),
        (b"GRS\xed\xa0\x801,2018-01-02,3.5\n", "ISIN is not valid UTF-8"),
        (b"GRS\x001,2018-01-02,3.5\n", "ISIN holds a NUL byte"),
        (b"GRS1,2018-01-02,-3.5\n", "closePrice is negative"),
        (b"GRS1 ,2018-01-02,3.5\n", "ISIN is no ISIN: 1 to 20 of A-Z, a-z, 0-9"),
        (b"GRS1,0001-01-01,3.5\n", "timestamp is before 1990-01-01"),
        (b"GRS1,1900-01-01,3.5\n", "timestamp is before 1990-01-01"),
        (b"GRS1,2062-12-31,3.5\n", "timestamp is after 2024-02-29, which is tomorrow (UTC)"),
        (b"GRS1,2024-03-01,3.5\n", "timestamp is after 2024-02-29, which is tomorrow (UTC)"),
        (b"GRS1,2018-01-02,1e13\n", "closePrice is out of range: more than 1e+12"),
        (b"GRS1,2018-01-02\n", "expected 3 columns, found 2"),
    ],
)
def test_faulty_line_costs_that_line_and_no_other(line: bytes, reason: str) -> None:
    copied, rejects, _ = clean(PRICE * 3 + line + PRICE * 3, CLOSE_PRICES, latest=date(2024, 2, 29))
    assert copied == PRICE * 6
    assert [(reject.line_number, reject.reason, reject.raw) for reject in rejects] == [(5, reason, line)]


@pytest.mark.parametrize("block_bytes", [1 << 14, 1 << 16, 1 << 22])
@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"", f"the line is longer than {MAX_RECORD_BYTES} bytes"),
        (b"GRS1,2018-01-02,", f"the line is longer than {MAX_RECORD_BYTES} bytes"),
        (b'"', "a quote is not closed"),
    ],
)
def test_endless_line_is_rejected_once_and_cut(start: bytes, reason: str, block_bytes: int) -> None:
    line = start + b"x" * (2 * MAX_RECORD_BYTES) + b"\n"
    copied, rejects, _ = clean(PRICE + line + PRICE + b"bad\n", CLOSE_PRICES, block_bytes=block_bytes)
    assert copied == PRICE * 2
    assert [reject.line_number for reject in rejects] == [3, 5]
    assert rejects[0].reason == reason
    assert len(rejects[0].raw) == 10_000


@pytest.mark.parametrize("block_bytes", [1 << 16, 1 << 22])
def test_text_beyond_the_limit_is_rejected_however_plain_it_is(block_bytes: int) -> None:
    sound = b"C1,GRS1,7,Buy,2020-07-02,1,2,%b,XATH\n"
    body = sound % b"Branch" + sound % (b"x" * MAX_RECORD_BYTES) + sound % b"Branch"
    copied, rejects, _ = clean(body, block_bytes=block_bytes)
    assert copied == sound % b"Branch" * 2
    assert [reject.line_number for reject in rejects] == [3]


def test_long_text_within_the_limit_is_kept() -> None:
    text = b"x" * (MAX_RECORD_BYTES - 1000)
    copied, rejects, _ = clean(MARKET % text, MARKETS, block_bytes=1 << 16)
    assert copied == MARKET % text
    assert rejects == []


@pytest.mark.parametrize(
    "end", [b"GRS2,2018", b'GRS2,"2018', b"GRS2,2018-01-02,-4", b"GRS2,2018-01-02,4,", b"x" * (2 * MAX_RECORD_BYTES)]
)
def test_file_that_ends_inside_a_line_is_refused(end: bytes) -> None:
    with pytest.raises(ReferenceDataInvalid, match=r"close_prices\.csv ends inside a line"):
        clean(PRICE + end, CLOSE_PRICES)


@pytest.mark.parametrize("end", [PRICE[:-1], PRICE[:-1] + b"\r", b'"GRS1",2018-01-02,"3.5"'])
@pytest.mark.parametrize("block_bytes", [5, 1 << 18])
def test_last_line_needs_no_end_if_it_is_a_valid_row(end: bytes, block_bytes: int) -> None:
    copied, rejects, _ = clean(PRICE + end, CLOSE_PRICES, block_bytes=block_bytes)
    assert copied == PRICE * 2
    assert rejects == []


def test_open_quote_before_the_last_line_costs_its_line_only() -> None:
    copied, rejects, _ = clean(b'"GRS1,2018-01-02,3.5\n' + PRICE + PRICE[:-1], CLOSE_PRICES)
    assert copied == PRICE * 2
    assert [(reject.line_number, reject.reason) for reject in rejects] == [(2, "a quote is not closed")]


@pytest.mark.parametrize(
    "header",
    [b"", b"ISIN,timestamp\n", b"ISIN,timestamp,price\n", b"ISIN,timestamp,closePrice,isin\n", b"\xff\n"],
)
def test_other_header_is_refused(header: bytes) -> None:
    with pytest.raises(ReferenceDataInvalid, match="the header is not as published"):
        clean(PRICE, CLOSE_PRICES, header=header)


def test_header_only_is_no_rows() -> None:
    assert clean(b"", CLOSE_PRICES)[0] == b""


_PIECES = st.sampled_from(
    [
        b"C1,GRS1,7,Buy,2020-07-02,1,2,Branch,XATH\n",
        b"C1,GRS1,7,Sell,2020-02-29,1.5,,,\r\n",
        "Ω,GRS1,7,Buy,2020-07-02,1,2,Κατάστημα,\n".encode(),
        b'C2,GRS1,"7\n8",Buy,2020-07-02,1,2,"a, ""b""",XATH\n',
        b'C2,GRS1,"C1,GRS1,7,Buy,2020-07-02,1,2,Branch,XATH\n',
        b'"x"y,\n',
        b"\xff\xfe,GRS1,7,Buy,2020-07-02,1,2,,\n",
        b"C1,GRS1,7,Buy,2020-07-02,-1,2,,\n",
        b"short\n",
        b"\n",
        b"a\rb\n",
        b'"\r\n',
        b'""",\n',
        b"C\\1,GRS1,7,Buy,2020-07-02,1,2,,\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=12), st.integers(1, 80))
def test_result_does_not_depend_on_where_blocks_end(pieces: list[bytes], block_bytes: int) -> None:
    body = b"".join(pieces)
    whole = clean(body, block_bytes=1 << 20)
    parts = clean(body, block_bytes=block_bytes)
    assert parts[0] == whole[0]
    assert parts[1] == whole[1]
    assert parts[2].row_count == whole[2].row_count == whole[0].count(b"\n")


class _EndlessPrices(io.RawIOBase):
    """A file of `size` bytes that exists nowhere as a whole."""

    def __init__(self, size: int) -> None:
        self._left = size // len(PRICE)
        self._pending = header_of(CLOSE_PRICES).encode()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while self._left and len(self._pending) < len(buffer):
            count = min(self._left, 10_000)
            self._pending += PRICE * count
            self._left -= count
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size


def test_memory_does_not_grow_with_the_file() -> None:
    stream = _EndlessPrices(40_000_000)
    rejects: list[Reject] = []
    rows = CleanRows(io.BufferedReader(stream), CLOSE_PRICES, on_reject=rejects.append)
    tracemalloc.start()
    try:
        for _ in rows:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows.row_count == 40_000_000 // len(PRICE)
    assert peak < 16_000_000


def test_many_undecodable_rows_do_not_slow_the_loader_down() -> None:
    good = SOUND_ROWS["transactions"].encode() + b"\n"
    bad = good.replace(b"Internet", b"\xff")
    started = time.process_time()
    copied, rejects, _ = clean((good + bad) * 10_000, TRANSACTIONS)
    assert time.process_time() - started < 4.0  # 0.3 s; 10 s where each of them costs a search of the whole block
    assert len(rejects) == 10_000
    assert copied == good * 10_000
