"""Answers of lists that are kept, on a real database: the statement confirms an answer only while it is right."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, text

from api.app import create_app
from api.gateway import Gateway
from api.reader import PostgresGatewayReader
from shared.postgres.engine import sqlalchemy_url
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher
from tests.integration.ports.store_world import click, decision, order, served_list
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

CUSTOMERS = ("C1", "C2", "C3")
_LOAD = """
INSERT INTO reference_snapshots (table_name, row_count, rejected_count, source) VALUES (:table, 1, 0, 'test')
ON CONFLICT (table_name) DO UPDATE SET loaded_at = clock_timestamp()
"""
_UNDO = "DELETE FROM reference_snapshots WHERE table_name = :table"
_ASSETS = """
INSERT INTO reference_changes VALUES ('assets.changed.v1', 0, 1)
ON CONFLICT (topic, partition) DO UPDATE SET changes = reference_changes.changes + 1
"""
# By hand, what no program of the system does: a decision that is gone, one that is changed, a list that is gone.
_DECISION = """
 decisions WHERE request_id = (SELECT request_id FROM recommendations WHERE customer_id = :customer)
"""
_BY_HAND = {
    "remove decision": f"DELETE FROM {_DECISION}",
    "change decision": "UPDATE" + _DECISION.replace("WHERE", "SET basis = 'changed' WHERE", 1),
    "remove list": "DELETE FROM recommendations WHERE customer_id = :customer",
    "write as an older worker": """
        UPDATE recommendations SET items = '[]', weights = '{}', model_version = 'v0', basis = 'history',
               request_id = gen_random_uuid() WHERE customer_id = :customer
    """,
}
KINDS = ("list", "again", "preview", "click", "order", "load", "undo", "assets", *_BY_HAND)
_changes = st.tuples(st.sampled_from(KINDS), st.sampled_from(CUSTOMERS))
_reads = st.tuples(st.just("read"), st.sampled_from(CUSTOMERS))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresWorkerStore]:
    store = PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")
    yield store
    store.close()


@pytest.fixture
def gateways(database_url: str) -> Iterator[tuple[AsgiClient, AsgiClient]]:
    """Two gateways on one database; the first one keeps answers."""

    def gateway(kept_bytes: int) -> AsgiClient:
        reader = PostgresGatewayReader(database_url, timeout_seconds=30.0, pool_size=2)
        return AsgiClient(create_app(Gateway(FakePublisher(), reader, kept_list_bytes=kept_bytes)))

    with gateway(1024 * 1024) as keeping, gateway(0) as plain:
        yield keeping, plain


class Writers:
    """Writes as worker, loader and operators do."""

    def __init__(self, store: PostgresWorkerStore, engine: Engine) -> None:
        self._store = store
        self._engine = engine
        self._offsets = itertools.count()

    def do(self, kind: str, customer_id: str) -> None:
        """Do this to the customer, or to all."""
        if kind in ("list", "again", "preview"):
            self._decide(kind, customer_id)
        elif kind in ("click", "order"):
            offset = next(self._offsets)
            with self._store.begin() as transaction:
                if kind == "click":
                    transaction.insert_interactions([click(customer_id=customer_id, offset=offset)])
                else:
                    transaction.insert_transactions([order(customer_id=customer_id, offset=offset)])
        else:
            statements = {"load": _LOAD, "undo": _UNDO, "assets": _ASSETS, **_BY_HAND}
            names = {"table": "transactions", "customer": customer_id}
            with self._engine.begin() as connection:
                statement = text(statements[kind])
                connection.execute(statement, {name: names[name] for name in statement.compile().params})

    def _decide(self, kind: str, customer_id: str) -> None:
        with self._store.begin() as transaction:
            stored = transaction.fetch_fresh_lists([customer_id]).get(customer_id)
            if kind == "again" and stored is not None:
                made = decision(customer_id, answered_from="stored", answer=stored)
            else:
                answer = served_list(model_version=f"v{next(self._offsets)}")
                made = decision(customer_id, answer=answer, is_preview=kind == "preview")
            transaction.insert_decisions([made], reference_snapshot=self._store.fetch_snapshots())


def kept_reads(client: AsgiClient) -> float:
    return float(client.app.state.gateway.metrics.list_reads.labels("kept")._value.get())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(_changes, _reads, _reads), min_size=10, max_size=30))
def test_no_answer_differs_from_the_one_without_kept_answers(
    steps: list[tuple[str, str]], gateways: tuple[AsgiClient, AsgiClient], store: PostgresWorkerStore, engine: Engine
) -> None:
    writers = Writers(store, engine)
    for kind, customer_id in steps:
        if kind != "read":
            writers.do(kind, customer_id)
            continue
        found, expected = (one.get(f"/recommendations/{customer_id}") for one in gateways)
        assert (found.status_code, found.content) == (expected.status_code, expected.content)
        assert found.headers.multi_items() == expected.headers.multi_items()


def test_an_answer_is_kept_until_something_that_it_rests_on_changes(
    gateways: tuple[AsgiClient, AsgiClient], store: PostgresWorkerStore, engine: Engine
) -> None:
    writers = Writers(store, engine)
    keeping, plain = gateways
    writers.do("load", "C1")
    for kind in KINDS:
        writers.do("list", "C1")
        for _ in range(2):
            keeping.get("/recommendations/C1")
        before = kept_reads(keeping)
        assert keeping.get("/recommendations/C1").headers["X-Request-ID"]
        assert kept_reads(keeping) == before + 1
        writers.do(kind, "C1")
        found, expected = (one.get("/recommendations/C1") for one in gateways)
        assert (found.status_code, found.content, found.headers) == (200, expected.content, expected.headers) or (
            kind == "remove list" and found.status_code == expected.status_code == 404
        )
        assert kept_reads(keeping) == before + 1 + (kind == "preview"), kind
    assert kept_reads(plain) == 0


def test_reads_at_the_same_time_get_their_own_lists(
    database_url: str, store: PostgresWorkerStore, engine: Engine
) -> None:
    names = [f"C{number}" for number in range(40)]
    requests = {}
    with store.begin() as transaction:
        for name in names[::2]:
            made = decision(name)
            requests[name] = made.request_id
            transaction.insert_decisions([made], reference_snapshot="")

    async def read() -> list[Any]:
        reader = PostgresGatewayReader(database_url, timeout_seconds=30.0, pool_size=2)
        await reader.start()
        try:
            return await asyncio.gather(*(reader.fetch_lists(name) for name in [*names, *names]))
        finally:
            await reader.close()

    found = asyncio.run(read())
    expected = [requests.get(name) for name in [*names, *names]]
    assert [lists.newest and lists.newest.request_id for lists in found] == expected
    assert [lists.known for lists in found] == [request_id is not None for request_id in expected]
