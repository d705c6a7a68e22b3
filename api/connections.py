"""Limits of TCP connections, which uvicorn does not have: deadlines of header, body and response, and eviction.

uvicorn has a timeout for idle connections only, and at its `limit_concurrency` it refuses new clients.
"""

from __future__ import annotations

import asyncio
import resource
import time
from enum import Enum
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import build_problem
from api.metrics import GatewayMetrics
from api.middleware import NOT_STORED, SECURITY_HEADERS

HEADER_SECONDS = 10.0
BODY_SECONDS = 10.0
IDLE_SECONDS = 5
WRITE_SECONDS = 30.0
HEADER_BYTES = 64 * 1024
SWEEP_SECONDS = 0.5
# Descriptors for everything but clients and the database: broker, metrics port, logs, the event loop.
RESERVED_DESCRIPTORS = 64
MIN_CONNECTIONS = 16
_NEVER = float("inf")


class Awaited(Enum):
    """The input that a connection waits for."""

    REQUEST = "request"
    HEADER = "header"
    BODY = "body"
    NOTHING = "nothing"  # the request is complete and the response is not


# uvicorn itself closes a connection that is idle after a response (IDLE_SECONDS).
_SECONDS = {
    Awaited.REQUEST: HEADER_SECONDS,
    Awaited.HEADER: HEADER_SECONDS,
    Awaited.BODY: BODY_SECONDS,
    Awaited.NOTHING: _NEVER,
}


def affordable_connections(wanted: int, *, pool_size: int) -> int:
    """Return `wanted`, or fewer if the limit of open files of the process does not allow it."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(MIN_CONNECTIONS, soft_limit - pool_size - RESERVED_DESCRIPTORS))


class ConnectionGuard:
    """Tracks all open connections; closes those that miss a deadline, and a waiting one when there are too many."""

    def __init__(self, *, max_connections: int, metrics: GatewayMetrics) -> None:
        self.metrics = metrics
        self._max_connections = max_connections
        self._connections: set[GuardedProtocol] = set()
        metrics.watch(metrics.open_connections, lambda: len(self._connections))

    def admit(self, connection: GuardedProtocol) -> bool:
        """Accept a new connection; return False at the limit when no connection can be evicted."""
        if len(self._connections) >= self._max_connections:
            waiting = [one for one in self._connections if one.is_waiting]
            if not waiting:
                return False
            self.drop(min(waiting, key=lambda one: (one.awaited is Awaited.BODY, one.since)), "evicted")
        self._connections.add(connection)
        return True

    def forget(self, connection: GuardedProtocol) -> None:
        self._connections.discard(connection)

    def drop(self, connection: GuardedProtocol, reason: str) -> None:
        """Close a connection at once and discard its unsent bytes."""
        self.forget(connection)
        self.metrics.dropped_connections.labels(reason).inc()
        connection.transport.abort()

    async def sweep_forever(self) -> None:
        """Close every connection that missed its deadline, twice a second.

        After a pause of this process (a busy machine, a suspended one) input may be there that was not read yet, and
        the event loop runs timers before it reads: so it reads once before deadlines are checked.
        """
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for connection in list(self._connections):
                connection.close_if_late(time.monotonic())


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with deadlines; the parser is llhttp in its strict mode.

    Each connection stores one deadline, which the guard checks twice a second; a request needs no timer.
    """

    def __init__(self, *arguments: Any, guard: ConnectionGuard, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guard = guard
        self._header_bytes = 0
        self._unanswered = 0  # requests, including the one whose body is incomplete
        self._write_deadline = _NEVER
        self._expect(Awaited.REQUEST)

    @property
    def is_waiting(self) -> bool:
        """Whether the gateway handles no request of this connection, so that it can be evicted."""
        return self._unanswered <= (self.awaited is Awaited.BODY)

    def close_if_late(self, now: float) -> None:
        """Close a connection that missed a deadline; after the write deadline without sending the remaining bytes."""
        if now > self._write_deadline:
            self._guard.drop(self, "write_deadline")
        elif self.transport.is_closing():
            self._write_deadline = min(self._write_deadline, now + WRITE_SECONDS)
        elif now <= self._deadline:
            return
        elif not self.is_waiting:
            self._expect(self.awaited)  # an earlier request has no response yet: uvicorn may have paused reading
        elif self.awaited is Awaited.REQUEST:
            self.transport.close()
        else:
            name = self.awaited.value
            self._refuse(408, f"The {name} did not arrive in time.", f"{name}_deadline")

    # --- callbacks of the transport ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve the connection, or refuse it at the limit."""
        super().connection_made(transport)
        if not self._guard.admit(self):
            self._refuse(503, "Too many connections are open.", "refused", headers={"Retry-After": "2"})

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a header that is too large."""
        continues = self.awaited is Awaited.HEADER
        super().data_received(data)
        if continues and self.awaited is Awaited.HEADER:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
                self._refuse(431, "The header is too large.", "header_too_large")

    def pause_writing(self) -> None:
        """Start the write deadline: the client does not read."""
        self._write_deadline = time.monotonic() + WRITE_SECONDS
        super().pause_writing()

    def resume_writing(self) -> None:
        self._write_deadline = _NEVER
        super().resume_writing()

    # --- callbacks of the parser and of the response ---

    def on_message_begin(self) -> None:
        self._expect(Awaited.HEADER)
        self._header_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._expect(Awaited.BODY)
        self._unanswered += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._expect(Awaited.NOTHING if self._unanswered else Awaited.REQUEST)

    def on_response_complete(self) -> None:
        """Count a complete response; it can precede the end of the request body."""
        self._unanswered -= 1
        if self.awaited is Awaited.NOTHING and not self._unanswered:
            self._expect(Awaited.REQUEST)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not valid HTTP."""
        self._refuse(400, msg, "invalid")

    def _expect(self, awaited: Awaited) -> None:
        self.awaited = awaited
        self.since = time.monotonic()
        self._deadline = self.since + _SECONDS[awaited]

    def _refuse(self, status: int, detail: str, reason: str, *, headers: dict[str, str] | None = None) -> None:
        self._guard.metrics.dropped_connections.labels(reason).inc()
        if self.is_waiting and (self.cycle is None or self.cycle.response_complete or not self.cycle.response_started):
            answer = build_problem(status, detail, headers={**(headers or {}), "Connection": "close"})
            headers_sent = [*answer.raw_headers, *SECURITY_HEADERS, NOT_STORED]
            lines = [STATUS_LINE[status], *(b"%s: %s\r\n" % header for header in headers_sent)]
            self.transport.write(b"".join([*lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()
