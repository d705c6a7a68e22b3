"""The gateway's reads on a real database: what they return, and how they end when the database does not answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, insert, text
from sqlalchemy.engine import make_url

from api.reader import PostgresGatewayReader
from api.schemas.models import Frontier
from shared.errors import DatabaseBusy, DatabaseUnavailable
from shared.events import InteractionRecorded, RecommendationRequested, RetrainRequested
from shared.postgres import tables
from shared.postgres.engine import sqlalchemy_url
from shared.recommender.types import InteractionType, RiskLevel
from tests.integration.gateway_process import Relay, unused_port

pytestmark = pytest.mark.postgres
Answer = TypeVar("Answer")
Read = Callable[[PostgresGatewayReader], Awaitable[Answer]]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def relay(database_url: str) -> Iterator[Relay]:
    relay = Relay(make_url(database_url).port or 5432)
    yield relay
    relay.close()


def through(relay: Relay, database_url: str) -> str:
    return make_url(database_url).set(port=relay.port, host="127.0.0.1").render_as_string(hide_password=False)


def read(database_url: str, read: Read[Answer], *, timeout_seconds: float = 5.0) -> Answer:
    """Run one read on a reader of its own."""

    async def whole() -> Answer:
        reader = PostgresGatewayReader(database_url, timeout_seconds=timeout_seconds, pool_size=2)
        await reader.start()
        try:
            return await read(reader)
        finally:
            await reader.close()

    return asyncio.run(whole())


def add(engine: Engine, table: Any, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        for row in rows:
            connection.execute(insert(table).values(**row))


def list_row(customer_id: str) -> dict[str, Any]:
    return {
        "customer_id": customer_id,
        "request_id": uuid4(),
        "model_version": "v1",
        "basis": "segment_prior",
        "weights": {},
        "items": [{"isin": "A", "rank": 1}],
        "created_at": datetime.now(UTC),
    }


def test_lists_and_knowledge_of_customers(database_url: str, engine: Engine) -> None:
    add(
        engine,
        tables.customer_information,
        {"customer_id": "known", "recorded_on": date(2020, 1, 1)},
        {"customer_id": "known", "recorded_on": date(2021, 1, 1)},
    )
    row = list_row("stranger")
    add(engine, tables.recommendations, row)

    known = read(database_url, lambda reader: reader.fetch_lists("known"))
    unknown = read(database_url, lambda reader: reader.fetch_lists("unknown"))
    stranger = read(database_url, lambda reader: reader.fetch_lists("stranger"))

    assert (known.known, known.newest) == (True, None)
    assert (unknown.known, unknown.newest) == (False, None)
    assert stranger.known
    assert stranger.newest is not None
    assert stranger.newest.request_id == row["request_id"]
    assert (stranger.newest.model_version, stranger.newest.basis) == ("v1", "segment_prior")
    assert json.loads(str(stranger.newest.items)) == row["items"]


def test_assets_are_shown_as_their_latest_version_with_their_latest_price(database_url: str, engine: Engine) -> None:
    add(
        engine,
        tables.asset_information,
        {"isin": "A", "asset_name": "new", "asset_category": "Stock", "recorded_on": date(2021, 1, 1), "sector": "S2"},
        {"isin": "A", "asset_name": "old", "asset_category": "Stock", "recorded_on": date(2020, 1, 1), "sector": "S1"},
        {"isin": "B", "asset_short_name": "first", "asset_category": "Bond", "recorded_on": date(2021, 1, 1)},
        {"isin": "B", "asset_short_name": "last", "asset_category": "Bond", "recorded_on": date(2021, 1, 1)},
        {"isin": "C", "asset_category": "MTF", "recorded_on": date(2021, 1, 1), "asset_sub_category": "Equity"},
    )
    add(
        engine,
        tables.close_prices,
        {"isin": "A", "priced_on": date(2021, 1, 2), "close_price": 2.0},
        {"isin": "A", "priced_on": date(2021, 1, 3), "close_price": 3.0},
        {"isin": "A", "priced_on": date(2021, 1, 1), "close_price": 1.0},
    )
    limits = {"min_date": date(2020, 1, 1), "max_date": date(2021, 1, 1), "profitability": 0.5, "price_max_date": 9.0}
    add(engine, tables.limit_prices, {"isin": "A", **limits}, {"isin": "B", **limits})

    a, b, c = read(database_url, lambda reader: reader.fetch_assets(limit=10))
    assert (a.assetname, a.sector, a.current_price, a.profitability) == ("new", "S2", 3.0, 0.5)
    assert (b.assetname, b.current_price) == ("last", 9.0)
    assert (c.assetname, c.assetsubcategory, c.current_price, c.profitability) == ("C", "Equity", None, None)

    assert [asset.isin for asset in read(database_url, lambda reader: reader.fetch_assets(limit=2))] == ["A", "B"]
    assert read(database_url, lambda reader: reader.has_isin("A", timeout_seconds=1))
    assert not read(database_url, lambda reader: reader.has_isin("Z", timeout_seconds=1))


def snapshot(table_name: str, loaded_at: datetime) -> dict[str, Any]:
    return {"table_name": table_name, "row_count": 1, "rejected_count": 0, "source": "test", "loaded_at": loaded_at}


def interaction(customer_id: str, isin: str, kind: str, *, recorded_at: datetime, offset: int = 0) -> dict[str, Any]:
    """One row; its place in the log is the order of insertion, whatever the sender's clock says."""
    return {
        "event_id": uuid4(),
        "customer_id": customer_id,
        "isin": isin,
        "interaction_type": kind,
        "occurred_at": datetime(2030 - offset, 1, 1, tzinfo=UTC),
        "partition": 0,
        "event_offset": offset,
        "recorded_at": recorded_at,
    }


def test_a_list_says_what_happened_since_it_was_made(database_url: str, engine: Engine) -> None:
    now = datetime.now(UTC)
    add(engine, tables.reference_snapshots, snapshot("transactions", now))
    known = read(database_url, lambda reader: reader.fetch_reference_version())
    add(
        engine,
        tables.user_interactions,
        {**interaction("C1", "A", "click", recorded_at=now), "sequence": 7},
        {**interaction("C2", "A", "click", recorded_at=now), "sequence": 8},
    )
    for customer_id, sequence in (("C1", 7), ("C2", 7), ("C3", 0)):
        made_with = {"interaction_sequence": sequence, "reference_snapshot": known}
        add(engine, tables.recommendations, {**list_row(customer_id), **made_with})
    add(engine, tables.recommendations, list_row("C4"))  # of an older version: nobody knows

    def since(customer_id: str) -> tuple[bool, bool]:
        newest = read(database_url, lambda reader: reader.fetch_lists(customer_id)).newest
        assert newest is not None
        return newest.is_stale, newest.has_newer_interactions

    assert [since(f"C{number}") for number in (1, 2, 3, 4)] == [
        (False, False),
        (False, True),
        (False, False),
        (True, False),
    ]
    add(engine, tables.reference_snapshots, snapshot("asset_information", now))
    assert read(database_url, lambda reader: reader.fetch_reference_version()) != known
    assert [since(customer_id)[0] for customer_id in ("C1", "C2", "C3")] == [True, True, True]


def test_facts_are_those_of_today(database_url: str, engine: Engine) -> None:
    now = datetime.now(UTC)
    old, new = date(2020, 1, 1), date(2021, 1, 1)
    for category, day in (("Stock", old), ("Bond", new)):
        add(engine, tables.asset_information, {"isin": "A", "asset_category": category, "recorded_on": day})
    for isin in ("B", "C", "D"):
        add(engine, tables.asset_information, {"isin": isin, "asset_category": "Stock", "recorded_on": new})
    for risk_level, day in (("Balanced", new), ("Aggressive", old)):
        add(engine, tables.customer_information, {"customer_id": "C1", "risk_level": risk_level, "recorded_on": day})
    trade = {"transaction_id": "1", "traded_on": new}
    add(
        engine,
        tables.transactions,
        {"customer_id": "C1", "isin": "B", "transaction_type": "Buy", **trade},
        {"customer_id": "C1", "isin": "C", "transaction_type": "Sell", **trade},
        {"customer_id": "C2", "isin": "D", "transaction_type": "Buy", **trade},
    )
    add(
        engine,
        tables.user_interactions,
        interaction("C1", "A", "dismiss", recorded_at=now, offset=0),
        interaction("C1", "A", "click", recorded_at=now, offset=1),
        interaction("C1", "C", "click", recorded_at=now, offset=2),
        interaction("C1", "C", "dismiss", recorded_at=now, offset=3),
        interaction("C2", "D", "dismiss", recorded_at=now, offset=4),
    )

    facts = read(database_url, lambda reader: reader.fetch_current_facts("C1", ["A", "B", "C", "D", "GONE"]))

    assert facts.customer_risk_level is RiskLevel.BALANCED
    assert facts.asset_risk_levels == {"A": RiskLevel.INCOME, **dict.fromkeys("BCD", RiskLevel.BALANCED)}
    assert (set(facts.owned), set(facts.dismissed)) == ({"B"}, {"C"})
    stranger = read(database_url, lambda reader: reader.fetch_current_facts("nobody", ["A"]))
    assert (stranger.customer_risk_level, stranger.owned, stranger.dismissed) == (None, frozenset(), frozenset())


def test_when_all_connections_are_in_use_the_database_is_busy_not_away(database_url: str) -> None:
    async def crowd(reader: PostgresGatewayReader) -> list[type | None]:
        async def hold(seconds: float) -> None:
            await reader._fetch(f"SELECT pg_sleep({seconds})")

        async def ask() -> type | None:
            try:
                await reader.has_isin("A", timeout_seconds=1.0)
            except DatabaseUnavailable as error:
                return type(error)
            return None

        # Two connections. The short read is answered while the questions wait; the third takes its connection at once.
        holding = [asyncio.create_task(hold(seconds)) for seconds in (0.3, 8.0, 8.0)]
        await asyncio.sleep(0)
        results = await asyncio.gather(*(ask() for _ in range(3)))
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
        return results

    assert read(database_url, crowd, timeout_seconds=10.0) == [DatabaseBusy] * 3


def test_models_and_their_artifacts(database_url: str, engine: Engine) -> None:
    def row(version: str, day: int, status: str, **more: Any) -> dict[str, Any]:
        started_at = datetime(2026, 1, day, tzinfo=UTC)
        return {"version": version, "status": status, "triggered_by": "test", "started_at": started_at, **more}

    add(
        engine,
        tables.model_versions,
        row(
            "v1",
            1,
            "promoted",
            active=True,
            sequence=3,
            manifest_sha256="0" * 64,
            metrics={"ndcg_at_10": 0.4, "frontier": {"points": [], "presets": {}}},
            servable=True,
        ),
        row("v2", 2, "stored", manifest_sha256="0" * 64, reason="worse", champion_metrics={"ndcg_at_10": 0.4}),
        row("v3", 3, "failed"),
        row("v4", 4, "training", progress="1/3"),
        row("v6", 1, "stored", manifest_sha256="0" * 64, servable=False),
        row("v7", 1, "failed", servable=True),
    )
    page = read(database_url, lambda reader: reader.fetch_models(limit=3))
    assert page.active == "v1"
    assert [model.version for model in page.models] == ["v4", "v3", "v2"]
    found = {model.version: model for model in read(database_url, lambda reader: reader.fetch_models(limit=10)).models}
    first = found["v1"]
    assert (first.metrics, first.active, first.sequence) == ({"ndcg_at_10": 0.4}, True, 3)
    assert read(database_url, lambda reader: reader.fetch_frontier("v1")) == Frontier(
        version="v1", points=[], presets={}
    )
    assert read(database_url, lambda reader: reader.fetch_frontier("v2")) is None
    assert read(database_url, lambda reader: reader.fetch_frontier("v9")) is None
    assert [found[version].servable for version in ("v1", "v2", "v6")] == [True, None, False]
    states = {
        version: read(database_url, lambda reader, version=version: reader.fetch_artifact_state(version))  # type: ignore[misc]
        for version in ("v1", "v2", "v3", "v4", "v5", "v6", "v7")
    }
    assert states == {
        "v1": "servable",
        "v2": "servable",  # the trainer has not said
        "v3": "unknown",
        "v4": "unknown",
        "v5": "unknown",
        "v6": "gone",
        "v7": "unknown",
    }


@pytest.mark.parametrize("curve", [None, 3, [], {"points": 7}, {"points": [{"weights": {}}], "presets": {}}])
def test_a_curve_that_cannot_be_read_is_none(database_url: str, engine: Engine, curve: Any) -> None:
    row = {"version": "v1", "status": "promoted", "triggered_by": "test", "metrics": {"frontier": curve}}
    add(engine, tables.model_versions, {**row, "started_at": datetime.now(UTC)})
    assert read(database_url, lambda reader: reader.fetch_frontier("v1")) is None


def test_without_models_none_is_active(database_url: str) -> None:
    page = read(database_url, lambda reader: reader.fetch_models(limit=3))
    assert (page.active, list(page.models)) == (None, [])


def test_fingerprints_of_effects(database_url: str, engine: Engine) -> None:
    request_id, event_id = uuid4(), uuid4()
    now = datetime.now(UTC)
    placed = {"partition": 0, "event_offset": 0, "fingerprint": "f"}
    decision = {
        **{name: value for name, value in list_row("C1").items() if name != "created_at"},
        **placed,
        "request_id": request_id,
        "action": "request_recs",
        "answered_from": "scored",
        "requested_at": now,
        "decided_at": now,
    }
    add(engine, tables.decisions, decision)
    click = {"event_id": event_id, "customer_id": "C1", "isin": "A", "interaction_type": "click", "occurred_at": now}
    add(engine, tables.user_interactions, {**click, **placed})

    request = RecommendationRequested(event_id=request_id, customer_id="C1", action="request_recs")
    interaction = InteractionRecorded(event_id=event_id, customer_id="C1", isin="A", type=InteractionType.CLICK)
    others = [request.model_copy(update={"event_id": event_id}), RetrainRequested(event_id=request_id)]

    async def fetch(reader: PostgresGatewayReader) -> list[str | None]:
        events = [request, interaction, *others]
        return [await reader.fetch_fingerprint(event, timeout_seconds=1) for event in events]

    assert read(database_url, fetch) == ["f", "f", None, None]


def test_the_gateways_sessions_cannot_write(database_url: str) -> None:
    async def write(reader: PostgresGatewayReader) -> None:
        await reader._fetch("INSERT INTO customer_information (customer_id, recorded_on) VALUES ('x', now())")

    with pytest.raises(DatabaseUnavailable, match="read-only transaction"):
        read(database_url, write)


def test_a_read_is_one_statement_on_the_wire(database_url: str, relay: Relay) -> None:
    async def count(reader: PostgresGatewayReader) -> int:
        await reader.fetch_lists("C1")  # connects and prepares
        connection = reader._pool._holders[-1]._con  # type: ignore[union-attr]
        before = connection._protocol.queries_count
        await reader.fetch_lists("C2")
        return int(connection._protocol.queries_count - before)

    assert read(database_url, count) == 1


def test_a_database_that_refuses_connections_is_unavailable_at_once() -> None:
    url = f"postgresql://nobody@127.0.0.1:{unused_port()}/none"
    started_at = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        read(url, lambda reader: reader.fetch_lists("C1"))
    assert time.monotonic() - started_at < 2
    assert not read(url, lambda reader: reader.is_reachable())


def test_a_database_without_tables_is_unavailable(empty_database_url: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        read(empty_database_url, lambda reader: reader.fetch_lists("C1"))


def test_a_database_that_lacks_a_migration_is_unavailable(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE model_versions DROP COLUMN servable"))

    with pytest.raises(DatabaseUnavailable):
        read(database_url, lambda reader: reader.fetch_models(limit=1))


def test_a_database_that_never_answers_a_connection_is_unavailable_in_time(database_url: str, relay: Relay) -> None:
    relay.silent.set()
    started_at = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        read(through(relay, database_url), lambda reader: reader.fetch_lists("C1"), timeout_seconds=0.5)
    assert time.monotonic() - started_at < 3


def test_a_database_that_falls_silent_is_unavailable_in_time_and_works_again_afterwards(
    database_url: str, relay: Relay
) -> None:
    async def fall_silent(reader: PostgresGatewayReader) -> float:
        await reader.fetch_lists("C1")
        relay.silent.set()
        started_at = time.monotonic()
        results = await asyncio.gather(*(reader.fetch_lists("C1") for _ in range(6)), return_exceptions=True)
        took_seconds = time.monotonic() - started_at
        assert [type(result) for result in results] == [DatabaseUnavailable] * 6
        relay.silent.clear()
        await reader.fetch_lists("C1")
        return took_seconds

    assert read(through(relay, database_url), fall_silent, timeout_seconds=1.0) < 1.5


def test_connections_that_a_restart_broke_are_replaced_without_a_failed_read(database_url: str, relay: Relay) -> None:
    async def break_connections(reader: PostgresGatewayReader) -> None:
        await asyncio.gather(*(reader.fetch_lists("C1") for _ in range(4)))
        relay.cut()
        await asyncio.gather(*(reader.fetch_lists("C1") for _ in range(4)))

    read(through(relay, database_url), break_connections)
