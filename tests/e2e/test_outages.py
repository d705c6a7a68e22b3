"""Servers and services that stop, on a broker and a database of their own: refusals are clear, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from script.local.kafka import LocalKafka
from script.local.owned_process import LocalServerError
from script.local.postgres import LocalPostgres
from script.local.service_processes import SERVICES, ServiceEnvironment
from tests.e2e.customer_load import CustomerLoad
from tests.e2e.system import CUSTOMER_ID, System, metric, running_system, wait_until
from tests.servers import servers_required, temporary_folder

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@dataclass(frozen=True)
class OwnSystem(System):
    """A system whose servers can be stopped."""

    kafka: LocalKafka
    postgres: LocalPostgres


@pytest.fixture(scope="module")
def system(synthetic_data: Path) -> Iterator[OwnSystem]:
    with temporary_folder("outages") as folder:
        folder.chmod(0o711)  # as root: for the user of the database server, whose folder lies inside
        kafka, postgres = LocalKafka(folder / "kafka"), LocalPostgres(folder / "postgres")
        try:
            start_both(kafka, postgres)
            settings = {"CANDIDATE_ALGORITHMS": "ease", "TOPIC_PARTITIONS": "4"}
            environment = ServiceEnvironment(kafka.bootstrap_servers, postgres.url(), folder / "models", more=settings)
            with running_system(environment, data=synthetic_data, folder=folder) as running:
                yield OwnSystem(running.environment, running.services, kafka, postgres)
        finally:
            kafka.stop()
            postgres.stop()


def start_both(kafka: LocalKafka, postgres: LocalPostgres) -> None:
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda server: server.start(), (kafka, postgres)))
    except LocalServerError as error:
        if servers_required():
            raise
        pytest.skip(str(error))


@pytest.fixture
def http(system: OwnSystem) -> Iterator[httpx.Client]:
    with system.http() as client:
        yield client


def ask(http: httpx.Client, customer: str = CUSTOMER_ID) -> httpx.Response:
    return http.post("/recommendations", json={"customer_id": customer, "action": "refresh_recs"})


def has_list_of(http: httpx.Client, customer: str, request_id: str) -> bool:
    answer = http.get(f"/recommendations/{customer}")
    return answer.status_code == 200 and answer.headers.get("X-Request-ID") == request_id


def test_a_killed_worker_loses_nothing_that_was_acknowledged(system: OwnSystem, http: httpx.Client) -> None:
    isin = http.get("/assets", params={"sector": "Technology"}).json()["assets"][0]["isin"]
    with CustomerLoad(system, customers=8, isin=isin) as load:
        for _ in range(2):
            wait_until(system.services["worker"].answers, seconds=30, what="the worker is ready")
            load.wait_for_requests(50)
            system.services["worker"].kill()
            load.wait_for_requests(20)
            system.services["worker"].start()

    assert_answers_again(http)
    assert len(load.requests) > 100
    requests = list(load.requests)
    wait_until(lambda: missing(system, "decisions", "request_id", requests) == 0, seconds=60, what="all decided")
    assert missing(system, "user_interactions", "event_id", load.clicks) == 0
    assert system.query("SELECT count(*), count(DISTINCT (partition, event_offset)) FROM decisions") == [
        (total := system.query("SELECT count(*) FROM decisions")[0][0], total)
    ]
    assert system.query("SELECT count(*) FROM dead_letters") == [(0,)]


def missing(system: System, table: str, column: str, ids: list[str]) -> int:
    [(count,)] = system.query(f"SELECT count(DISTINCT {column}) FROM {table} WHERE {column} = ANY(%s::uuid[])", ids)
    return len(set(ids)) - int(count)


def test_without_a_broker_requests_are_refused_in_time_and_taken_again_afterwards(
    system: OwnSystem, http: httpx.Client
) -> None:
    system.kafka.stop()
    try:
        started = time.monotonic()
        refused = ask(http)
        took_seconds = time.monotonic() - started
        read = http.get(f"/recommendations/{CUSTOMER_ID}")
    finally:
        system.kafka.start()

    assert refused.status_code == 503
    assert took_seconds < 12
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["outcome"] in {"unknown", "not_accepted"}
    assert read.status_code == 200
    wait_until(lambda: ask(http).status_code == 200, seconds=30, what="requests are taken again")
    assert_answers_again(http)


def test_without_a_database_reads_are_refused_and_requests_taken_and_answered_afterwards(
    system: OwnSystem, http: httpx.Client
) -> None:
    isin = http.get("/assets", params={"sector": "Technology"}).json()["assets"][0]["isin"]
    failures = metric(system, "worker_failures_total", error="DatabaseUnavailable")
    system.postgres.stop()
    try:
        read = http.get(f"/recommendations/{CUSTOMER_ID}")
        click = http.post("/user_interactions", json={"customer_id": CUSTOMER_ID, "isin": isin, "type": "watchlist"})
        requests = [ask(http) for _ in range(5)]
        wait_until(
            lambda: metric(system, "worker_failures_total", error="DatabaseUnavailable") > failures,
            seconds=30,
            what="the worker has tried in vain",
        )
    finally:
        system.postgres.start()

    assert read.status_code == 503
    assert read.headers["Content-Type"] == "application/problem+json"
    assert int(read.headers["Retry-After"]) > 0
    assert [answer.status_code for answer in (click, *requests)] == [200] * 6
    last = requests[-1].headers["X-Request-ID"]
    wait_until(lambda: has_list_of(http, CUSTOMER_ID, last), seconds=60, what="the list made after the outage")
    ids = [answer.headers["X-Request-ID"] for answer in requests]
    assert missing(system, "decisions", "request_id", ids) == 0
    assert missing(system, "user_interactions", "event_id", [click.headers["X-Request-ID"]]) == 0


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_ends_cleanly_on_sigterm_and_starts_again(system: OwnSystem, http: httpx.Client, name: str) -> None:
    service = system.services[name]
    service.terminate()
    wait_until(lambda: not service.is_running, seconds=15, what=f"{name} has ended")

    assert service.exit_code == 0
    service.stop()
    service.start()
    wait_until(service.answers, seconds=30, what=f"{name} is ready again")
    assert_answers_again(http)


def assert_answers_again(http: httpx.Client) -> None:
    """A new request leads to a list."""
    request_id = ask(http).headers["X-Request-ID"]
    wait_until(lambda: has_list_of(http, CUSTOMER_ID, request_id), seconds=60, what="lists are made again")
