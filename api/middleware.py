"""What surrounds every request: its measurement, the answer to a bug, and the limit of its body (plain ASGI)."""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, body_too_large, internal_error
from api.metrics import GatewayMetrics
from shared.logging import get_logger

BODY_LIMIT_BYTES = 64 * 1024
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

log = get_logger(__name__)


class RequestBoundary:
    """Counts and times each request by its route; a bug becomes one log line and a 500 without internals."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        status = 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except Exception:
            log.exception("request.failed", method=scope["method"], path=scope["path"])
            if status:
                raise  # half an answer is out: only breaking the connection tells the caller
            await internal_error()(scope, receive, note_status)
        finally:
            self._metrics.count_request(
                method=scope["method"] if scope["method"] in _METHODS else "other",
                route=getattr(scope.get("route"), "path", "unmatched"),
                status=status,
                seconds=time.perf_counter() - started_at,
            )


class BodyLimit:
    """Refuses a body over the limit by its announced length, or as soon as more bytes than that have come."""

    def __init__(self, app: ASGIApp, limit_bytes: int = BODY_LIMIT_BYTES) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self._limit_bytes:
            await body_too_large(self._limit_bytes)(scope, receive, send)
            return
        received_bytes = 0

        async def counted_receive() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self._limit_bytes:
                raise BodyTooLarge(self._limit_bytes)
            return message

        await self._app(scope, counted_receive, send)
