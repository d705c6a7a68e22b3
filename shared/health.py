"""The small HTTP server of worker and trainer: /health/live, /health/ready and /metrics."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

_REQUEST_TIMEOUT_SECONDS = 5.0  # a client that sends nothing does not hold a thread


class Heartbeat:
    """Says whether the main loop made a step lately; the loop calls `beat` once a step."""

    def __init__(self, *, within_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._within_seconds = within_seconds
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Say that a step was made now."""
        self._last = self._clock()

    def is_live(self) -> bool:
        """Return whether the last step is no longer ago than `within_seconds`."""
        return self.overdue_seconds() == 0

    def overdue_seconds(self) -> float:
        """Return for how long the next step is overdue; 0 while the last one is recent."""
        return max(0.0, self._clock() - self._last - self._within_seconds)


class HealthServer:
    """Answers in threads of its own from start to stop; also a context manager.

    /health/live is 200 while the heartbeat is recent and `stalled_reason` returns None, /health/ready is 200 while
    `unready_reason` returns None; else both are 503 with the reason. HEAD is answered as GET. Port 0 takes any free
    one: see `port`.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        heartbeat: Heartbeat,
        unready_reason: Callable[[], str | None],
        stalled_reason: Callable[[], str | None] = lambda: None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._heartbeat = heartbeat
        self._unready_reason = unready_reason
        self._stalled_reason = stalled_reason
        self._registry = registry
        self._server = _Server(address, self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no longer; the port is free afterwards."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/health/live":
            return _status(self._stalled_reason() if self._heartbeat.is_live() else "the main loop makes no step")
        if path == "/health/ready":
            return _status(self._unready_reason())
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        return 404, "application/json", b'{"status": "not found"}'


def _status(reason: str | None) -> tuple[int, str, bytes]:
    body = {"status": "ok"} if reason is None else {"status": "unavailable", "reason": reason}
    return (200 if reason is None else 503), "application/json", json.dumps(body).encode()


class _Server(ThreadingHTTPServer):
    """Hands every GET and HEAD to one function."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], answer: Callable[[str], tuple[int, str, bytes]]) -> None:
        self.answer = answer
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_TIMEOUT_SECONDS

    def do_GET(self) -> None:  # the name that the standard library calls
        """Answer one request."""
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        """Answer one request with the headers alone."""
        self._respond(with_body=False)

    def _respond(self, *, with_body: bool) -> None:
        status, content_type, body = self.server.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's own name)
        """Log nothing: probes come every few seconds."""
