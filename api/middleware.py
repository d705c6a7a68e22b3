"""ASGI middleware, from the outside in: measurement, host and origin, bugs, the limit of the body.

Inside of host and origin there are CORS, and inside of bugs the middleware of api/conditional_answers.py (api/app.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import body_too_large, build_problem, route_of
from api.metrics import GatewayMetrics
from api.routes.docs import PAGE_HEADERS, is_docs_path
from shared.logging import get_logger

BODY_LIMIT_BYTES = 64 * 1024
BATCH_LIMIT_BYTES = 1024 * 1024
_BATCH_PATH = "/recommendations:batch"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Probes send any address of the gateway as `Host`. These responses are useless to a web page.
PROBED_PATHS = frozenset({"/health", "/health/live", "/health/ready"})
ALIAS = "/v1/"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

# What an answer that is no page needs: it is not guessed to be another type, loads nothing and is in no frame.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
NOT_STORED = (b"cache-control", b"no-store")

log = get_logger(__name__)


class RequestBoundary:
    """Counts and times each request by its route, and adds the security headers to its answer.

    HEAD is answered like GET, with the same header and no body. A path below `/v1` is an alias: it is rewritten before
    anything looks at it, so that both have one handler, one label and the same rules.
    """

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at, method, status = time.perf_counter(), scope["method"], 0
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        if (path := scope["path"]).startswith(ALIAS) and not is_docs_path(path.removeprefix(ALIAS[:-1])):
            scope = {**scope, "path": path.removeprefix(ALIAS[:-1])}

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_security_headers(scope, status)]}
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            known_method = method if method in _METHODS else "other"
            seconds = time.perf_counter() - started_at
            self._metrics.note_request(known_method, _route_label(scope), status, seconds=seconds)


class FailureBoundary:
    """Turns a bug into one log line and a 500 without internals, inside of CORS, so that a web app can read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_and_note_start(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_start)
        except Exception:
            log.exception("request.failed", method=scope["method"], route=route_of(scope))
            if is_started:
                raise  # part of the response is sent: only closing the connection tells the client
            problem = build_problem(500, "The gateway failed. The request is not the cause. The failure is logged.")
            await problem(scope, receive, send)


def _security_headers(scope: Scope, status: int) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of this answer; a GET of 200 or 304 says itself how long it is fresh."""
    policy = PAGE_HEADERS if is_docs_path(scope["path"]) else SECURITY_HEADERS
    return policy if status in (200, 304) and scope["method"] == "GET" else (*policy, NOT_STORED)


def _route_label(scope: Scope) -> str:
    """Return the template of the route; clients that wait have a label of their own, as their time is their wish."""
    path = route_of(scope)
    return f"{path}?wait" if scope.get("state", {}).get("waits") else path


@dataclass(frozen=True)
class Admission:
    """The accepted hosts and origins, in lower case; a host without port accepts any port, `*` any host."""

    allowed_hosts: frozenset[str] = LOOPBACK_NAMES
    allowed_origins: frozenset[str] = frozenset()

    def allows_host(self, host: str) -> bool:
        """Return whether this value of `Host` is accepted."""
        host = host.lower()
        name, colon, port = host.rpartition(":")
        without_port = name if colon and port.isdecimal() else host
        return not self.allowed_hosts.isdisjoint({"*", host, without_port})

    def allows_origin(self, origin: str, *, host: str) -> bool:
        """Return whether a web page of this origin may call: the gateway's own origin, or a configured one."""
        origin = origin.lower()
        if origin in self.allowed_origins:
            return True
        try:
            url = urlsplit(origin)
        except ValueError:
            return False
        return url.scheme in ("http", "https") and url.netloc == host.lower() and not url.path


class RequestGuard:
    """Rejects a `Host` that is not allowed (DNS rebinding), and requests of web pages of other origins.

    Browsers send `Origin` with every request of a page that is not a plain navigation, `null` included; programs send
    none. Starlette's TrustedHostMiddleware knows no ports, ignores a second `Host` and answers plain text.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._admission.allows_host(host) and scope["path"] not in PROBED_PATHS:
            return build_problem(421, "The gateway does not accept this value of Host (see ALLOWED_HOSTS).")
        if not all(self._admission.allows_origin(origin, host=host) for origin in origins):
            return build_problem(403, "Web pages of this origin may not call the gateway (see CORS_ORIGINS).")
        return None


class BodyLimit:
    """Rejects a body over the limit of its path: by its `Content-Length`, or as soon as more bytes have arrived.

    FastAPI's `max_body_size` checks the length only when the body is read or the response starts. A route without a
    body would publish its event and then answer 413, in plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = BATCH_LIMIT_BYTES if scope["path"].endswith(_BATCH_PATH) else BODY_LIMIT_BYTES
        too_large = f"The limit is {limit} bytes."
        declared = _values(scope, b"content-length")
        if declared and declared[0].isdecimal() and int(declared[0][:20]) > limit:
            error = body_too_large(too_large)
            await build_problem(error.status_code, error.detail, headers=error.headers)(scope, receive, send)
            return
        received_bytes = 0

        async def receive_within_limit() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit:
                raise body_too_large(too_large)
            return message

        await self._app(scope, receive_within_limit, send)


def _values(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a header; ASGI servers send names in lower case."""
    return [value.decode("latin-1") for each, value in scope["headers"] if each == name]
