"""What lists and GET /assets show of an asset: the latest known price, its date, and the return of twelve months."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, insert, text

from api.catalogue import AssetCatalogue, AssetQuery
from api.reader import PostgresGatewayReader
from api.schemas.assets import AssetItem
from shared.postgres import tables
from worker.ports import AssetDisplay
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

AS_OF = date(2020, 8, 14)
YEAR_BEFORE = date(2019, 8, 14)
Answer = TypeVar("Answer")


def add(engine: Engine, table: Any, *rows: Mapping[str, Any]) -> None:
    with engine.begin() as connection:
        for row in rows:
            connection.execute(insert(table), row)


def add_asset(engine: Engine, isin: str = "A", *prices: tuple[date, float], **limits: Any) -> None:
    """Add an asset with close prices, and limit prices where given."""
    add(
        engine,
        tables.asset_information,
        {"isin": isin, "asset_category": "Stock", "recorded_on": date(2018, 1, 2)},
    )
    add(
        engine,
        tables.close_prices,
        *({"isin": isin, "priced_on": day, "close_price": price} for day, price in prices),
    )
    if limits:
        add(engine, tables.limit_prices, {"isin": isin, "min_date": date(2018, 1, 2), **limits})


def add_model(engine: Engine, version: str, *, as_of: Any, sequence: int = 1) -> None:
    row = {"version": version, "status": "promoted", "active": True, "sequence": sequence, "triggered_by": "test"}
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET active = false"))
    add(engine, tables.model_versions, {**row, "watermark": {"as_of": as_of}})


def fetch_display(database_url: str, isin: str = "A", *, as_of: date | None = AS_OF) -> AssetDisplay:
    store = PostgresWorkerStore(database_url, cluster_id="c", consumer_group="g")
    try:
        return store.fetch_asset_displays(as_of=as_of)[isin]
    finally:
        store.close()


def read(database_url: str, call: Callable[[PostgresGatewayReader], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        reader = PostgresGatewayReader(database_url, timeout_seconds=5, pool_size=1)
        await reader.start()
        try:
            return await call(reader)
        finally:
            await reader.close()

    return asyncio.run(run())


def fetch_asset(database_url: str, isin: str = "A") -> AssetItem:
    asset = read(database_url, lambda reader: reader.fetch_asset(isin, timeout_seconds=5))
    assert asset is not None
    return asset


@pytest.mark.parametrize(
    ("closes", "limits", "shown"),
    [
        ([(date(2019, 1, 2), 2.0)], {"max_date": date(2022, 11, 29), "price_max_date": 5.0}, (5.0, date(2022, 11, 29))),
        ([(date(2021, 1, 2), 2.0)], {"max_date": date(2020, 11, 29), "price_max_date": 5.0}, (2.0, date(2021, 1, 2))),
        ([(date(2021, 1, 2), 2.0)], {"max_date": date(2021, 1, 2), "price_max_date": 5.0}, (2.0, date(2021, 1, 2))),
        ([(date(2021, 1, 2), 2.0)], {}, (2.0, date(2021, 1, 2))),
        ([], {"max_date": date(2021, 1, 2), "price_max_date": 5.0}, (5.0, date(2021, 1, 2))),
        ([], {"max_date": date(2021, 1, 2), "price_min_date": 3.0}, (3.0, date(2018, 1, 2))),
        (
            [(date(2017, 1, 2), 2.0)],
            {"max_date": date(2021, 1, 2), "price_max_date": 0.0, "price_min_date": 3.0},
            (3.0, date(2018, 1, 2)),
        ),
        ([(date(2021, 1, 2), 0.0)], {}, (None, None)),
        ([(date(2021, 1, 2), -1.0)], {"max_date": date(2020, 1, 2), "price_max_date": 5.0}, (5.0, date(2020, 1, 2))),
        ([(date(2021, 1, 2), float("nan"))], {}, (None, None)),
        ([(date(2021, 1, 2), float("inf"))], {}, (None, None)),
        ([(date(2021, 1, 2), 1e308)], {}, (None, None)),
        ([(date(9999, 12, 31), 2.0)], {"max_date": date(2020, 1, 2), "price_max_date": 5.0}, (5.0, date(2020, 1, 2))),
        ([(date(9999, 12, 31), 2.0)], {}, (2.0, None)),
        ([], {}, (None, None)),
    ],
)
def test_the_price_is_the_latest_that_any_source_has(
    database_url: str,
    engine: Engine,
    closes: list[tuple[date, float]],
    limits: dict[str, Any],
    shown: tuple[float | None, date | None],
) -> None:
    add_asset(engine, "A", *closes, **limits)
    display, asset = fetch_display(database_url), fetch_asset(database_url)
    assert (display.current_price, display.price_date) == shown
    assert (asset.current_price, asset.price_date) == shown
    assert (display.currency, asset.currency) == (None, None)


@pytest.mark.parametrize("day", ["-infinity", "infinity", "0044-03-15 BC"])
def test_a_date_that_python_cannot_represent_is_no_date_of_a_price(database_url: str, engine: Engine, day: str) -> None:
    add_asset(engine)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO close_prices (isin, priced_on, close_price) VALUES ('A', '{day}', 2)"))
    assert (fetch_display(database_url).current_price, fetch_asset(database_url).price_date) == (2.0, None)


def days(day: date, count: int) -> date:
    return day + timedelta(days=count)


@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        ([(YEAR_BEFORE, 4.0), (AS_OF, 5.0)], 0.25),
        ([(YEAR_BEFORE, 4.0), (days(YEAR_BEFORE, 1), 9.0), (AS_OF, 5.0), (days(AS_OF, 1), 9.0)], 0.25),
        ([(days(YEAR_BEFORE, -30), 4.0), (AS_OF, 3.0)], -0.25),
        ([(days(YEAR_BEFORE, -31), 4.0), (AS_OF, 3.0)], None),
        ([(days(YEAR_BEFORE, 1), 4.0), (AS_OF, 3.0)], None),
        # The twelve months end at the last price, not at the date of the model.
        ([(days(YEAR_BEFORE, -60), 4.0), (days(AS_OF, -30), 5.0)], 0.25),
        ([(days(YEAR_BEFORE, -60), 4.0), (days(AS_OF, -31), 5.0)], None),
        ([(days(AS_OF, 1), 5.0), (YEAR_BEFORE, 4.0)], None),
        ([(AS_OF, 5.0)], None),
        ([], None),
        ([(YEAR_BEFORE, 0.0), (AS_OF, 5.0)], None),
        ([(YEAR_BEFORE, -4.0), (AS_OF, 5.0)], None),
        ([(YEAR_BEFORE, 4.0), (AS_OF, 0.0)], None),
        ([(YEAR_BEFORE, float("nan")), (AS_OF, 5.0)], None),
        ([(YEAR_BEFORE, 4.0), (AS_OF, float("inf"))], None),
        ([(YEAR_BEFORE, 1e-300), (AS_OF, 1e308)], None),
        ([(YEAR_BEFORE, 1e308), (AS_OF, 1e-300)], None),
        ([(YEAR_BEFORE, 1e-9), (AS_OF, 1e12)], 1e21 - 1),
        ([(days(YEAR_BEFORE, -1), 4.0), (YEAR_BEFORE, 0.0), (AS_OF, 5.0)], 0.25),
        # Of two rows of one day the later one counts.
        ([(YEAR_BEFORE, 9.0), (YEAR_BEFORE, 4.0), (AS_OF, 9.0), (AS_OF, 5.0)], 0.25),
    ],
)
def test_the_trailing_return_compares_the_last_price_with_that_of_twelve_months_before(
    database_url: str, engine: Engine, closes: list[tuple[date, float]], expected: float | None
) -> None:
    add_asset(engine, "A", *closes)
    add_model(engine, "v1", as_of=AS_OF.isoformat())
    shown = fetch_display(database_url).trailing_return_12m
    assert shown == (None if expected is None else pytest.approx(expected))
    assert fetch_asset(database_url).trailing_return_12m == shown


def test_prices_after_the_date_of_the_model_do_not_change_the_trailing_return(
    database_url: str, engine: Engine
) -> None:
    add_asset(engine, "A", (YEAR_BEFORE, 4.0), (AS_OF, 5.0), max_date=AS_OF, price_max_date=5.0)
    before = fetch_display(database_url)
    later = [{"isin": "A", "priced_on": days(AS_OF, count), "close_price": 100.0} for count in (1, 2, 30, 400)]
    add(engine, tables.close_prices, *later)
    limits = {"isin": "A", "min_date": date(2018, 1, 2), "max_date": date(2022, 11, 29), "price_max_date": 100.0}
    add(engine, tables.limit_prices, limits)
    after = fetch_display(database_url)
    assert after.trailing_return_12m == before.trailing_return_12m == 0.25
    assert (before.current_price, after.current_price) == (5.0, 100.0)


def test_a_leap_day_has_a_day_twelve_months_before(database_url: str, engine: Engine) -> None:
    add_asset(engine, "A", (date(2019, 2, 28), 4.0), (date(2019, 3, 1), 9.0), (date(2020, 2, 29), 5.0))
    assert fetch_display(database_url, as_of=date(2020, 2, 29)).trailing_return_12m == 0.25


@pytest.mark.parametrize("as_of", [None, date.min, date.max])
def test_without_a_date_of_a_model_there_is_no_trailing_return(
    database_url: str, engine: Engine, as_of: date | None
) -> None:
    add_asset(engine, "A", (YEAR_BEFORE, 4.0), (AS_OF, 5.0))
    display = fetch_display(database_url, as_of=as_of)
    assert (display.current_price, display.trailing_return_12m) == (5.0, None)


@pytest.mark.parametrize("as_of", [None, "", "2020-99-99", "yesterday", 7, ["2020-08-14"]])
def test_a_date_that_the_trainer_did_not_write_leaves_the_catalogue_readable(
    database_url: str, engine: Engine, as_of: Any
) -> None:
    add_asset(engine, "A", (YEAR_BEFORE, 4.0), (AS_OF, 5.0))
    add_model(engine, "v1", as_of=as_of)
    asset = fetch_asset(database_url)
    assert (asset.current_price, asset.trailing_return_12m) == (5.0, None)


def test_the_gateway_follows_the_active_model(database_url: str, engine: Engine) -> None:
    add_asset(engine, "A", (YEAR_BEFORE, 4.0), (AS_OF, 5.0), (days(AS_OF, 1), 6.0))

    async def trailing(catalogue: AssetCatalogue) -> float | None:
        await catalogue.refresh()
        [content] = (await catalogue.page(AssetQuery(), limit=1, offset=0)).assets
        value: float | None = json.loads(content)["trailing_return_12m"]
        return value

    async def follow(reader: PostgresGatewayReader) -> list[float | None]:
        catalogue = AssetCatalogue(reader, refresh_seconds=30)
        shown = [await trailing(catalogue)]
        for sequence, as_of in enumerate((AS_OF, days(AS_OF, 1), AS_OF), start=1):
            await asyncio.to_thread(add_model, engine, f"v{sequence}", as_of=as_of.isoformat(), sequence=sequence)
            shown.append(await trailing(catalogue))
        return shown

    assert read(database_url, follow) == [None, 0.25, 0.5, 0.25]


def test_unknown_isins_and_odd_names_are_answered(database_url: str, engine: Engine) -> None:
    name = "\u05d1\u05e0\u05e7 \"quoted\" 'and'\ntwo lines\u202e"
    row = {"isin": "B", "asset_category": "MTF", "recorded_on": date(2018, 1, 2), "asset_name": name}
    add(engine, tables.asset_information, row)
    add_asset(engine, "A")
    assert (fetch_asset(database_url, "A").assetname, fetch_asset(database_url, "B").assetname) == ("A", name)
    assert read(database_url, lambda reader: reader.fetch_asset("' OR ''='", timeout_seconds=5)) is None


def count_buffers(engine: Engine, statement: str) -> int:
    with engine.begin() as connection:
        [[plan]] = connection.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")).all()
    return int(plan[0]["Plan"]["Shared Hit Blocks"]) + int(plan[0]["Plan"]["Shared Read Blocks"])


def test_one_asset_and_the_prices_of_a_year_are_read_by_index(database_url: str, engine: Engine) -> None:
    """A longer history, and more assets, cost one asset nothing; all assets cost a bounded number of blocks each."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asset_information (isin, asset_category, recorded_on) "
                "SELECT 'A' || n, 'Stock', '2018-01-02' FROM generate_series(1, 500) n"
            )
        )
        connection.execute(
            text(
                "INSERT INTO close_prices (isin, priced_on, close_price) "
                "SELECT 'A' || n, DATE '2018-01-01' + day, 1 + day FROM generate_series(1, 500) n, "
                "generate_series(0, 999) day"
            )
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE asset_information"))
        connection.execute(text("VACUUM ANALYZE close_prices"))
        [[pages]] = connection.execute(text("SELECT relpages FROM pg_class WHERE relname = 'close_prices'")).all()
    assert count_buffers(engine, "SELECT * FROM shown_assets('2020-08-14') WHERE isin = 'A7'") < 60
    assert count_buffers(engine, "SELECT * FROM shown_assets('2020-08-14')") < 500 * 60
    assert pages > 2000
