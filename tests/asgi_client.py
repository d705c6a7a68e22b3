"""Call an ASGI application from a plain test: its lifespan, its requests and its background tasks on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
