"""What the loader accepts means the same to the database, and is what a plain COPY would have loaded."""

from __future__ import annotations

import csv
from pathlib import Path

import psycopg2
import pytest

from shared.adapters.reference_store import PostgresReferenceStore
from shared.far_trans import TABLES
from shared.reference_data.loading import check_files, load_table
from shared.synthetic import synthesize
from tests.far_trans_files import real_data_folder, write_folder
from tests.integration.loading import count_rows, load, query, with_rows

pytestmark = pytest.mark.postgres

UNUSUAL_TEXTS = (
    "plain",
    "Ελληνικά ονόματα",
    'with "quotes", commas',
    "two\nlines\r\nthree",
    "\\.",
    "line\n\\.\nline",
    "\\N",
    "back\\slash\\",
    "tab\there",
    " spaces ",
    "\u00a0\u2028\U0001f4b6",
    "\x01\x7f",
    "x" * 5_000,
)


def test_every_text_arrives_as_it_was_written(tmp_path: Path, database_url: str) -> None:
    folder = write_folder(tmp_path / "data")
    with (folder / "markets.csv").open("a", encoding="utf-8", newline="") as stream:
        for number, text in enumerate(UNUSUAL_TEXTS):
            csv.writer(stream).writerow(("E", f"M{number:02}", text, text, "", "", "", text))
    assert load(folder, database_url) == 0
    found = query(
        database_url, "SELECT name, description, market_class FROM markets WHERE exchange_id = 'E' ORDER BY market_id"
    )
    assert found == [(text, text, text) for text in UNUSUAL_TEXTS]


UNUSUAL_NUMBERS = (
    "0",
    "-0",
    "5.",
    ".5",
    "+1.5",
    "1e-05",
    "1E+2",
    "1e308",
    "5e-324",
    "0.1",
    "3.669999999999999",
    "9" * 300,
)
UNUSUAL_DATES = ("0001-01-01", "9999-12-31", "2020-02-29", "2000-02-29", "1899-12-31")


def test_every_number_and_date_that_is_accepted_means_the_same_to_the_database(
    tmp_path: Path, database_url: str
) -> None:
    rows = [f"N{place:02},2018-01-02,{number}" for place, number in enumerate(UNUSUAL_NUMBERS)]
    rows += [f"D{place:02},{day},1" for place, day in enumerate(UNUSUAL_DATES)]
    assert load(write_folder(tmp_path / "data", with_rows("close_prices", *rows)), database_url) == 0
    numbers = query(database_url, "SELECT close_price FROM close_prices WHERE isin LIKE 'N%' ORDER BY isin")
    assert [number for (number,) in numbers] == [float(number) for number in UNUSUAL_NUMBERS]
    days = query(database_url, "SELECT priced_on::text FROM close_prices WHERE isin LIKE 'D%' ORDER BY isin")
    assert [day for (day,) in days] == list(UNUSUAL_DATES)


def test_longest_keys_can_be_indexed(tmp_path: Path, database_url: str) -> None:
    row = f"{'Ω' * 200},{'€' * 200},1,Buy,2020-07-02,1,1,,"
    assert load(write_folder(tmp_path / "data", with_rows("transactions", row)), database_url) == 0


@pytest.fixture(scope="module")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    synthesize(folder, 0.02, 7)
    return folder


def test_loader_and_plain_copy_give_the_same_rows(synthetic_folder: Path, database_url: str) -> None:
    assert load(synthetic_folder, database_url) == 0
    _assert_as_plain_copy(synthetic_folder, database_url)


def test_small_blocks_give_the_same_rows(synthetic_folder: Path, database_url: str) -> None:
    with PostgresReferenceStore.connect(database_url) as store:
        for source in check_files(synthetic_folder):
            load_table(source, store=store, on_reject=lambda reject: None, block_bytes=1_000)
    _assert_as_plain_copy(synthetic_folder, database_url)


def _assert_as_plain_copy(folder: Path, database_url: str) -> None:
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            for schema in TABLES:
                cursor.execute(f"CREATE TEMP TABLE plain (LIKE {schema.table}) ON COMMIT DROP")
                with (folder / schema.file_name).open("rb") as stream:
                    cursor.copy_expert("COPY plain FROM STDIN (FORMAT csv, HEADER)", stream)
                for one, other in (("plain", schema.table), (schema.table, "plain")):
                    cursor.execute(f"SELECT count(*) FROM (SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}) AS d")
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
