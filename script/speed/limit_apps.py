"""The applications that the gateway is compared with; each does the least that its request can do.

`no_op` validates a body and answers. `produce_without_waiting` also hands the event to the producer. `read_row`
fetches one row of `bench_lists` by asyncpg and answers its bytes.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from uuid import uuid4

import asyncpg
from confluent_kafka import Producer
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field

from shared.events import RECOMMENDATIONS_REQUESTED, RecommendationRequested, encode
from shared.kafka.client_settings import producer_settings

_ANSWER = b'{"status":"ok"}'
_ROW = "SELECT items FROM bench_lists WHERE customer_id = $1"
Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    customer_id: str = Field(min_length=1, max_length=64)
    action: Literal["request_recs", "refresh_recs"]


def no_op() -> FastAPI:
    """Return an application that validates and answers."""
    app = FastAPI()

    @app.post("/recommendations")
    async def answer(body: _Body) -> Response:
        return Response(_ANSWER, headers={"X-Request-ID": str(uuid4())}, media_type="application/json")

    return app


def produce_without_waiting() -> FastAPI:
    """Return an application that also produces the event, and answers without an acknowledgement."""
    settings = producer_settings(os.environ["KAFKA_BOOTSTRAP_SERVERS"], client_id="limit", delivery_timeout_seconds=10)
    producer = Producer(settings)
    topic = os.environ.get("TOPIC_PREFIX", "") + RECOMMENDATIONS_REQUESTED
    app = FastAPI()

    @app.post("/recommendations")
    async def answer(body: _Body) -> Response:
        event = RecommendationRequested(customer_id=body.customer_id, action=body.action)
        producer.produce(topic, key=body.customer_id, value=encode(event))
        producer.poll(0)
        return Response(_ANSWER, headers={"X-Request-ID": str(event.event_id)}, media_type="application/json")

    return app


class ReadRow:
    """A bare ASGI application that answers the list of the customer who is the last part of the path."""

    def __init__(self) -> None:
        self._pool: asyncpg.Pool | None = None

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
            return
        assert self._pool is not None
        async with self._pool.acquire() as connection:
            items = await connection.fetchval(_ROW, scope["path"].rpartition("/")[2])
        content = b'{"status":"ok","recommendations":%b}' % (items or "[]").encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _serve_lifespan(self, receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        await receive()
        self._pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=10, max_size=10)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})


def read_row() -> ReadRow:
    """Return the bare application for GET."""
    return ReadRow()
