"""Limits of TCP connections, which uvicorn does not have: deadlines of header, body and response, and eviction.

uvicorn has a timeout for idle connections only, and at its `limit_concurrency` it refuses new clients.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import build_problem
from api.metrics import GatewayMetrics

SWEEP_SECONDS = 0.5
# Descriptors for everything but clients and the database: broker, metrics port, logs, the event loop.
RESERVED_DESCRIPTORS = 64
MIN_CONNECTIONS = 16
_NEVER = float("inf")


@dataclass(frozen=True)
class ConnectionLimits:
    """The deadlines and the header size of one connection, and the maximum number of connections."""

    max_connections: int = 1000
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 5.0
    write_seconds: float = 30.0
    header_bytes: int = 64 * 1024


class Awaited(Enum):
    """The input that a connection waits for."""

    REQUEST = "idle"
    HEADER = "header"
    BODY = "body"
    NOTHING = "nothing"  # the request is complete and the response is not


def affordable_connections(wanted: int, *, pool_size: int) -> int:
    """Return `wanted`, or fewer if the limit of open files of the process does not allow it."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(MIN_CONNECTIONS, soft_limit - pool_size - RESERVED_DESCRIPTORS))


class ConnectionGuard:
    """Tracks all open connections; closes those that miss a deadline, and a waiting one when there are too many."""

    def __init__(
        self, limits: ConnectionLimits, *, metrics: GatewayMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self.metrics = metrics
        self.clock = clock
        self.seconds = {
            Awaited.REQUEST: limits.idle_seconds,
            Awaited.HEADER: limits.header_seconds,
            Awaited.BODY: limits.body_seconds,
            Awaited.NOTHING: _NEVER,
        }
        self._connections: set[GuardedProtocol] = set()
        metrics.show_open_connections(lambda: len(self._connections))

    def admit(self, connection: GuardedProtocol) -> bool:
        """Accept a new connection; return False at the limit when no connection can be evicted."""
        if len(self._connections) >= self.limits.max_connections:
            waiting = [one for one in self._connections if one.is_waiting]
            if not waiting:
                return False
            self.drop(min(waiting, key=lambda one: (one.awaited is Awaited.BODY, one.since)), "evicted")
        self._connections.add(connection)
        return True

    def forget(self, connection: GuardedProtocol) -> None:
        """Remove a closed connection."""
        self._connections.discard(connection)

    def drop(self, connection: GuardedProtocol, reason: str) -> None:
        """Close a connection at once and discard its unsent bytes."""
        self.forget(connection)
        self.metrics.count_dropped_connection(reason)
        connection.transport.abort()

    async def sweep_forever(self) -> None:
        """Close every connection that missed its deadline, twice a second."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self.clock()
            for connection in [one for one in self._connections if one.is_late(now)]:
                connection.close_late(now)


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with deadlines; the parser is llhttp in its strict mode.

    Each connection stores one deadline, which the guard checks twice a second; a request needs no timer.
    """

    def __init__(self, *arguments: Any, guard: ConnectionGuard, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guard = guard
        self._header_bytes = 0
        self._has_begun = False
        self._unanswered = 0  # requests, including the one whose body is incomplete
        self._write_deadline = _NEVER
        self._expect(Awaited.HEADER)

    @property
    def is_waiting(self) -> bool:
        """Whether the gateway handles no request of this connection, so that it can be evicted."""
        return self._unanswered <= (self.awaited is Awaited.BODY)

    def is_late(self, now: float) -> bool:
        """Return whether a deadline has passed, or the connection is closing and still open."""
        return now > self._deadline or now > self._write_deadline or self.transport.is_closing()

    def close_late(self, now: float) -> None:
        """Close a late connection; after the write deadline without sending the remaining bytes."""
        if now > self._write_deadline:
            self._guard.drop(self, "write_deadline")
        elif self.transport.is_closing():
            self._write_deadline = min(self._write_deadline, now + self._guard.limits.write_seconds)
        elif not self.is_waiting:
            self._expect(self.awaited)  # an earlier request has no response yet: uvicorn may have paused reading
        elif self.awaited is Awaited.REQUEST or not self._has_begun:
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
        """Forget the connection."""
        self._guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a header that is too large."""
        continues = self.awaited is Awaited.HEADER and self._has_begun
        super().data_received(data)
        if continues and self.awaited is Awaited.HEADER:
            self._header_bytes += len(data)
            if self._header_bytes > self._guard.limits.header_bytes and not self.transport.is_closing():
                self._refuse(431, "The header is too large.", "header_too_large")

    def pause_writing(self) -> None:
        """Start the write deadline: the client does not read."""
        self._write_deadline = self._guard.clock() + self._guard.limits.write_seconds
        super().pause_writing()

    def resume_writing(self) -> None:
        """Clear the write deadline: the client reads again."""
        self._write_deadline = _NEVER
        super().resume_writing()

    # --- callbacks of the parser and of the response ---

    def on_message_begin(self) -> None:
        """Start the header deadline of a request."""
        self._expect(Awaited.HEADER)
        self._has_begun = True
        self._header_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the body deadline."""
        self._expect(Awaited.BODY)
        self._unanswered += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Clear the body deadline."""
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
        self.since = self._guard.clock()
        self._deadline = self.since + self._guard.seconds[awaited]

    def _refuse(self, status: int, detail: str, reason: str, *, headers: dict[str, str] | None = None) -> None:
        self._guard.metrics.count_dropped_connection(reason)
        if self.is_waiting and (self.cycle is None or self.cycle.response_complete or not self.cycle.response_started):
            answer = build_problem(status, detail, headers={**(headers or {}), "Connection": "close"})
            lines = [STATUS_LINE[status], *(b"%s: %s\r\n" % header for header in answer.raw_headers)]
            self.transport.write(b"".join([*lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()
