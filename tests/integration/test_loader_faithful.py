"""What the loader accepts means the same to the database, and is what a plain COPY would have loaded."""

from __future__ import annotations

import csv
from pathlib import Path

import psycopg2
import pytest

from shared.far_trans.limits import LoadLimits
from shared.far_trans.loading import FileAccess, load_folder
from shared.far_trans.schema import TABLES
from shared.far_trans.source_files import check_files
from shared.far_trans.store import PostgresReferenceStore
from shared.far_trans.synthetic import synthesize
from tests.far_trans_files import real_data_folder, write_folder
from tests.integration.loading import count_rows, load, query, with_rows

pytestmark = pytest.mark.postgres

UNUSUAL_TEXTS = (
    "plain",
    "Ελληνικά ονόματα",
    'with "quotes", commas',
    "\\.",
    "\\N",
    "back\\slash\\",
    " spaces ",
    "\u00a0\u2027\U0001f4b6",
    "x" * 5_000,
    "two\nlines",
    "two\r\nlines",
    "line\n\\.\nline",
)
UNPRINTABLE_TEXTS = (
    "tab\there",
    "\u2028",
    "\x85",
    "\x01",
    "\x7f",
    "\x1b[2J",
)


def test_every_text_arrives_as_it_was_written_on_one_line_or_is_rejected(tmp_path: Path, database_url: str) -> None:
    folder = write_folder(tmp_path / "data")
    with (folder / "markets.csv").open("a", encoding="utf-8", newline="") as stream:
        for number, text in enumerate(UNUSUAL_TEXTS + UNPRINTABLE_TEXTS):
            csv.writer(stream).writerow(("E", f"M{number:02}", text, text, "", "", "", text))
    rejects = tmp_path / "rejects.csv"
    assert load(folder, database_url, "--max-rejects", "50%", "--rejects", str(rejects)) == 1
    found = query(
        database_url, "SELECT name, description, market_class FROM markets WHERE exchange_id = 'E' ORDER BY market_id"
    )
    texts = [text.replace("\r\n", " ").replace("\n", " ") for text in UNUSUAL_TEXTS]
    assert found == [(text, text, text) for text in texts]
    with rejects.open(encoding="utf-8", newline="") as lines:
        reasons = [row[2] for row in csv.reader(lines)][1:]
    assert reasons == ["name holds a control character or a line separator"] * len(UNPRINTABLE_TEXTS)


UNUSUAL_NUMBERS = (
    "0",
    "-0",
    "5.",
    ".5",
    "+1.5",
    "1e-05",
    "1E+2",
    "1e12",
    "1e-9",
    "0.1",
    "3.669999999999999",
    "000000000000000000000000000001",
)
UNUSUAL_DATES = ("1990-01-01", "2020-02-29", "2000-02-29", "2020-12-31")
IMPOSSIBLE_NUMBERS = ("1e308", "9" * 300, "5e-324", "1e-10", "-1")
IMPOSSIBLE_DATES = ("0001-01-01", "9999-12-31", "1899-12-31", "1900-01-01", "2062-12-31")


def test_every_number_and_date_that_is_accepted_means_the_same_to_the_database(
    tmp_path: Path, database_url: str
) -> None:
    rows = [f"N{place:02},2018-01-02,{number}" for place, number in enumerate(UNUSUAL_NUMBERS + IMPOSSIBLE_NUMBERS)]
    rows += [f"D{place:02},{day},1" for place, day in enumerate(UNUSUAL_DATES + IMPOSSIBLE_DATES)]
    folder = write_folder(tmp_path / "data", with_rows("close_prices", *rows))
    assert load(folder, database_url, "--max-rejects", "50%", "--rejects", str(tmp_path / "rejects.csv")) == 1
    numbers = query(database_url, "SELECT close_price FROM close_prices WHERE isin LIKE 'N%' ORDER BY isin")
    assert [number for (number,) in numbers] == [float(number) for number in UNUSUAL_NUMBERS]
    days = query(database_url, "SELECT priced_on::text FROM close_prices WHERE isin LIKE 'D%' ORDER BY isin")
    assert [day for (day,) in days] == list(UNUSUAL_DATES)


def test_longest_keys_can_be_indexed(tmp_path: Path, database_url: str) -> None:
    rows = {
        **with_rows("transactions", f"{'C' * 64},{'G' * 20},{'€' * 200},Buy,2020-07-02,1,1,,"),
        "markets": f"{'Ω' * 200},{'€' * 200},,,,,,",
    }
    assert load(write_folder(tmp_path / "data", rows), database_url) == 0


@pytest.fixture(scope="module")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    synthesize(folder, 0.02, 7)
    return folder


def test_loader_and_plain_copy_give_the_same_rows(synthetic_folder: Path, database_url: str) -> None:
    assert load(synthetic_folder, database_url) == 0
    _assert_as_plain_copy(synthetic_folder, database_url)


def test_small_blocks_give_the_same_rows(synthetic_folder: Path, database_url: str) -> None:
    access = FileAccess(on_reject=lambda reject: None, block_bytes=1_000)
    with PostgresReferenceStore.connect(database_url) as store:
        load_folder(check_files(synthetic_folder), store=store, limits=LoadLimits(0, 0), access=access)
    _assert_as_plain_copy(synthetic_folder, database_url)


def _assert_as_plain_copy(folder: Path, database_url: str) -> None:
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            for schema in TABLES:
                columns = ", ".join(column.name for column in schema.columns)
                cursor.execute(
                    f"CREATE TEMP TABLE plain ON COMMIT DROP AS SELECT {columns} FROM {schema.table} LIMIT 0"
                )
                with (folder / schema.file_name).open("rb") as stream:
                    cursor.copy_expert("COPY plain FROM STDIN (FORMAT csv, HEADER)", stream)
                for one, other in (("plain", schema.table), (schema.table, "plain")):
                    difference = f"SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other}"
                    cursor.execute(f"SELECT count(*) FROM ({difference}) AS rows")
                    assert cursor.fetchone() == (0,), schema.table
                cursor.execute("DROP TABLE plain")
    finally:
        connection.close()


def test_real_published_files_load_whole(database_url: str) -> None:
    folder = real_data_folder()
    if folder is None:
        pytest.skip("no real FAR-Trans files: set FAR_TRANS_DATA to their folder")
    assert load(folder, database_url) == 0
    for name, count in count_rows(database_url).items():
        path = folder / f"{name}.csv"
        lines = path.read_bytes().count(b"\n") if path.exists() else 1
        assert count == lines - 1, name
    _assert_as_plain_copy(folder, database_url)
