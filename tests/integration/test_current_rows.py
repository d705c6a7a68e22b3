"""Which of several rows counts: the newest date, then the last line; the same for lists, GET /assets and training."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import create_engine

from api.ports import AssetRow
from api.reader import PostgresGatewayReader
from shared.identifiers import latest_date
from shared.postgres.engine import sqlalchemy_url
from shared.recommender.training_data import TrainingRows
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel
from tests.far_trans_files import SOUND_ROWS, write_folder
from tests.integration.loading import load
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
        with engine.connect() as connection:
            return read_training_rows(connection, latest=latest_date())
    finally:
        engine.dispose()


def fetch_asset(database_url: str) -> AssetRow:
    async def fetch() -> AssetRow:
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

    assert display == AssetDisplay("GRS1", "Right", "Stock", "Technology", None, 2.0, 0.3)
    assert (shown.assetname, shown.assetcategory, shown.sector) == ("Right", "Stock", "Technology")
    assert (shown.current_price, shown.profitability) == (2.0, 0.3)
    assert [(one.sector, one.tradable_from, one.tradable_until) for one in rows.assets] == [
        ("Technology", date(2018, 1, 3), date(2022, 11, 29))
    ]
    assert customer == Customer("C1", RiskLevel.AGGRESSIVE, InvestmentCapacity.MORE_THAN_300K)
    assert rows.customers == (customer,)


def test_training_has_one_price_a_day(loaded: str) -> None:
    prices = fetch_training_rows(loaded).close_prices.sort_values("day")
    assert prices["close_price"].tolist() == [1.0, 7.0, 2.0]


def test_current_row_does_not_depend_on_where_rows_lie(loaded: str) -> None:
    before = fetch_asset(loaded)
    connection = psycopg2.connect(loaded)
    with connection, connection.cursor() as cursor:
        for table in ("asset_information", "limit_prices", "close_prices"):
            cursor.execute(f"CREATE INDEX backwards ON {table} (sequence DESC)")
            cursor.execute(f"CLUSTER {table} USING backwards")
            cursor.execute("DROP INDEX backwards")
    connection.close()
    assert fetch_asset(loaded) == before
