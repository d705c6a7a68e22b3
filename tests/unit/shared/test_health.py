"""The health server of worker and trainer."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter

from shared.health import CONNECTION_SECONDS, HealthServer, Heartbeat


class Service:
    """A server on a free port, with what it reports about."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.reason: str | None = None
        self.stalled: str | None = None
        self.registry = CollectorRegistry()
        self.heartbeat = Heartbeat(within_seconds=10.0, clock=lambda: self.seconds)
        self.server = HealthServer(
            ("127.0.0.1", 0),
            heartbeat=self.heartbeat,
            unready_reason=lambda: self.reason,
            stalled_reason=lambda: self.stalled,
            registry=self.registry,
        )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with service.server:
        yield service


def test_live_as_long_as_the_main_loop_makes_steps(service: Service) -> None:
    assert service.get("/health/live") == (200, '{"status": "ok"}')
    service.seconds = 10.1
    assert service.get("/health/live")[0] == 503
    service.heartbeat.beat()
    assert service.get("/health/live")[0] == 200


def test_not_live_while_work_waits_without_progress(service: Service) -> None:
    service.stalled = "3 messages wait"
    status, body = service.get("/health/live")
    assert (status, json.loads(body)) == (503, {"status": "unavailable", "reason": "3 messages wait"})
    assert service.get("/health/ready")[0] == 200


@pytest.mark.parametrize(("path", "expected"), [("/health/live", 200), ("/metrics", 200), ("/nothing", 404)])
def test_head_is_answered_as_get_without_a_body(service: Service, path: str, expected: int) -> None:
    with socket.create_connection(("127.0.0.1", service.server.port), timeout=5) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        head, separator, body = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n\r\n")
    assert head.split()[1] == str(expected).encode()
    assert b"Content-Length: " in head
    assert (separator, body) == (b"\r\n\r\n", b"")


def test_ready_unless_there_is_a_reason(service: Service) -> None:
    assert service.get("/health/ready?x=1") == (200, '{"status": "ok"}')
    service.reason = "no model yet"
    status, body = service.get("/health/ready")
    assert (status, json.loads(body)) == (503, {"status": "unavailable", "reason": "no model yet"})


def test_metrics_are_those_of_the_registry(service: Service) -> None:
    Counter("batches", "Batches", registry=service.registry).inc(3)
    status, body = service.get("/metrics")
    assert status == 200
    assert "batches_total 3.0" in body


def test_any_other_path_is_404(service: Service) -> None:
    assert service.get("/")[0] == 404


def test_a_client_that_sends_nothing_does_not_hold_the_others_up(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.server.port)):
        assert service.get("/health/live")[0] == 200


def test_idle_connections_do_not_block_others(service: Service) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.server.port)))
        started_at = time.monotonic()
        for path in ("/metrics", "/health/live"):
            assert service.get(path)[0] == 200
        assert time.monotonic() - started_at < CONNECTION_SECONDS


def test_a_connection_that_stays_open_is_closed(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.server.port), timeout=CONNECTION_SECONDS + 10) as connection:
        connection.sendall(b"GET /met")
        assert connection.recv(1) == b""


def test_without_a_heartbeat_only_metrics_are_served() -> None:
    service = Service()
    with HealthServer(("127.0.0.1", 0), registry=service.registry) as service.server:
        assert [service.get(path)[0] for path in ("/metrics", "/health/live", "/health/ready")] == [200, 404, 404]


def test_the_port_is_free_after_the_stop() -> None:
    service = Service()
    with service.server:
        port = service.server.port
    with socket.create_server(("127.0.0.1", port)):
        pass
