"""The client for programs with asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from uuid import UUID

import httpx

from far_trans_client import exchanges, operations
from far_trans_client.answers import AssetItem, ListEvent, RecommendationList
from far_trans_client.connections import BodyReader, build_options, build_request, check_encoding, translate_errors
from far_trans_client.errors import ConnectionFailed, Unavailable
from far_trans_client.exchanges import Attempt, Exchange, Limits
from far_trans_client.following import Following
from far_trans_client.messages import Answer, Operation, check_status

P = ParamSpec("P")
T = TypeVar("T")


def _method(build: Callable[P, Operation[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(build)
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.carry_out(exchanges.call(build(*args, **kwargs), self.limits))

    return call


class AsyncClient:
    """A connection to one gateway; use it as a context manager, or `aclose` it. Tasks of one loop may share it.

    Every call ends within `limits` and returns a typed answer, or raises an error of `far_trans_client.errors`.
    """

    request_recommendations = _method(operations.request_recommendations)
    batch = _method(operations.batch)
    recommendations = _method(operations.recommendations)
    recommendations_if_ready = _method(operations.recommendations_if_ready)
    why = _method(operations.why)
    portfolio = _method(operations.portfolio)
    request_status = _method(operations.request_status)
    record_interaction = _method(operations.record_interaction)
    record_transaction = _method(operations.record_transaction)
    assets_page = _method(operations.assets_page)
    asset = _method(operations.asset)
    watchlist = _method(operations.watchlist)
    models = _method(operations.models)
    frontier = _method(operations.frontier)
    retrain = _method(operations.retrain)
    cancel = _method(operations.cancel)
    activate = _method(operations.activate)
    pin = _method(operations.pin)
    unpin = _method(operations.unpin)
    suspensions = _method(operations.suspensions)
    suspend_asset = _method(operations.suspend_asset)
    resume_asset = _method(operations.resume_asset)
    suspend_category = _method(operations.suspend_category)
    resume_category = _method(operations.resume_category)
    suspend_model = _method(operations.suspend_model)
    resume_model = _method(operations.resume_model)
    live = _method(operations.live)
    ready = _method(operations.ready)

    def __init__(
        self,
        url: str,
        *,
        limits: Limits | None = None,
        headers: Mapping[str, str] | None = None,
        api_key: str | None = None,
        token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect at the first call. `headers` go with every request, and so does one of `api_key` and `token`.

        A gateway with AUTH_MODE=api_key or jwt needs them, one with AUTH_MODE=none ignores them. Raises InvalidArgument
        for what is no URL, and for credentials that are given twice or are no header.
        """
        self.limits = limits or Limits()
        options = build_options(url, headers, api_key=api_key, token=token)
        self.url = options.address
        self._http = httpx.AsyncClient(
            base_url=options.url,
            headers=options.headers,
            auth=options.auth,
            trust_env=options.trust_env,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def wait_for_list(
        self, customer_id: str, request_id: UUID | str, *, timeout_seconds: float = 30.0
    ) -> RecommendationList:
        """Return the list of this request, or a later one of the customer, as soon as it is there.

        Raises ListNotReady when it is not there in time, and RequestFailed.
        """
        limits = self.limits
        return await self.carry_out(
            exchanges.wait_for_list(customer_id, request_id, limits, timeout_seconds=timeout_seconds)
        )

    async def assets(
        self,
        *,
        q: str | None = None,
        sector: str | None = None,
        category: str | None = None,
        page_size: int = 500,
    ) -> AsyncIterator[AssetItem]:
        """Iterate over all assets that match; a request for each page."""
        offset = 0
        while True:
            page = await self.assets_page(q=q, sector=sector, category=category, limit=page_size, offset=offset)
            for asset in page.assets:
                yield asset
            offset += len(page.assets)
            if not page.assets or offset >= page.total:
                return

    async def follow(
        self, customer_id: str, *, last_event_id: UUID | str | None = None
    ) -> AsyncGenerator[ListEvent, None]:
        """Iterate over the lists of a customer, the newest first and then each new one; ends when it is closed.

        Connects again after a loss, and goes on after the last list. Raises after `stream_attempts` failures in a row.
        """
        following = Following(customer_id, self.limits, last_event_id=last_event_id)
        while True:
            failure: ConnectionFailed | Unavailable | None = None
            try:
                async with self._stream(following) as chunks:
                    async for chunk in chunks:
                        for newest in following.receive(chunk):
                            yield newest
            except (ConnectionFailed, Unavailable) as error:
                failure = error
            await asyncio.sleep(following.delay_before_next(failure))

    async def carry_out(self, exchange: Exchange[T]) -> T:
        """Send the attempts of an exchange; return its result."""
        try:
            attempt = next(exchange)
            while True:
                await asyncio.sleep(attempt.delay_seconds)
                try:
                    answer = await self._send(attempt)
                except ConnectionFailed as error:
                    attempt = exchange.throw(error)
                else:
                    attempt = exchange.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def _send(self, attempt: Attempt) -> Answer:
        deadline = time.monotonic() + attempt.timeout_seconds
        async with self._open(attempt.operation, seconds=attempt.timeout_seconds) as response:
            return await self._read(response, deadline)

    @asynccontextmanager
    async def _stream(self, following: Following) -> AsyncIterator[AsyncIterator[bytes]]:
        operation, seconds = following.connect(), self.limits.stream_silence_seconds
        deadline = time.monotonic() + seconds
        async with self._open(operation, seconds=seconds) as response:
            if response.status_code != 200:
                check_status(operation, await self._read(response, deadline))
            following.check_head(response.headers)
            yield response.aiter_bytes()

    @asynccontextmanager
    async def _open(self, operation: Operation[object], *, seconds: float) -> AsyncIterator[httpx.Response]:
        request = build_request(self._http, operation, self.limits, seconds=seconds)
        with translate_errors(operation, address=self.url):
            response = await self._http.send(request, stream=True)
            try:
                check_encoding(response)
                yield response
            finally:
                await response.aclose()

    async def _read(self, response: httpx.Response, deadline: float) -> Answer:
        body = BodyReader(response, self.limits, deadline=deadline)
        async for chunk in response.aiter_bytes():
            body.add(chunk)
        return body.answer()
