"""Waiting for lists on a real database: the worker's store writes, a gateway process answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from api.request_ids import RequestIds
from shared.events import RECOMMENDATIONS_REQUESTED, RecommendationRequested, encode
from shared.ports import Message
from shared.recommender.types import Weights
from shared.served_list import Components, RecommendationItem
from tests.integration.gateway_process import GatewayProcess, Relay, gateway_process, unused_port
from worker.ports import Decision, ServedList
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

# docs/benchmarks/waiting.md has 5,000; on a machine that does other work, not all of them connect within one wait.
CLIENTS = int(os.environ.get("WAITING_CLIENTS", "2000"))
WORKER_BATCH = 500
POOL = 10
KEY = "a secret of sixteen or more characters"
ITEM = RecommendationItem(
    isin="GRS434003000",
    assetname="PPC",
    assetcategory="Stock",
    sector=None,
    industry=None,
    current_price=3.76,
    profitability=0.16,
    recommendation_date="2026-11-27T16:00:00",
    score=0.7,
    rank=1,
    components=Components(collaborative=0.4, content=0.1, profitability=0.2),
)
ITEMS = tuple(ITEM.model_copy(update={"rank": rank}) for rank in range(1, 11))
LIST = ServedList("v1", "history", Weights(0.7, 0.1, 0.2), ITEMS)


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresWorkerStore]:
    store = PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")
    yield store
    store.close()


@contextmanager
def gateway_on(database_url: str, **settings: int) -> Iterator[GatewayProcess]:
    """A gateway that has no broker: waiting needs none."""
    with gateway_process(
        bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=database_url, request_id_key=KEY, **settings
    ) as gateway:
        wait_until(lambda: gauge(gateway, "listener_connections_total") == 1, "it listens")
        yield gateway


def wait_until(condition: Any, what: str, *, seconds: float = 15.0, every_seconds: float = 0.02) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(every_seconds)


def rows(database_url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def sessions(database_url: str, application: str) -> int:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    return int(rows(database_url, statement, application)[0][0])


def listening(database_url: str) -> int:
    return sessions(database_url, "gateway-listener")


def gauge_is(gateway: GatewayProcess, name: str, value: float) -> bool:
    return gauge(gateway, name) == value


def gauge(gateway: GatewayProcess, name: str) -> float:
    [line] = [line for line in gateway.metrics().splitlines() if line.startswith(f"recommender_gateway_{name} ")]
    return float(line.split()[1])


def new_request(customer_id: str) -> UUID:
    return RequestIds(KEY).issue(uuid4(), customer_id=customer_id, repeatable=False)


def decide(request_id: UUID, customer_id: str, *, offset: int = 0, answered_from: str = "scored") -> Decision:
    now = datetime.now(UTC)
    return Decision(
        request_id=request_id,
        customer_id=customer_id,
        action="refresh_recs",
        answered_from=answered_from,
        answer=LIST,
        risk_level=None,
        fingerprint=None,
        partition=0,
        event_offset=offset,
        requested_at=now,
        decided_at=now,
    )


def answer(store: PostgresWorkerStore, *decisions: Decision) -> None:
    with store.begin() as transaction:
        transaction.insert_decisions(decisions, reference_snapshot="")


def letter(request_id: UUID, customer_id: str, *, offset: int = 0) -> tuple[Message, str]:
    event = RecommendationRequested(event_id=request_id, customer_id=customer_id, action="refresh_recs")
    message = Message(
        topic=RECOMMENDATIONS_REQUESTED, partition=0, offset=offset, key=customer_id.encode(), value=encode(event)
    )
    return message, "ValueError: a bug"


def test_a_waiting_client_gets_its_list_when_the_worker_commits_it(
    database_url: str, store: PostgresWorkerStore
) -> None:
    request_id = new_request("C1")
    path = f"/recommendations/C1?request_id={request_id}"
    with gateway_on(database_url) as gateway:
        assert gateway.http.get(path).status_code == 202
        assert gateway.http.get(f"/requests/{request_id}").json()["state"] == "queued"
        with background(gateway, f"{path}&wait=20") as answers:
            started_at = time.monotonic()
            answer(store, decide(request_id, "C1"))
        assert time.monotonic() - started_at < 5
        [found] = answers
        assert (found.status_code, found.headers["X-Request-ID"]) == (200, str(request_id))
        assert len(found.json()["recommendations"]) == 10
        assert found.content == gateway.http.get("/recommendations/C1").content
        progress = gateway.http.get(f"/requests/{request_id}").json()
        assert (progress["state"], progress["reason"]) == ("answered", None)
        assert progress["requested_at"] <= progress["answered_at"]
        assert gateway.http.get(f"/recommendations/C2?request_id={request_id}").status_code == 404
        later = new_request("C1")
        with background(gateway, f"/recommendations/C1?request_id={later}&wait=20") as answers:
            answer(store, decide(later, "C1", offset=1, answered_from="stored"))
        assert answers[0].headers["X-Request-ID"] == str(later)
        assert gateway.http.get(path).headers["X-Request-ID"] == str(later)


def test_a_waiting_client_is_told_that_its_request_became_a_dead_letter(
    database_url: str, store: PostgresWorkerStore
) -> None:
    early, failed, late = (new_request("C1") for _ in range(3))
    path = f"/recommendations/C1?request_id={failed}"
    answer(store, decide(early, "C1", offset=4))
    with gateway_on(database_url) as gateway:
        with background(gateway, f"{path}&wait=20") as answers, store.begin() as transaction:
            transaction.insert_dead_letters([letter(failed, "C1", offset=5)])
        assert answers[0].status_code == 409
        progress = gateway.http.get(f"/requests/{failed}").json()
        assert (progress["state"], progress["reason"]) == ("failed", "ValueError: a bug")
        assert progress["requested_at"] < progress["failed_at"]
        assert gateway.http.get(f"/recommendations/C2?request_id={failed}").status_code == 404
        rows(database_url, "UPDATE dead_letters SET replayed_at = now()")
        assert gateway.http.get(f"/requests/{failed}").json()["state"] == "queued"
        assert gateway.http.get(path).status_code == 202
        rows(database_url, "UPDATE dead_letters SET replayed_at = NULL")
        answer(store, decide(late, "C1", offset=6))
        assert gateway.http.get(path).headers["X-Request-ID"] == str(late)


def test_letters_without_an_event_are_stored_and_tell_nobody(database_url: str, store: PostgresWorkerStore) -> None:
    values = [None, b"", b"\xff", b"[" * 50_000, b'{"event_id": 17}', b'{"event_id": "x"}']
    with store.begin() as transaction:
        transaction.insert_dead_letters(
            [
                (Message(RECOMMENDATIONS_REQUESTED, 0, offset, b"\xff\n", value), "ContractViolation: x")
                for offset, value in enumerate(values)
            ]
        )
    assert rows(database_url, "SELECT count(*), count(event_id) FROM dead_letters") == [(len(values), 0)]


def test_a_client_that_waits_while_the_database_restarts_gets_its_list_afterwards(
    database_url: str, store: PostgresWorkerStore
) -> None:
    request_id = new_request("C1")
    answer(store, decide(new_request("C0"), "C0"))
    with gateway_on(database_url) as gateway:
        path = f"/recommendations/C1?request_id={request_id}&wait=25"
        with background(gateway, path) as answers:
            assert (
                gateway.http.get("/recommendations/C0?wait=20").status_code == 200
            )  # checked after the one that waits
            with gateways_cut_off(database_url):
                answer(store, decide(request_id, "C1"))  # nobody hears of this one
        assert answers[0].status_code == 200
        wait_until(lambda: gauge(gateway, "listener_connections_total") == 2, "the second connection is counted")
        assert listening(database_url) == 1


@contextmanager
def gateways_cut_off(database_url: str) -> Iterator[None]:
    """End the gateways' connections, and let the server refuse new ones, as while it restarts."""
    url = make_url(database_url)
    admin_url = url.set(database="postgres").render_as_string(hide_password=False)
    rows(admin_url, f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false')
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s"
    wait_until(lambda: not rows(admin_url, ended, url.database, "gateway%"), "the gateways are cut off")
    try:
        yield
    finally:
        rows(admin_url, f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true')


def test_while_the_database_is_silent_nobody_waits_longer_than_its_time(
    database_url: str, store: PostgresWorkerStore
) -> None:
    relay = Relay(make_url(database_url).port or 5432)
    url = make_url(database_url).set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
    with gateway_on(url) as gateway:
        with background(gateway, "/recommendations/C1?wait=2") as answers:
            relay.silent.set()
            started_at = time.monotonic()
        assert time.monotonic() - started_at < 6
        assert answers[0].status_code == 202
        relay.silent.clear()
    relay.close()


def test_on_sigterm_waiting_clients_get_503_and_streams_end(database_url: str) -> None:
    with gateway_on(database_url) as gateway, httpx.Client(base_url=gateway.http.base_url, timeout=20) as other:
        with other.stream("GET", "/recommendations/C1/events") as stream:
            with background(gateway, "/recommendations/C1?wait=30", waiters=2) as answers:
                started_at = time.monotonic()
                gateway.process.send_signal(signal.SIGTERM)
            assert (answers[0].status_code, answers[0].headers["Retry-After"]) == (503, "2")
            assert list(stream.iter_bytes()) == []
        assert gateway.process.wait(15) == 0
        assert time.monotonic() - started_at < 15
        assert not [line for line in gateway.log_lines() if "Traceback" in line]


def test_a_stream_sends_the_newest_list_and_each_new_one(database_url: str, store: PostgresWorkerStore) -> None:
    first, second = new_request("C1"), new_request("C1")
    answer(store, decide(first, "C1"))
    with gateway_on(database_url) as gateway:
        with gateway.http.stream("GET", "/recommendations/C1/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            assert next_event(lines)["id"] == str(first)
            answer(store, decide(second, "C1", offset=1))
            event = next_event(lines)
        assert (event["event"], event["id"]) == ("list", str(second))
        assert len(json.loads(event["data"])["recommendations"]) == 10
        wait_until(lambda: gauge(gateway, "waiting_clients") == 0, "the client that left is forgotten")


def next_event(lines: Iterator[str]) -> dict[str, str]:
    event: dict[str, str] = {}
    for line in lines:
        if not line and event:
            return event
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
    raise AssertionError("the stream ended")


@contextmanager
def background(gateway: GatewayProcess, path: str, *, waiters: int = 1) -> Iterator[list[httpx.Response]]:
    """Ask in another thread: the block runs while the client waits, the answer is there after it."""
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.http.get(path, timeout=40)))
    asking.start()
    wait_until(lambda: gauge(gateway, "waiting_clients") == waiters, f"{waiters} wait")
    yield answers
    asking.join()


class WaitingClients:
    """Many clients over TCP, each with one request; it keeps when each of them was answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connecting = asyncio.Semaphore(200)
        self.answered_at: dict[str, float] = {}
        self.status: Counter[str] = Counter()

    async def ask(self, customer_id: str, request_id: UUID) -> None:
        """Ask until the list is there; on a slow machine the time of a wait may end before all clients wait."""
        path = f"/recommendations/{customer_id}?request_id={request_id}&wait=30"
        status = "202"
        while status == "202":
            async with self._connecting:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            status = (await reader.readline()).split()[1].decode()
            self.answered_at[customer_id] = time.monotonic()
            await reader.read()
            writer.close()
        self.status[status] += 1


def batches(requests: Sequence[tuple[str, UUID]]) -> Iterator[Sequence[tuple[str, UUID]]]:
    for start in range(0, len(requests), WORKER_BATCH):
        yield requests[start : start + WORKER_BATCH]


def test_thousands_of_clients_wait_on_one_connection_and_each_is_answered_when_its_list_is_there(
    database_url: str, store: PostgresWorkerStore
) -> None:
    requests = {f"C{number}": new_request(f"C{number}") for number in range(CLIENTS)}
    settings = {"api_max_connections": CLIENTS * 5 // 4, "api_max_waiters": CLIENTS}
    with gateway_on(database_url, **settings) as gateway:
        resident = psutil.Process(gateway.process.pid).memory_info
        before = resident().rss
        clients, stored_at = WaitingClients(gateway.port), {}

        async def wait_together() -> None:
            asking = {one[0]: asyncio.create_task(clients.ask(*one)) for one in requests.items()}
            all_wait = partial(gauge_is, gateway, "waiting_clients", CLIENTS)
            await asyncio.to_thread(wait_until, all_wait, "all clients wait", seconds=180, every_seconds=0.5)
            assert (listening(database_url), clients.status) == (1, Counter())
            for batch in batches(list(requests.items())):
                decisions = [decide(request_id, customer_id) for customer_id, request_id in batch]
                await asyncio.to_thread(answer, store, *decisions)
                stored_at.update(dict.fromkeys((customer_id for customer_id, _ in batch), time.monotonic()))
                # This process is worker and all clients at once: the next batch may not delay what they read.
                await asyncio.gather(*(asking[customer_id] for customer_id, _ in batch))

        asyncio.run(wait_together())
        assert clients.status == {"200": CLIENTS}
        late = [clients.answered_at[one] - stored_at[one] for one in requests]
        grown = resident().rss - before
        print(f"answered {max(late):.3f} s after the list at most; memory grew by {grown / 2**20:.0f} MiB")
        assert max(late) < 10.0  # far less than the wait, so a notification brought it; docs/benchmarks has the figure
        assert grown < 250 * 2**20
        assert (listening(database_url), sessions(database_url, "gateway") <= POOL) == (1, True)
