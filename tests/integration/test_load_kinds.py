"""FAR-Trans/script.py with each kind of file: accepted ones give the same rows, refused ones change nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.errors import DatabaseUnavailable
from shared.far_trans.schema import TABLES
from shared.far_trans.store import PostgresReferenceStore
from tests.far_trans_files import write_folder
from tests.file_kinds import EACH_VARIATION, REFUSED, SCHEMAS, Variation, rows_of_table, write_refused, write_variation
from tests.integration.loading import TABLE_NAMES, count_rows, load, query, read_all, write_rows

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_all(folder: Path, variation: Variation) -> Path:
    folder.mkdir(exist_ok=True)
    for table in SCHEMAS:
        write_variation(folder, table, rows_of_table(table), variation)
    return folder


def read_rows(database_url: str) -> dict[str, list[tuple[object, ...]]]:
    columns = {schema.table: ", ".join(column.name for column in schema.columns) for schema in TABLES}
    return {
        table: query(database_url, f"SELECT {names} FROM {table} ORDER BY 1, 2") for table, names in columns.items()
    }


@pytest.mark.parametrize("name", EACH_VARIATION)
def test_each_accepted_kind_loads_the_same_rows(
    name: str, tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(write_all(tmp_path / "data", Variation()), database_url) == 0
    published = read_rows(database_url)
    capsys.readouterr()

    assert load(write_all(tmp_path / "data", EACH_VARIATION[name]), database_url) == 0

    assert read_rows(database_url) == published
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    expected = "; ".join(f"{schema.file_name}: currency, Σχόλιο" for schema in TABLES)
    assert warnings == ([f"warning: ignored columns: {expected}"] if name == "other columns" else [])


@pytest.mark.parametrize("kind", REFUSED)
def test_each_refused_kind_is_named_and_changes_nothing(
    kind: str, tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "data")
    assert load(folder, database_url) == 0
    before = read_all(database_url)
    message = write_refused(folder, kind)
    capsys.readouterr()

    assert load(folder, database_url) == 2

    error = capsys.readouterr().err
    assert message in error
    assert "Nothing was loaded; the database is as it was." in error
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", error) == []
    assert read_all(database_url) == before


def test_check_says_what_a_load_would_do_and_changes_nothing(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_rows(tmp_path / "data")
    assert load(folder, database_url) == 0
    before = read_all(database_url)
    write_rows(folder, count=17)
    capsys.readouterr()

    assert load(folder, database_url, "--check") == 0

    error = capsys.readouterr().err
    assert re.search(r"close_prices\W+10\W+17\W+0\b", error)
    assert "a load would be accepted" in error
    assert read_all(database_url) == before


def test_check_of_a_folder_with_few_rejects_is_accepted_and_names_the_rejects_file(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_rows(tmp_path / "data", count=200)
    prices = folder / "close_prices.csv"
    prices.write_text(prices.read_text() + "bad\n")
    assert load(folder, database_url, "--check") == 0
    assert "far_trans.rejects.csv says which rows" in capsys.readouterr().err
    assert "bad" in Path("far_trans.rejects.csv").read_text()
    assert count_rows(database_url) == dict.fromkeys(TABLE_NAMES, 0)


@pytest.mark.parametrize("kind", ["UTF-16", "decimal commas in quotes"])
def test_check_refuses_what_a_load_refuses(
    kind: str, tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "data")
    message = write_refused(folder, kind)
    assert load(folder, database_url, "--check") == 2
    assert message in capsys.readouterr().err
    write_rows(folder, count=10)
    assert load(folder, database_url) == 0
    write_rows(folder, count=3)
    assert load(folder, database_url, "--check") == 2
    assert "would shrink from 10 to 3 rows" in capsys.readouterr().err


def test_check_waits_for_nobody_and_keeps_no_load_out(tmp_path: Path, database_url: str) -> None:

    folder = write_rows(tmp_path / "data")
    with PostgresReferenceStore.connect(database_url):
        assert load(folder, database_url, "--check") == 0
    with PostgresReferenceStore.connect(database_url, read_only=True):
        assert load(folder, database_url) == 0


def test_session_of_a_check_cannot_write(database_url: str) -> None:

    with (
        pytest.raises(DatabaseUnavailable, match="read-only"),
        PostgresReferenceStore.connect(database_url, read_only=True) as store,
    ):
        store.tidy()
