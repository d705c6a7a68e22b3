"""The gateway as a process under clients that open connections and do not finish what they begin."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from shared.kafka.topics import create_topics
from tests.integration.gateway_process import GatewayProcess, gateway_process, post, unused_port

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
REQUEST = {"customer_id": "C1", "action": "request_recs"}
START = b"POST /recommendations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
HALF_BODY = START + b"Content-Length: 50\r\n\r\n{"
HALF_HEADER = START[:-10]
HALF_BODY_OF_GET = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{"
# Far more answers than the kernel keeps for a client that reads none of them.
UNREAD = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 400
DEADLINE_SECONDS = 10.0
WRITE_DEADLINE_SECONDS = 30.0
MARGIN_SECONDS = 10.0  # for a machine that is busy


@pytest.fixture
def alone() -> Iterator[GatewayProcess]:
    """A gateway without broker and database: what these tests ask for needs neither."""
    with gateway_process(bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=NOWHERE) as gateway:
        yield gateway


@contextmanager
def connections(port: int, count: int, begin: bytes) -> Iterator[list[socket.socket]]:
    """Open so many connections and begin the same on each."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            with suppress(OSError):  # closed by the gateway already
                one.sendall(begin)
            opened.append(one)
        yield opened


def closes(one: socket.socket, *, until: float) -> bytes | None:
    """Return what came before the gateway closed this connection, None when it is open at `until`."""
    received = b""
    try:
        while (left := until - time.monotonic()) > 0:
            one.settimeout(left)
            if not (chunk := one.recv(65536)):
                return received
            received += chunk
    except TimeoutError:
        return None
    except OSError:  # closed with a reset
        return received
    return None


def still_open(every: Iterable[socket.socket], *, seconds: float) -> int:
    until = time.monotonic() + seconds
    return [closes(one, until=until) for one in every].count(None)


@pytest.mark.kafka
def test_with_few_descriptors_and_many_attackers_honest_clients_are_served_and_attackers_closed(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    with gateway_process(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=NOWHERE,
        topic_prefix=topic_prefix,
        open_files=256,
    ) as gateway:
        gateway.wait_until_ready()
        with (
            connections(gateway.port, 300, b"") as idle,
            connections(gateway.port, 100, HALF_HEADER) as headers,
            connections(gateway.port, 100, HALF_BODY) as bodies,
        ):
            for _ in range(5):  # each on a connection of its own, while all attackers are there
                with httpx.Client(base_url=gateway.http.base_url, timeout=10.0, trust_env=False) as honest:
                    assert honest.post("/recommendations", json=REQUEST).status_code == 200
            everyone = [*idle, *headers, *bodies]
            assert still_open(everyone, seconds=DEADLINE_SECONDS + MARGIN_SECONDS) == 0
        assert post(gateway, "/recommendations", REQUEST).status_code == 200
        assert "recommender_gateway_dropped_connections_total" in gateway.metrics()
        assert len(gateway.log_lines()) < 100


def test_what_is_begun_and_not_finished_is_closed_at_its_deadline(alone: GatewayProcess) -> None:
    with (
        connections(alone.port, 1, b"") as [idle],
        connections(alone.port, 1, HALF_HEADER) as [header],
        connections(alone.port, 1, HALF_BODY) as [body],
        connections(alone.port, 1, HALF_BODY_OF_GET) as [body_of_get],
        connections(alone.port, 1, UNREAD) as [unread],
    ):
        until = time.monotonic() + DEADLINE_SECONDS + MARGIN_SECONDS
        assert closes(idle, until=until) == b""
        for one in (header, body):
            answer = closes(one, until=until)
            assert answer is not None
            head, _, content = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 ")
            assert b"content-type: application/problem+json" in head.lower()
            assert json.loads(content)["status"] == 408
        assert closes(body_of_get, until=until) is not None

        last = time.monotonic() + WRITE_DEADLINE_SECONDS + MARGIN_SECONDS
        while 'recommender_gateway_dropped_connections_total{reason="write_deadline"} 1.0' not in alone.metrics():
            assert time.monotonic() < last, "nobody closed the connection that is not read"
            time.sleep(0.5)
        assert closes(unread, until=last) is not None
    assert alone.http.get("/health/live").status_code == 200


def test_a_request_that_comes_in_small_pieces_is_answered(alone: GatewayProcess) -> None:
    whole = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connections(alone.port, 1, b"") as [slow]:
        for place in range(len(whole)):
            slow.sendall(whole[place : place + 1])
        answer = closes(slow, until=time.monotonic() + 10)
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_pause_of_the_gateway_is_not_held_against_a_client_whose_header_arrived_meanwhile(
    alone: GatewayProcess,
) -> None:
    whole = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connections(alone.port, 20, whole[:20]) as begun:
        time.sleep(0.5)  # the gateway has read the first part
        alone.process.send_signal(signal.SIGSTOP)
        try:
            for one in begun:
                one.sendall(whole[20:])
            time.sleep(DEADLINE_SECONDS + 1)
        finally:
            alone.process.send_signal(signal.SIGCONT)
        answers = [closes(one, until=time.monotonic() + 20) for one in begun]
    assert [answer[:13] for answer in answers if answer] == [b"HTTP/1.1 200 "] * 20


def test_a_header_without_end_is_refused(alone: GatewayProcess) -> None:
    with connections(alone.port, 1, b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ") as [one]:
        sent = 0
        with suppress(OSError):
            while sent < 50_000_000:
                one.sendall(b"x" * 65_536)
                sent += 65_536
        assert sent < 10_000_000  # what the kernel takes is no measure of the gateway
        assert closes(one, until=time.monotonic() + 10) is not None
    assert 'reason="header_too_large"} 1.0' in alone.metrics()


CONFUSING = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}",
    "chunks and a length": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two encodings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a blank before the colon": b"Content-Length : 2\r\n\r\n{}",
    "a signed length": b"Content-Length: +2\r\n\r\n{}",
    "a folded header": b"Content-Length: 2\r\nX: a\r\n b\r\n\r\n{}",
    "a NUL in a header": b"Content-Length: 2\r\nX: a\x00\r\n\r\n{}",
}


@pytest.mark.parametrize("rest", CONFUSING.values(), ids=CONFUSING)
def test_what_two_servers_could_read_differently_is_refused_and_the_connection_closed(
    smuggling: GatewayProcess, rest: bytes
) -> None:
    with connections(smuggling.port, 1, START + rest) as [one]:
        answer = closes(one, until=time.monotonic() + 5)
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.fixture(scope="module")
def smuggling() -> Iterator[GatewayProcess]:
    """One gateway for all confusing requests: they change nothing."""
    with gateway_process(bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=NOWHERE) as gateway:
        yield gateway


def test_metrics_are_served_on_their_own_port_alone(alone: GatewayProcess) -> None:
    assert alone.http.get("/metrics").status_code == 404
    assert "recommender_gateway_http_requests_total" in alone.metrics()


def test_scrapers_that_hold_their_connections_do_not_keep_others_out_for_long(alone: GatewayProcess) -> None:
    port = int(httpx.URL(alone.metrics_url).port or 0)
    with connections(port, 50, b"GET /met") as held:
        assert still_open(held, seconds=5 + MARGIN_SECONDS) == 0
    assert "recommender_gateway_open_connections" in alone.metrics()


def test_a_failure_that_clients_repeat_is_logged_once_in_a_while(alone: GatewayProcess) -> None:
    for _ in range(200):
        assert alone.http.get("/recommendations/C1").status_code == 503
    logged = [line for line in alone.log_lines() if "database.unavailable" in line]
    assert 1 <= len(logged) <= 10
