"""The latest row has the newest date, then the last line; lists, GET /assets and training use the same one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import create_engine

from api.reader import PostgresGatewayReader
from api.schemas.assets import AssetItem
from shared.identifiers import latest_date
from shared.postgres.engine import sqlalchemy_url
from shared.recommender.training_rows import TrainingRows
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel
from tests.far_trans_files import SOUND_ROWS, write_folder
from tests.integration.loading import load, query
from trainer.service.training_rows import read_training_rows
from worker.ports import AssetDisplay
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

# In each file: an old row, two of the newest date (the later line is the right one), and an old one last.
ROWS = {
    **SOUND_ROWS,
    "customer_information": "\n".join(
        (
            "C1,Mass,Income,CAP_LT30K,2018-01-02,2018-01-02",
            "C1,Mass,Balanced,CAP_LT30K,2018-01-02,2021-01-02",
            "C1,Mass,Aggressive,CAP_GT300K,2018-01-02,2021-01-02",
            "C1,Mass,Conservative,CAP_LT30K,2018-01-02,2020-01-02",
        )
    ),
    "asset_information": "\n".join(
        (
            "GRS1,Oldest,,Bond,,XATH,,,2018-01-02",
            "GRS1,First of the day,,Bond,,XATH,,,2021-01-02",
            "GRS1,Right,,Stock,,XATH,Technology,,2021-01-02",
            "GRS1,Late line of an old date,,Bond,,XATH,,,2020-01-02",
        )
    ),
    "limit_prices": "\n".join(
        (
            "GRS1,2018-01-02,2019-11-29,3,4,0.1",
            "GRS1,2018-01-02,2022-11-29,3,5,0.2",
            "GRS1,2018-01-03,2022-11-29,3,6,0.3",
            "GRS1,2018-01-02,2021-11-29,3,7,0.4",
        )
    ),
    "close_prices": "\n".join(
        ("GRS1,2018-01-02,1", "GRS1,2021-01-02,9", "GRS1,2021-01-02,2", "GRS1,2020-01-02,8", "GRS1,2020-01-02,7")
    ),
}

# view: table; and the line of the latest row in its file.
LATEST_ROWS = {
    "latest_customers": "customer_information",
    "latest_assets": "asset_information",
    "latest_limit_prices": "limit_prices",
    "latest_close_prices": "close_prices",
}
LATEST_LINES = dict.fromkeys(LATEST_ROWS, 4)


@pytest.fixture
def loaded(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database in which the rows were replaced often enough for new rows to fill the space of old ones."""
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "data", ROWS)
    for _ in range(4):
        assert load(folder, database_url) == 0
    return database_url


def fetch_training_rows(database_url: str) -> TrainingRows:
    engine = create_engine(sqlalchemy_url(database_url), isolation_level="REPEATABLE READ")
    try:
        with engine.begin() as connection:
            return read_training_rows(connection, latest=latest_date())
    finally:
        engine.dispose()


def fetch_asset(database_url: str) -> AssetItem:
    async def fetch() -> AssetItem:
        reader = PostgresGatewayReader(database_url, timeout_seconds=5, pool_size=1)
        await reader.start()
        try:
            (asset,) = await reader.fetch_assets(limit=10)
            return asset
        finally:
            await reader.close()

    return asyncio.run(fetch())


def test_lists_assets_and_training_name_the_same_row(loaded: str) -> None:
    store = PostgresWorkerStore(loaded, cluster_id="c", consumer_group="g")
    try:
        display = store.fetch_asset_displays()["GRS1"]
        with store.begin() as transaction:
            customer = transaction.fetch_histories(["C1"])["C1"].customer
    finally:
        store.close()
    shown, rows = fetch_asset(loaded), fetch_training_rows(loaded)

    assert display == AssetDisplay(
        "GRS1", "Right", "Stock", "Technology", None, 6.0, 0.3, price_date=date(2022, 11, 29)
    )
    assert (shown.assetname, shown.assetcategory, shown.sector) == ("Right", "Stock", "Technology")
    assert (shown.current_price, shown.price_date, shown.profitability) == (6.0, date(2022, 11, 29), 0.3)
    assert [(one.sector, one.tradable_from, one.tradable_until) for one in rows.assets] == [
        ("Technology", date(2018, 1, 3), date(2022, 11, 29))
    ]
    known = Customer("C1", RiskLevel.AGGRESSIVE, InvestmentCapacity.MORE_THAN_300K)
    assert customer == replace(known, questionnaire_on=date(2018, 1, 2))  # a policy of the worker asks for it
    assert rows.customers == (known,)


def test_training_has_one_price_a_day(loaded: str) -> None:
    prices = fetch_training_rows(loaded).close_prices.sort_values("day")
    assert prices["close_price"].tolist() == [1.0, 7.0, 2.0]


def move_rows(database_url: str) -> None:
    """Give the rows of each table the reverse physical order, by UPDATE, VACUUM FULL and CLUSTER."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for table in LATEST_ROWS.values():
            cursor.execute(f"UPDATE {table} SET line_number = line_number")
            cursor.execute(f"VACUUM FULL {table}")
            cursor.execute(f"CREATE INDEX backwards ON {table} (line_number DESC)")
            cursor.execute(f"CLUSTER {table} USING backwards")
            cursor.execute("DROP INDEX backwards")
    connection.close()


def fetch_latest_lines(database_url: str) -> dict[str, int]:
    return {view: query(database_url, f"SELECT line_number FROM {view}")[0][0] for view in LATEST_ROWS}


def test_latest_row_is_the_same_line_of_the_file_wherever_the_rows_are_stored(loaded: str) -> None:
    before = fetch_asset(loaded), fetch_training_rows(loaded)
    assert fetch_latest_lines(loaded) == LATEST_LINES

    move_rows(loaded)

    [(first_stored,)] = query(loaded, "SELECT line_number FROM close_prices LIMIT 1")
    assert first_stored == 6  # the rows are in reverse order now
    assert fetch_latest_lines(loaded) == LATEST_LINES
    after = fetch_asset(loaded), fetch_training_rows(loaded)
    assert after[0] == before[0]
    assert (after[1].assets, after[1].customers) == (before[1].assets, before[1].customers)


def test_every_row_names_its_line_of_the_file_beside_rejects_blank_lines_and_quotes(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assets = (
        'A1,"Name, with comma",,Stock,,,,,2020-01-02',
        "",
        "not an asset",
        "A2,Plain,,Bond,,,,,2020-01-02",
        'A3,"two\nlines\x1b",,Bond,,,,,2020-01-02',
        "A4,Plain,,Bond,,,,,2020-01-02",
        "A5,Plain,,Bond,,,,,2020-01-02",
    )
    folder = write_folder(tmp_path / "data", {**SOUND_ROWS, "asset_information": "\n".join(assets)})
    for _ in range(2):
        assert load(folder, database_url, "--max-rejects", "50%", "--max-shrink", "100%") == 1
        found = query(database_url, "SELECT isin, line_number FROM asset_information ORDER BY line_number")
        assert found == [("A1", 2), ("A2", 5), ("A4", 8), ("A5", 9)]


def test_row_without_a_line_number_is_later_than_every_line_of_the_file(loaded: str) -> None:
    """Code of an older version, and a person, insert rows without a line number."""
    connection = psycopg2.connect(loaded)
    with connection, connection.cursor() as cursor:
        for category in ("Stock", "MTF"):
            cursor.execute(
                "INSERT INTO asset_information (isin, asset_category, recorded_on) "
                f"VALUES ('GRS1', '{category}', '2021-01-02')"
            )
    connection.close()
    for view in ("latest_assets", "current_assets"):
        assert query(loaded, f"SELECT asset_category FROM {view}") == [("MTF",)]
