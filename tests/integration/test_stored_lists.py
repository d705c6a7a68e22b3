"""A list is stored once, in arrays, and is read as it was made: by the gateway, the worker, operators, a downgrade."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import psycopg2.extras
import pytest
from alembic import command
from alembic.config import Config

from api.ports import ListRow
from api.reader import PostgresGatewayReader
from shared.postgres import migrations
from shared.postgres.engine import build_engine
from shared.postgres.migrations.upgrade import upgrade_database
from shared.recommender.types import Contributions, Weights
from shared.served_list import RecommendationItem
from tests.fakes_store import build_list, display_of
from tests.integration.ports.store_world import decision
from worker.ports import AssetDisplay, Decision, ServedList
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

MADE_AT = datetime(2026, 3, 1, 22, 0, 59, 999_999, tzinfo=UTC)
PARTS = (Contributions(0.5, 0.2, 0.3), Contributions(0.123457, None, 0.000001), Contributions(0.0, 0.1, 0.299999))
MOST_BYTES = 600


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresWorkerStore]:
    store = PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")
    yield store
    store.close()


def displays(number: int, **fields: Any) -> dict[str, AssetDisplay]:
    known = {"price_date": date(2022, 11, 29), "trailing_return_12m": 0.08433734939, "industry": None}
    return {
        f"GR{one}": display_of(f"GR{one}", assetname=f'ΔΕΗ "{one}" Α.Ε.', **{**known, **fields})
        for one in range(number)
    }


def list_of(parts: tuple[Contributions, ...], shown: dict[str, AssetDisplay]) -> ServedList:
    items = build_list([(shown[f"GR{one}"], each) for one, each in enumerate(parts)], made_at=MADE_AT)
    return ServedList("v1", "history", Weights(0.7, 0.1, 0.2), items, 10)


def made(answer: ServedList, customer_id: str = "C1", **fields: Any) -> Decision:
    return replace(decision(customer_id, answer=answer, decided_at=MADE_AT), **fields)


def keep(store: PostgresWorkerStore, *decisions: Decision) -> None:
    with store.begin() as transaction:
        transaction.insert_decisions(decisions, reference_snapshot="")


def read_list(database_url: str, customer_id: str = "C1") -> ListRow:
    async def read() -> ListRow | None:
        reader = PostgresGatewayReader(database_url, timeout_seconds=5.0, pool_size=1)
        await reader.start()
        try:
            return (await reader.fetch_lists(customer_id)).newest
        finally:
            await reader.close()

    newest = asyncio.run(read())
    assert newest is not None
    return newest


def prices(newest: ListRow) -> list[float | None]:
    assert isinstance(newest.items, list)
    return [item["current_price"] for item in newest.items]


def rows(database_url: str, statement: str, *parameters: Any) -> list[Any]:
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def as_shown(items: Any) -> list[dict[str, Any]]:
    return [RecommendationItem.model_validate(item).model_dump() for item in items]


def test_a_list_is_stored_once_and_read_as_it_was_made(database_url: str, store: PostgresWorkerStore) -> None:
    answer = list_of(PARTS, displays(3))
    keep(store, made(answer))

    newest = read_list(database_url)
    assert isinstance(newest.items, list)
    assert [list(item) for item in newest.items] == [list(RecommendationItem.model_fields)] * 3
    assert newest.items == as_shown(answer.items) == [item.model_dump() for item in answer.items]
    assert newest.weights == {"collaborative": 0.7, "content": 0.1, "profitability": 0.2}
    assert (newest.model_version, newest.basis, newest.k) == ("v1", "history", 10)
    assert rows(database_url, "SELECT items, weights FROM decisions") == [(None, None)]
    assert rows(database_url, "SELECT items, weights, model_version, basis FROM recommendations") == [([], {}, "", "")]
    shown = rows(database_url, "SELECT item FROM decision_items ORDER BY rank")
    assert as_shown(item for (item,) in shown) == as_shown(answer.items)
    with store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {"C1": answer}


def test_a_list_shows_what_was_shown_when_it_was_made(database_url: str, store: PostgresWorkerStore) -> None:
    before, after = list_of(PARTS, displays(3)), list_of(PARTS, displays(3, current_price=1.25, sector="Energy"))
    keep(store, made(before), made(after, "C2"))

    assert prices(read_list(database_url)) == [3.76] * 3
    assert prices(read_list(database_url, "C2")) == [1.25] * 3
    assert rows(database_url, "SELECT count(*) FROM shown_asset_versions") == [(6,)]


def test_a_list_that_answers_again_keeps_its_date(database_url: str, store: PostgresWorkerStore) -> None:
    keep(store, made(list_of(PARTS, displays(3))))
    with store.begin() as transaction:
        stored = transaction.fetch_fresh_lists(["C1"])["C1"]
    again = made(stored, answered_from="stored", decided_at=datetime.now(UTC))
    keep(store, again)

    newest = read_list(database_url)
    assert newest.request_id == again.request_id
    assert newest.items == [item.model_dump() for item in list_of(PARTS, displays(3)).items]


@pytest.mark.parametrize("part", [Contributions(2e9, 0.0, 0.0), Contributions(0.1, -2147.483649, 0.0)])
def test_numbers_that_do_not_fit_into_the_arrays_are_stored_as_json(
    database_url: str, store: PostgresWorkerStore, part: Contributions
) -> None:
    answer = list_of((part,), displays(1))
    keep(store, made(answer))
    newest = read_list(database_url)
    assert isinstance(newest.items, str)
    assert rows(database_url, "SELECT asset_versions FROM decisions") == [(None,)]
    assert as_shown(rows(database_url, "SELECT item FROM decision_items")[0]) == as_shown(answer.items)
    with store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {"C1": answer}


def test_an_empty_list_is_a_list(database_url: str, store: PostgresWorkerStore) -> None:
    keep(store, made(list_of((), {})))
    assert (read_list(database_url).items, read_list(database_url).k) == ([], 10)


def test_an_asset_stays_when_the_batch_that_showed_it_first_is_undone(
    database_url: str, store: PostgresWorkerStore
) -> None:
    class Undone(Exception):
        pass

    def undo() -> None:
        with store.begin() as transaction:
            transaction.insert_decisions([made(list_of(PARTS, displays(3)))], reference_snapshot="")
            raise Undone

    with pytest.raises(Undone):
        undo()
    keep(store, made(list_of(PARTS, displays(3))))
    assert len(read_list(database_url).items or ()) == 3


def test_a_worker_does_not_wait_for_the_batch_of_another_one_that_shows_the_same_assets(
    database_url: str, store: PostgresWorkerStore
) -> None:
    other = PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")
    with ThreadPoolExecutor(1) as pool, store.begin() as transaction:
        transaction.insert_decisions([made(list_of(PARTS, displays(3)))], reference_snapshot="")
        pool.submit(keep, other, made(list_of(PARTS, displays(3)), "C2")).result(timeout=60)
    other.close()
    assert read_list(database_url).items == read_list(database_url, "C2").items


def test_a_server_that_lost_its_last_rows_gets_the_assets_again(database_url: str, store: PostgresWorkerStore) -> None:
    """As after a failover to a replica with lag: the connections break, and the worker goes on."""
    keep(store, made(list_of(PARTS, displays(3))))
    rows(database_url, "TRUNCATE shown_asset_versions, decisions, recommendations")
    own = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
    rows(database_url, f"{own} AND pid <> pg_backend_pid()")
    keep(store, made(list_of(PARTS, displays(3))))
    assert len(read_list(database_url).items or ()) == 3


@pytest.mark.parametrize("content", ["[]", '{"isin": 1}', "null"])
def test_a_list_whose_asset_somebody_damaged_is_no_list_and_stops_nothing(
    database_url: str, store: PostgresWorkerStore, content: str
) -> None:
    keep(store, made(list_of(PARTS, displays(3))), made(list_of(PARTS[:1], displays(1, currency="EUR")), "C2"))
    rows(database_url, "UPDATE shown_asset_versions SET content = %s WHERE content->>'isin' = 'GR2'", content)
    assert read_list(database_url).items is None
    assert len(read_list(database_url, "C2").items or ()) == 1
    rows(database_url, "DELETE FROM shown_asset_versions WHERE content->>'isin' = 'GR1'")
    fresh = PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")
    with fresh.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1", "C2"]).keys() == {"C2"}
    fresh.close()


def test_what_an_older_worker_writes_is_read_and_replaced(database_url: str, store: PostgresWorkerStore) -> None:
    """It writes items into both tables, and nothing else; a row that this version wrote keeps its other columns."""
    keep(store, made(list_of(PARTS, displays(3))))
    older = [item.model_dump(mode="json") for item in list_of(PARTS[:1], displays(1)).items]
    request_id = str(uuid4())
    weights = '{"content": 0.25, "collaborative": 0.5, "profitability": 0.25}'
    values = (psycopg2.extras.Json(older), weights, request_id)
    rows(
        database_url,
        "INSERT INTO decisions (items, weights, request_id, customer_id, action, answered_from, model_version, basis,"
        " partition, event_offset, requested_at, decided_at, k) VALUES (%s, %s, %s, 'C1', 'refresh_recs', 'scored',"
        " 'v0', 'history', 0, 9, now(), now(), 7) ON CONFLICT DO NOTHING",
        *values,
    )
    rows(
        database_url,
        "UPDATE recommendations SET items = %s, weights = %s, request_id = %s, model_version = 'v0', basis = 'history'",
        *values,
    )
    newest = read_list(database_url)
    assert (str(newest.request_id), newest.model_version, newest.k) == (request_id, "v0", 7)
    assert isinstance(newest.items, str)
    with store.begin() as transaction:
        stored = transaction.fetch_fresh_lists(["C1"])["C1"]
    assert as_shown(stored.items) == as_shown(older)
    keep(store, made(list_of(PARTS, displays(3))))
    assert len(read_list(database_url).items or ()) == 3
    assert rows(database_url, "SELECT items, weights, model_version FROM recommendations") == [([], {}, "")]


def test_lists_go_back_into_json_with_the_schema_of_the_version_before(empty_database_url: str) -> None:
    upgrade_database(empty_database_url)
    store = PostgresWorkerStore(empty_database_url, cluster_id="test", consumer_group="worker")
    answer = list_of(PARTS, displays(3))
    keep(store, made(answer))
    store.close()
    before = read_list(empty_database_url)

    downgrade(empty_database_url, "0018")
    for table in ("decisions", "recommendations"):
        [(items, weights)] = rows(empty_database_url, f"SELECT items, weights FROM {table}")
        assert as_shown(items) == as_shown(answer.items)
        assert weights == {"collaborative": 0.7, "content": 0.1, "profitability": 0.2}
    upgrade_database(empty_database_url)
    after = read_list(empty_database_url)
    assert (after.request_id, after.model_version, after.k) == (before.request_id, before.model_version, before.k)
    assert as_shown(json.loads(str(after.items))) == as_shown(before.items)


def downgrade(database_url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = build_engine(database_url, application_name="migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def test_a_decision_of_ten_assets_takes_at_most_so_many_bytes(database_url: str, store: PostgresWorkerStore) -> None:
    """With indexes and TOAST. The lengths of the texts are those of the published data and of this system's names."""
    generator, shown = random.Random(0), displays(10)
    for batch in range(20):
        decisions = []
        for number in range(200):
            parts = tuple(Contributions(*(generator.random() for _ in range(3))) for _ in range(10))
            answer = replace(list_of(parts, shown), model_version="20261128T010000Z-4f2a91bc")
            one = made(answer, f"{batch * 200 + number:020X}", content_digest="a" * 64, event_offset=number)
            decisions.append(replace(one, requested_at=datetime.now(UTC)))
        keep(store, *decisions)
    [(count, size)] = rows(database_url, "SELECT count(*), pg_total_relation_size('decisions') FROM decisions")
    assert count == 4000
    assert size / count <= MOST_BYTES
