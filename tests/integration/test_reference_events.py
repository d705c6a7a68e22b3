"""Customers, assets and prices that arrive as events, beside what files load, in every reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
import pytest
from sqlalchemy import create_engine, text

from api.ports import CurrentFacts, CustomerLists
from api.reader import PostgresGatewayReader
from shared.events import (
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    AssetChanged,
    ClosePriceRecorded,
    CustomerChanged,
    Event,
)
from shared.identifiers import latest_date
from shared.ports import Message
from shared.postgres.engine import sqlalchemy_url
from shared.recommender.training_rows import TrainingRows, build_training_data
from shared.recommender.types import RiskLevel
from tests.far_trans_files import SOUND_ROWS, write_folder
from tests.integration.loading import load, query, with_rows
from tests.integration.ports.store_world import decide, decision
from trainer.service.training_rows import digest_rows, read_training_rows
from worker import queries
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

Result = TypeVar("Result")
PRICES = "SELECT isin, priced_on::text, close_price, origin FROM all_close_prices ORDER BY 1, 2"


@pytest.fixture
def store(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresWorkerStore]:
    monkeypatch.chdir(tmp_path)
    store = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    yield store
    store.close()


class Log:
    """Stores events as the worker does; each has the next offset."""

    def __init__(self, store: PostgresWorkerStore) -> None:
        self._store = store
        self._offset = 0

    def record(self, topic: str, *events: Event) -> None:
        rows = []
        for event in events:
            rows.append((Message(topic, 0, self._offset, event.key(), b""), event))
            self._offset += 1
        with self._store.begin() as transaction:
            assert len(transaction.insert_reference_events(topic, rows)) == len(rows)

    def price(self, isin: str, day: str, close_price: float, **fields: Any) -> None:
        event = ClosePriceRecorded(isin=isin, priced_on=date.fromisoformat(day), close_price=close_price, **fields)
        self.record(CLOSE_PRICES_RECORDED, event)

    def asset(self, isin: str, day: str, category: Any, **fields: Any) -> None:
        event = AssetChanged(isin=isin, changed_on=date.fromisoformat(day), asset_category=category, **fields)
        self.record(ASSETS_CHANGED, event)

    def customer(self, customer_id: str, day: str, level: str, **fields: Any) -> None:
        event = CustomerChanged(customer_id=customer_id, changed_on=date.fromisoformat(day), risk_level=level, **fields)
        self.record(CUSTOMERS_CHANGED, event)


def read(database_url: str, call: Callable[[PostgresGatewayReader], Any]) -> Any:
    async def fetch() -> Any:
        reader = PostgresGatewayReader(database_url, timeout_seconds=5, pool_size=1)
        await reader.start()
        try:
            return await call(reader)
        finally:
            await reader.close()

    return asyncio.run(fetch())


def training_rows(database_url: str) -> TrainingRows:
    engine = create_engine(sqlalchemy_url(database_url), isolation_level="REPEATABLE READ")
    try:
        with engine.begin() as connection:
            return read_training_rows(connection, latest=latest_date())
    finally:
        engine.dispose()


def test_a_load_keeps_newer_prices_doubles_none_and_undoes_no_correction(
    tmp_path: Path, database_url: str, store: PostgresWorkerStore
) -> None:
    log = Log(store)
    folder = write_folder(tmp_path / "data", with_rows("close_prices", "GRS1,2020-01-02,1", "GRS1,2020-01-03,2"))
    assert load(folder, database_url) == 0
    log.price("GRS1", "2020-01-03", 2.5, currency="EUR")
    log.price("GRS1", "2020-01-04", 3.0)
    log.price("GRS1", "2020-01-04", 3.5)
    expected = [
        ("GRS1", "2020-01-02", 1.0, "file"),
        ("GRS1", "2020-01-03", 2.5, "event"),
        ("GRS1", "2020-01-04", 3.5, "event"),
    ]
    assert query(database_url, PRICES) == expected
    newer = ("GRS1,2020-01-02,1", "GRS1,2020-01-03,2", "GRS1,2020-01-04,9", "GRS1,2020-01-06,4")
    write_folder(folder, with_rows("close_prices", *newer))
    assert load(folder, database_url) == 0
    assert query(database_url, PRICES) == [*expected, ("GRS1", "2020-01-06", 4.0, "file")]
    latest = "SELECT close_price, origin, currency FROM latest_close_prices"
    assert query(database_url, latest) == [(4.0, "file", None)]
    log.price("GRS1", "2020-01-06", 4.5, currency="EUR")
    assert query(database_url, latest) == [(4.5, "event", "EUR")]
    assert query(database_url, "SELECT count(*) FROM daily_close_prices") == [(4,)]  # what older trainers read


def test_of_customers_and_assets_the_newest_day_counts_and_of_one_day_the_log(
    tmp_path: Path, database_url: str, store: PostgresWorkerStore
) -> None:
    log = Log(store)
    rows = {
        **SOUND_ROWS,
        "customer_information": "C1,Mass,Income,CAP_LT30K,2018-01-02,2021-01-02",
        "asset_information": "GRS1,Loaded,,Bond,,XATH,,,2021-01-02",
    }
    folder = write_folder(tmp_path / "data", rows)
    assert load(folder, database_url) == 0

    def current() -> tuple[object, ...]:
        customers = query(database_url, "SELECT risk_level, origin FROM latest_customers WHERE customer_id = 'C1'")
        assets = query(database_url, "SELECT asset_category, origin FROM latest_assets WHERE isin = 'GRS1'")
        return (*customers[0], *assets[0])

    log.customer("C1", "2020-12-31", "Aggressive")
    log.asset("GRS1", "2020-12-31", "MTF")
    assert current() == ("Income", "file", "Bond", "file")
    log.customer("C1", "2021-01-02", "Balanced")
    log.asset("GRS1", "2021-01-02", "Stock")
    assert current() == ("Balanced", "event", "Stock", "event")
    assert load(folder, database_url) == 0  # the same day again: the log is newer
    assert current() == ("Balanced", "event", "Stock", "event")
    rows["customer_information"] += "\nC1,Mass,Conservative,CAP_LT30K,2018-01-02,2021-01-03"
    rows["asset_information"] += "\nGRS1,Loaded,,MTF,,XATH,,,2021-01-03"
    write_folder(folder, rows)
    assert load(folder, database_url) == 0
    assert current() == ("Conservative", "file", "MTF", "file")


def test_the_gateway_knows_what_arrived_as_an_event(database_url: str, store: PostgresWorkerStore) -> None:
    log = Log(store)

    async def look(reader: PostgresGatewayReader) -> tuple[CustomerLists, bool, str, CurrentFacts, list[Any]]:
        return (
            await reader.fetch_lists("C1"),
            await reader.has_isin("GRS1", timeout_seconds=5),
            await reader.fetch_reference_version(),
            await reader.fetch_current_facts("C1", ["GRS1"]),
            list(await reader.fetch_assets(limit=5)),
        )

    lists, has_isin, version, _, assets = read(database_url, look)
    assert (lists.known, has_isin, assets) == (False, False, [])
    log.customer("C1", "2021-01-02", "Income")
    log.asset("GRS1", "2021-01-02", "Stock", asset_name="One")
    decide(store, decision("C1"))
    lists, has_isin, with_asset, facts, _ = read(database_url, look)
    assert (lists.known, has_isin) == (True, True)
    assert (lists.newest.is_stale, lists.newest.has_newer_interactions) == (False, False)
    assert facts.customer_risk_level == RiskLevel.INCOME
    log.price("GRS1", "2021-01-02", 2.5)
    lists, _, with_price, _, assets = read(database_url, look)
    assert not lists.newest.is_stale  # a price makes no list stale, but is shown
    assert len({version, with_asset, with_price}) == 3
    assert [(one.assetname, one.current_price) for one in assets] == [("One", 2.5)]
    log.customer("C1", "2021-01-02", "Conservative")
    lists, _, _, facts, _ = read(database_url, look)
    assert (lists.newest.is_stale, lists.newest.has_newer_interactions) == (False, True)
    assert facts.customer_risk_level == RiskLevel.CONSERVATIVE
    log.asset("GRS1", "2021-01-03", "Bond")
    assert read(database_url, look)[0].newest.is_stale


def test_a_training_reads_the_same_from_events_as_from_files(
    tmp_path: Path, database_url: str, empty_database_url: str, store: PostgresWorkerStore
) -> None:
    prices = [("GRS1", f"2020-01-{day:02}", float(day)) for day in range(2, 12)]
    loaded = write_folder(
        tmp_path / "loaded",
        {
            **SOUND_ROWS,
            "close_prices": "\n".join(f"{isin},{day},{price}" for isin, day, price in prices),
            "transactions": "",
        },
    )
    assert load(loaded, database_url, "--allow-empty", "transactions") == 0
    from_file = training_rows(database_url)
    without = write_folder(tmp_path / "without", {**SOUND_ROWS, "close_prices": "", "transactions": ""})
    options = ("--allow-empty", "close_prices", "--allow-empty", "transactions")
    assert load(without, database_url, *options) == 0
    log = Log(store)
    for price in prices:
        log.price(*price)
    from_events = training_rows(database_url)
    assert digest_rows(from_events) == digest_rows(from_file)
    now = datetime.now(UTC)
    as_of = build_training_data(from_events, now=now).as_of
    assert as_of == build_training_data(from_file, now=now).as_of == date(2020, 1, 11)
    log.price("GRS1", "2020-02-03", 5.0)
    assert build_training_data(training_rows(database_url), now=now).as_of == date(2020, 2, 3)
    log.asset("NEW1", "2020-01-02", "Stock", sector="Energy")
    log.customer("NEW2", "2020-01-02", "Income")
    rows = training_rows(database_url)
    assert "NEW1" in {asset.isin for asset in rows.assets}
    assert ("NEW2", RiskLevel.INCOME) in {(one.customer_id, one.risk_level) for one in rows.customers}


@pytest.fixture
def many(database_url: str, store: PostgresWorkerStore) -> str:
    """A database with 300 assets of 200 loaded and 100 recorded prices each, and 20,000 customers of both origins."""
    statements = (
        "INSERT INTO asset_information SELECT 'I' || n, 'N', NULL, 'Stock', NULL, NULL, NULL, NULL, '2020-01-01'"
        " FROM generate_series(1, 300) n",
        "INSERT INTO close_prices SELECT 'I' || n, DATE '2020-01-01' + d, 1 + d"
        " FROM generate_series(1, 300) n, generate_series(1, 200) d",
        "INSERT INTO recorded_close_prices (event_id, isin, priced_on, close_price, occurred_at, content_digest,"
        " \"partition\", event_offset) SELECT gen_random_uuid(), 'I' || n, DATE '2020-01-01' + 150 + d, d, now(), '',"
        " 0, 0 FROM generate_series(1, 300) n, generate_series(1, 100) d",
        "INSERT INTO customer_information SELECT 'C' || n, 'Mass', 'Income', NULL, NULL, '2020-01-01'"
        " FROM generate_series(1, 20000) n",
        "INSERT INTO recorded_customers (event_id, customer_id, risk_level, recorded_on, occurred_at, content_digest,"
        " \"partition\", event_offset) SELECT gen_random_uuid(), 'C' || n, 'Balanced', '2021-01-01', now(), '', 0, 0"
        " FROM generate_series(1, 20000) n",
        "ANALYZE",
    )
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()
    return database_url


def rows_read(database_url: str, statement: str, **parameters: Any) -> dict[str, int]:
    """Return how many rows of each table the statement looked at."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        explained = connection.execute(text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}"), parameters)
        plan = explained.scalar_one()[0]["Plan"]
    engine.dispose()
    counts: dict[str, int] = {}

    def look(node: dict[str, Any]) -> None:
        if "Relation Name" in node:
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            counts[node["Relation Name"]] = counts.get(node["Relation Name"], 0) + round(rows)
        for child in node.get("Plans", []):
            look(child)

    look(plan)
    return counts


def test_the_catalogue_reads_a_few_prices_of_each_asset_from_both_origins(many: str) -> None:
    read_rows = rows_read(many, queries.ASSET_DISPLAYS, as_of=None)
    assert 0 < read_rows["close_prices"] <= 300 * 3
    assert 0 < read_rows["recorded_close_prices"] <= 300 * 3


def test_a_batch_reads_the_profiles_of_its_customers_only(many: str) -> None:
    customers = {"customer_ids": [f"C{number}" for number in range(1, 51)]}
    for statement in (queries.CUSTOMERS, queries.NEWEST_WRITES, queries.FRESH_LISTS):
        counts = rows_read(many, statement, **customers)
        assert counts.get("customer_information", 0) <= 50
        assert counts.get("recorded_customers", 0) <= 50, json.dumps(counts)


def test_a_price_of_the_day_after_tomorrow_is_in_no_training(database_url: str, store: PostgresWorkerStore) -> None:
    """The contract refuses such a day; a row that came in another way is left out as one of a file is."""
    log = Log(store)
    log.asset("GRS1", "2020-01-02", "Stock")
    day = datetime.now(UTC).date()
    for days in (0, 1, 2):
        log.price("GRS1", str(day + timedelta(days=days)), 1.0 + days)
    assert sorted(training_rows(database_url).close_prices["close_price"]) == [1.0, 2.0]
