"""GET /metrics on a port of its own, answered by threads: scrapes and the event loop never wait for each other."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import CONTENT_TYPE_LATEST

MOST_CONNECTIONS = 8
REQUEST_TIMEOUT_SECONDS = 5.0  # a client that sends nothing does not hold a thread
REUSED_SECONDS = 0.5  # many scrapes at once cost one


class MetricsServer:
    """Serves what `exposition` returns from start to stop; also a context manager. Port 0 takes any free one.

    Raises OSError when the port cannot be had.
    """

    def __init__(self, address: tuple[str, int], exposition: Callable[[], bytes]) -> None:
        self._server = _Server(address, _Reused(exposition))
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Reused:
    """Makes the exposition at most once in REUSED_SECONDS."""

    def __init__(self, exposition: Callable[[], bytes]) -> None:
        self._exposition = exposition
        self._lock = threading.Lock()
        self._made_at = float("-inf")
        self._made = b""

    def __call__(self) -> bytes:
        with self._lock:
            if time.monotonic() - self._made_at > REUSED_SECONDS:
                self._made = self._exposition()
                self._made_at = time.monotonic()
            return self._made


class _Server(ThreadingHTTPServer):
    """Closes a connection at once when MOST_CONNECTIONS are open."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], exposition: Callable[[], bytes]) -> None:
        self.exposition = exposition
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle the connection in a thread unless MOST_CONNECTIONS are open."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle the connection, then release its slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of a connection, such as a client that closed it."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_SECONDS
    protocol_version = "HTTP/1.0"  # one request per connection

    def setup(self) -> None:
        """Start the deadline of the whole connection."""
        super().setup()
        self._deadline = threading.Timer(REQUEST_TIMEOUT_SECONDS, self._cut)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        """Cancel the deadline."""
        self._deadline.cancel()
        super().finish()

    def do_GET(self) -> None:  # the name that the standard library calls
        """Answer one scrape."""
        is_known = self.path.partition("?")[0] == "/metrics"
        body = self.server.exposition() if is_known else b"only /metrics is here\n"
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST if is_known else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:  # the name that the standard library calls
        """Answer as to GET, without the body."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's own name)
        """Log nothing: scrapes come every few seconds."""

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
