"""The small HTTP server of each service for probes and metrics: /health/live, /health/ready and /metrics."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

MAX_CONNECTIONS = 8
CONNECTION_SECONDS = 5.0
METRICS_CACHE_SECONDS = 0.5

Answer = tuple[int, str, bytes]  # status, content type, body


class Heartbeat:
    """Tells whether the main loop still makes steps; the loop calls `beat` in each step."""

    def __init__(self, *, within_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._within_seconds = within_seconds
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Record a step."""
        self._last = self._clock()

    def is_live(self) -> bool:
        """Return whether the last step is at most `within_seconds` old."""
        return self.overdue_seconds() == 0

    def overdue_seconds(self) -> float:
        """Return by how much the next step is late; 0 while the last one is recent."""
        return max(0.0, self._clock() - self._last - self._within_seconds)


class HealthServer:
    """Answers probes and scrapes in its own threads; also a context manager. Port 0 takes any free port.

    /health/live is 200 while the heartbeat is recent and `stalled_reason` returns None; /health/ready is 200 while
    `unready_reason` returns None. Otherwise they are 503 with the reason. Without a heartbeat only /metrics exists.
    HEAD is answered like GET. `is_port_shared`: other processes may listen on the port as well. Raises OSError when the
    port is not available.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        heartbeat: Heartbeat | None = None,
        unready_reason: Callable[[], str | None] = lambda: None,
        stalled_reason: Callable[[], str | None] = lambda: None,
        registry: CollectorRegistry = REGISTRY,
        is_port_shared: bool = False,
    ) -> None:
        routes: dict[str, Callable[[], Answer]] = {"/metrics": _CachedMetrics(registry)}
        if heartbeat is not None:
            routes["/health/live"] = lambda: _status(stalled_reason() if heartbeat.is_live() else "the main loop hangs")
            routes["/health/ready"] = lambda: _status(unready_reason())
        self._server = _Server(address, routes, is_port_shared=is_port_shared)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _CachedMetrics:
    """Renders a registry at most once in METRICS_CACHE_SECONDS, so that many scrapes cost one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._rendered_at = float("-inf")
        self._rendered = b""

    def __call__(self) -> Answer:
        with self._lock:
            if time.monotonic() - self._rendered_at > METRICS_CACHE_SECONDS:
                self._rendered = generate_latest(self._registry)
                self._rendered_at = time.monotonic()
            return 200, CONTENT_TYPE_LATEST, self._rendered


def _status(reason: str | None) -> Answer:
    body = {"status": "ok"} if reason is None else {"status": "unavailable", "reason": reason}
    return (200 if reason is None else 503), "application/json", json.dumps(body).encode()


class _Server(ThreadingHTTPServer):
    """Bounds the number of connections and the duration of each.

    A new connection replaces the oldest one that has not sent its request; it is refused when there is none.
    (prometheus_client.start_http_server has neither bound.)
    """

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], routes: dict[str, Callable[[], Answer]], *, is_port_shared: bool
    ) -> None:
        self.routes = routes
        self.allow_reuse_port = is_port_shared
        self._lock = threading.Lock()
        self._opened_at: dict[socket.socket, float] = {}
        self._waiting: dict[socket.socket, None] = {}  # without a request yet, oldest first
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the connection has a place; the server closes one that has none."""
        with self._lock:
            if len(self._opened_at) >= MAX_CONNECTIONS:
                if not self._waiting:
                    return False
                oldest = next(iter(self._waiting))
                self._forget(oldest)
                _cut(oldest)
            self._opened_at[request] = time.monotonic()
            self._waiting[request] = None
            return True

    def note_request(self, connection: socket.socket) -> None:
        """Record that the request of this connection is complete."""
        with self._lock:
            self._waiting.pop(connection, None)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection and release its place."""
        with self._lock:
            self._forget(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut connections that are open for too long; `serve_forever` calls this twice a second."""
        with self._lock:
            late = [one for one, since in self._opened_at.items() if time.monotonic() - since > CONNECTION_SECONDS]
        for connection in late:
            _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of a connection, such as a client that closed it."""

    def _forget(self, connection: socket.socket) -> None:
        self._opened_at.pop(connection, None)
        self._waiting.pop(connection, None)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.0"  # one request per connection

    def do_GET(self) -> None:  # the name that the standard library calls
        """Answer one request."""
        self.server.note_request(self.connection)
        route = self.server.routes.get(self.path.partition("?")[0])
        status, content_type, body = route() if route else (404, "application/json", b'{"status": "not found"}')
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  (the name that the standard library calls)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's own name)
        """Log nothing: probes come every few seconds."""


def _cut(connection: socket.socket) -> None:
    """End a connection; the thread that serves it then ends too."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
