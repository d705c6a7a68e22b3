"""Both clients on a transport that a test writes, called in the same way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from far_trans_client import AsyncClient, Client, Limits

URL = "http://127.0.0.1:1"
# No test waits between attempts.
FAST = Limits(timeout_seconds=5.0, first_delay_seconds=0.0, longest_delay_seconds=0.0)

Handler = Callable[[httpx.Request], httpx.Response]
Use = Callable[[Any], Any]


@dataclass(frozen=True)
class Caller:
    """Calls a method of one of the clients; `take` is how many events of a stream are read."""

    kind: type[Client] | type[AsyncClient]

    def __call__(self, handler: Handler, use: Use, *, limits: Limits = FAST, take: int = 1, url: str = URL) -> Any:
        transport = httpx.MockTransport(handler)
        if self.kind is Client:
            with Client(url, limits=limits, transport=transport) as client:
                answer = use(client)
                return [next(answer) for _ in range(take)] if inspect.isgenerator(answer) else answer
        return asyncio.run(self._call(transport, use, limits=limits, take=take, url=url))

    async def _call(self, transport: httpx.MockTransport, use: Use, *, limits: Limits, take: int, url: str) -> Any:
        async with AsyncClient(url, limits=limits, transport=transport) as client:
            answer = use(client)
            return [await anext(answer) for _ in range(take)] if inspect.isasyncgen(answer) else await answer


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    """One of the two clients."""
    return Caller(request.param)
