"""A load that is refused leaves all six tables as they were, and says why and which option accepts it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from shared.far_trans.schema import CLOSE_PRICES, TABLES
from tests.far_trans_files import NUMBERED_ROWS, header_of
from tests.integration.loading import TABLE_NAMES, count_rows, load, query, read_all, rows_of, write_rows

pytestmark = pytest.mark.postgres


@pytest.fixture
def folder(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ten rows a table are loaded; its files may be spoilt now."""
    monkeypatch.chdir(tmp_path)
    folder = write_rows(tmp_path / "data")
    assert load(folder, database_url) == 0
    return write_rows(folder, first=100)


def change(table: str, pattern: str, replacement: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / f"{table}.csv"
        header, _, body = path.read_text().partition("\n")
        path.write_text(header + "\n" + re.sub(pattern, replacement, body))

    return spoil


def change_delimiter(folder: Path) -> None:
    path = folder / "transactions.csv"
    path.write_text(path.read_text().replace(",", ";"))


def keep_only_the_header(folder: Path) -> None:
    (folder / "asset_information.csv").write_text(header_of(TABLES[1]))


def remove_prices(folder: Path) -> None:
    (folder / "close_prices.csv").unlink()


def keep_three_rows(folder: Path) -> None:
    path = folder / "transactions.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))


SPOILT = {
    "dates as M/D/YY": (
        change("close_prices", "2018-01-02", "1/2/18"),
        ["10 of 10 rows", "line 2: timestamp is not a date like 2018-01-02", "--max-rejects 100%"],
    ),
    "dates with a time": (
        change("transactions", "2020-07-02", "2020-07-02 00:00:00"),
        ["line 2: timestamp is not a date like 2018-01-02", "--max-rejects 100%"],
    ),
    "types in capitals": (
        change("transactions", "Buy", "BUY"),
        ["line 2: transactionType is none of Buy, Sell", "--max-rejects 100%"],
    ),
    "a date in the far future": (
        change("transactions", "T104,Buy,2020-07-02", "T104,Buy,2062-12-31"),
        ["1 of 10 rows", "line 6: timestamp is after", "--max-rejects 10%"],
    ),
    "a price of the year 1": (
        change("close_prices", "A107,2018-01-02", "A107,0001-01-01"),
        ["1 of 10 rows", "line 9: timestamp is before 1990-01-01", "--max-rejects 10%"],
    ),
    "an ISIN that the API refuses": (
        change("asset_information", "A103,", "ALPHA.AT,"),
        ["line 5: ISIN is no ISIN", "--max-rejects 10%"],
    ),
    "a customer that the API refuses": (
        change("customer_information", "C103,", "E1/C4,"),
        ["line 5: customerID is no customer id", "--max-rejects 10%"],
    ),
    "another delimiter": (change_delimiter, ["transactions.csv: the header is not as published"]),
    "a file without rows": (keep_only_the_header, ["would become empty", "--allow-empty asset_information"]),
    "a missing optional file": (remove_prices, ["would become empty", "--allow-empty close_prices"]),
    "far fewer rows": (keep_three_rows, ["would shrink from 10 to 3 rows (70% fewer", "--max-shrink 70%"]),
}


@pytest.mark.parametrize("name", SPOILT)
def test_implausible_file_leaves_every_table_as_it_was_and_says_why(
    name: str, folder: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, messages = SPOILT[name]
    spoil(folder)
    before = read_all(database_url)
    capsys.readouterr()

    assert load(folder, database_url) == 2

    error = capsys.readouterr().err
    assert all(message in error for message in messages), error
    assert "Nothing was loaded; the database is as it was." in error
    assert read_all(database_url) == before


@pytest.mark.parametrize("name", [name for name, (_, messages) in SPOILT.items() if messages[-1].startswith("--")])
def test_option_that_the_message_names_accepts_the_load(
    name: str, folder: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, _ = SPOILT[name]
    spoil(folder)
    assert load(folder, database_url) == 2
    options = re.findall(r"(--(?:max|allow)-[a-z]+) (\S+)", capsys.readouterr().err)

    code = load(folder, database_url, *(word for option in options for word in option))

    assert code in (0, 1)
    assert query(database_url, "SELECT count(*) FROM markets WHERE market_id LIKE 'M10_'") == [(10,)]


def test_first_load_has_a_limit_for_rejects_and_none_for_shrinking(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_rows(tmp_path / "data")
    change("close_prices", "2018-01-02", "1/2/18")(folder)
    assert load(folder, database_url) == 2
    assert count_rows(database_url) == dict.fromkeys(TABLE_NAMES, 0)
    write_rows(folder, count=1)
    assert load(folder, database_url) == 0


def test_few_rejects_of_many_rows_are_no_refusal(folder: Path, database_url: str) -> None:
    prices = folder / "close_prices.csv"
    prices.write_text(header_of(CLOSE_PRICES) + rows_of("close_prices", 0, 99) + "\nbad\n")
    assert load(folder, database_url) == 1
    assert count_rows(database_url)["close_prices"] == 99


def test_output_and_rejects_file_hold_nothing_that_a_terminal_obeys(
    folder: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = b"\x1b[2J\x1b]0;owned\x07\xc2\x9b"
    (folder / "markets.csv").write_bytes(b"exchangeID," + attack + b"\n")
    assert load(folder, database_url) == 2
    write_rows(folder)
    rejected = NUMBERED_ROWS["markets"].format(1).encode().replace(b"Athens", attack) + b"\n"
    (folder / "markets.csv").write_bytes(header_of(TABLES[2]).encode() + rejected)
    assert load(folder, database_url) == 2

    printed = capsys.readouterr()
    shown = printed.out + printed.err + Path("far_trans.rejects.csv").read_text()
    assert "\\x1b[2J" in shown
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.replace("\r\n", "\n")) == []


def test_clock_that_is_behind_the_newest_snapshot_is_named_and_rejects_nothing(
    folder: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE reference_snapshots SET loaded_at = now() + interval '3 days'")
    connection.close()
    before = read_all(database_url)
    assert load(folder, database_url) == 2
    error = capsys.readouterr().err
    assert "the clock of the database says" in error
    assert "set the clock right" in error
    assert read_all(database_url) == before


def test_rejects_file_is_written_for_a_refused_load_too(folder: Path, database_url: str) -> None:
    change("close_prices", "2018-01-02", "1/2/18")(folder)
    assert load(folder, database_url) == 2
    assert Path("far_trans.rejects.csv").read_text().count("timestamp is not a date") == 10


def test_file_to_load_is_never_the_rejects_file(
    folder: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / "transactions.csv").read_bytes()
    assert load(folder, database_url, "--rejects", str(folder / "transactions.csv")) == 2
    assert "name another rejects file" in capsys.readouterr().err
    assert (folder / "transactions.csv").read_bytes() == content


def test_first_load_of_a_file_without_rows_is_told(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_rows(tmp_path / "data")
    keep_only_the_header(folder)
    assert load(folder, database_url) == 0
    assert "warning: no rows: asset_information" in capsys.readouterr().err
