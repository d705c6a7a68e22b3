"""ASGI middleware: check `Host` and `Origin`, and answer HEAD as GET."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import build_problem

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Probes use any address of the gateway in `Host`. The response contains nothing that a web page could misuse.
PROBED_PATHS = frozenset({"/health/live", "/health/ready"})


@dataclass(frozen=True)
class Admission:
    """Names and origins in lower case; a name without port stands for every port, `*` for everything."""

    allowed_hosts: frozenset[str] = LOOPBACK_NAMES
    allowed_origins: frozenset[str] = frozenset()

    def allows_host(self, host: str) -> bool:
        """Return whether a request may be addressed to this host, with or without port."""
        host = host.lower()
        return "*" in self.allowed_hosts or host in self.allowed_hosts or _without_port(host) in self.allowed_hosts

    def allows_origin(self, origin: str, *, host: str) -> bool:
        """Return whether a web page of this origin may call: one of the gateway's own, or a configured one."""
        origin = origin.lower()
        if "*" in self.allowed_origins or origin in self.allowed_origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc == host.lower() and not parts.path


class RequestGuard:
    """Rejects requests whose `Host` is not allowed (DNS rebinding), and requests from foreign web pages.

    A browser sends `Origin` with every request of a page that is not a plain navigation, `null` included; programs
    send none.
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
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._admission.allows_host(host) and scope["path"] not in PROBED_PATHS:
            return build_problem(421, "This gateway does not answer for the name in Host (ALLOWED_HOSTS).")
        if any(not self._admission.allows_origin(origin, host=host) for origin in origins):
            return build_problem(403, "Web pages of this origin may not call this gateway (CORS_ALLOWED_ORIGINS).")
        return None


class HeadAsGet:
    """Answers HEAD as GET, with the same header and no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        inner = {**scope, "method": "GET"}

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, receive, send_without_body)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]  # for the metrics


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
