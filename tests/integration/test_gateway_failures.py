"""The gateway as a process when broker or database go away and come back, and when it is told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url

from script.local.kafka import LocalKafka
from script.local.owned_process import LocalServerError
from shared import events
from shared.events import decode
from shared.kafka.topics import create_topics
from tests.integration.gateway_process import GatewayProcess, Relay, gateway_process, post, read_topic, unused_port
from tests.servers import temporary_folder

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

REQUEST = {"customer_id": "C1", "action": "request_recs"}
CLICK = {"customer_id": "C1", "isin": "GRS434003000", "type": "click"}
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A broker that a test may stop, kill and freeze."""
    with temporary_folder("kafka") as folder:
        kafka = LocalKafka(folder)
        try:
            kafka.start()
        except LocalServerError as error:
            pytest.skip(str(error))
        create_topics(kafka.bootstrap_servers)
        yield kafka
        kafka.stop()


@pytest.mark.parametrize(
    ("settings", "at_most_seconds"), [({"delivery_timeout_seconds": 1.0}, 3.0), ({}, 12.0)], ids=["short", "default"]
)
def test_without_a_broker_a_post_is_503_in_time(settings: dict[str, float], at_most_seconds: float) -> None:
    with gateway_process(bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=NOWHERE, **settings) as gateway:
        assert gateway.http.get("/health/ready").status_code == 503
        started_at = time.monotonic()
        answer = post(gateway, "/recommendations", REQUEST)
        assert time.monotonic() - started_at < at_most_seconds
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Retry-After" in answer.headers
        assert answer.json()["outcome"] == "unknown"
        assert gateway.http.get("/health/live").status_code == 200


def test_without_a_database_reads_are_503_events_are_taken_and_it_recovers(
    kafka_bootstrap_servers: str, topic_prefix: str, database_url: str
) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    url, port = make_url(database_url), unused_port()
    with gateway_process(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False),
        topic_prefix=topic_prefix,
        catalogue_refresh_seconds=0.2,
    ) as gateway:
        gateway.wait_until_ready()
        assert gateway.http.get("/health/ready").json()["database"] is False
        started_at = time.monotonic()
        for path in ("/recommendations/C1", "/assets", "/models"):
            answer = gateway.http.get(path)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert time.monotonic() - started_at < 6
        assert post(gateway, "/recommendations", REQUEST).status_code == 200
        assert post(gateway, "/user_interactions", CLICK).status_code == 200  # nobody knows the catalogue yet

        relay = Relay(url.port or 5432, listen_port=port)
        gateway.wait_for("/assets")  # the catalogue was read, and is empty
        assert post(gateway, "/user_interactions", CLICK).status_code == 422
        relay.close()


def test_a_broker_that_was_killed_or_frozen_is_used_again_without_a_restart(own_kafka: LocalKafka) -> None:
    with gateway_process(
        bootstrap_servers=own_kafka.bootstrap_servers, database_url=NOWHERE, delivery_timeout_seconds=2.0
    ) as gateway:
        gateway.wait_until_ready()
        acknowledged = [request_id(post(gateway, "/recommendations", REQUEST))]

        own_kafka.kill()
        assert post(gateway, "/recommendations", REQUEST).status_code == 503
        wait_until_unready(gateway)
        own_kafka.start()
        gateway.wait_until_ready()
        acknowledged += [request_id(post(gateway, "/recommendations", REQUEST)) for _ in range(3)]

        os.kill(own_kafka.pid, signal.SIGSTOP)
        assert post(gateway, "/recommendations", REQUEST).status_code == 503
        os.kill(own_kafka.pid, signal.SIGCONT)
        acknowledged += [request_id(post_until_taken(gateway, "/recommendations", REQUEST)) for _ in range(3)]

        kept = [
            str(decode(events.RECOMMENDATIONS_REQUESTED, message.value()).event_id)
            for message in read_topic(own_kafka.bootstrap_servers, events.RECOMMENDATIONS_REQUESTED)
        ]
        assert set(acknowledged) <= set(kept)
        assert len(kept) == len(set(kept))


def test_on_sigterm_it_is_unready_first_then_ends_with_0(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    with gateway_process(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=NOWHERE,
        topic_prefix=topic_prefix,
        shutdown_drain_seconds=1.0,
    ) as gateway:
        gateway.wait_until_ready()
        gateway.process.send_signal(signal.SIGTERM)
        wait_until_unready(gateway)
        answer = gateway.http.get("/health/ready")
        assert (answer.status_code, answer.json()["shutting_down"]) == (503, True)
        assert post(gateway, "/recommendations", REQUEST).status_code == 200
        assert gateway.process.wait(10) == 0


def test_on_sigterm_open_requests_get_their_answer(own_kafka: LocalKafka) -> None:
    with gateway_process(
        bootstrap_servers=own_kafka.bootstrap_servers, database_url=NOWHERE, delivery_timeout_seconds=8.0
    ) as gateway:
        gateway.wait_until_ready()
        os.kill(own_kafka.pid, signal.SIGSTOP)
        answers: list[httpx.Response] = []
        posting = threading.Thread(target=lambda: answers.append(post(gateway, "/recommendations", REQUEST)))
        posting.start()
        wait_until_published(gateway)
        started_at = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        wait_until_closed(gateway)
        assert gateway.process.poll() is None
        os.kill(own_kafka.pid, signal.SIGCONT)
        assert gateway.process.wait(15) == 0
        assert time.monotonic() - started_at < 15
        posting.join()
        assert answers[0].status_code == 200


def test_on_sigterm_without_broker_and_database_it_ends_with_0_in_time() -> None:
    with gateway_process(bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=NOWHERE) as gateway:
        answers: list[httpx.Response] = []
        posting = threading.Thread(target=lambda: answers.append(post(gateway, "/recommendations", REQUEST)))
        posting.start()
        wait_until_published(gateway)
        started_at = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
        assert time.monotonic() - started_at < 15
        posting.join()
        assert answers[0].status_code == 503


def request_id(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Request-ID"]


def wait_until_unready(gateway: GatewayProcess) -> None:
    """The next health check finds it: they are two seconds apart and take two at most."""
    deadline = time.monotonic() + 8
    while gateway.http.get("/health/ready").status_code == 200:
        assert time.monotonic() < deadline, "still ready"
        time.sleep(0.1)


def wait_until_published(gateway: GatewayProcess) -> None:
    """Return as soon as an event waits for its acknowledgement."""
    deadline = time.monotonic() + 10
    while "recommender_gateway_producer_queue_length 0.0" in gateway.metrics():
        assert time.monotonic() < deadline, "no event waits"
        time.sleep(0.05)


def wait_until_closed(gateway: GatewayProcess) -> None:
    """Return as soon as the gateway accepts no new connection."""
    deadline = time.monotonic() + 10
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", gateway.port), timeout=5).close()
            assert time.monotonic() < deadline, "the gateway still listens"
            time.sleep(0.05)


def post_until_taken(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> httpx.Response:
    for _ in range(5):
        answer = post(gateway, path, body)
        if answer.status_code == 200:
            break
    return answer
