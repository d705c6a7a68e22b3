"""Call an ASGI application from a plain test: its lifespan, its requests and its background tasks on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from fastapi import FastAPI

Answer = TypeVar("Answer")


class AsgiClient:
    """A context manager: starts the application, stops it at the end. The loop runs only during calls."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._runner = asyncio.Runner()
        self._lifespan = app.router.lifespan_context(app)
        # Failures come back as answers, as they do over a network.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def __enter__(self) -> Self:
        self.run(self._lifespan.__aenter__)
        self.run(lambda: asyncio.sleep(0.01))  # what the lifespan started gets its first turn
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.run(self.http.aclose)
        self.run(lambda: self._lifespan.__aexit__(None, None, None))
        self._runner.close()

    def run(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run `call` on the application's loop and return what it returns."""

        async def awaited() -> Answer:
            return await call()

        return self._runner.run(awaited())

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self.run(lambda: self.http.request(method, path, **arguments))

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)


class StreamedGet:
    """A GET of a client that reads when a test says so, and that leaves when `left` is set. Make it on the loop."""

    def __init__(self, app: FastAPI, path: str, headers: Mapping[str, str] | None = None) -> None:
        self.left = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)  # a client's socket that is full
        self._is_sent = False
        route, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "GET",
            "path": route,
            "raw_path": route.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1"), *((k.encode(), v.encode()) for k, v in (headers or {}).items())],
            "state": {},
        }
        self._answering = asyncio.create_task(app(scope, self._receive, self._send))

    async def event(self) -> dict[str, str]:
        """Return the fields of the next server-sent event; comments are left out."""
        while True:
            text = (await asyncio.wait_for(self.chunks.get(), 5)).decode()
            fields = dict(line.split(": ", 1) for line in text.splitlines() if line and not line.startswith(":"))
            if fields:
                return fields

    async def ended(self) -> None:
        """Return when the application has ended its answer."""
        await asyncio.wait_for(self._answering, 5)

    async def _receive(self) -> dict[str, Any]:
        if not self._is_sent:
            self._is_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message.get("body") and not self.left.is_set():
            await self.chunks.put(bytes(message["body"]))
