"""One effect per Idempotency-Key: endpoint, customer and key determine the event id, a fingerprint detects misuse."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4, uuid5

from pydantic import BaseModel

from api.errors import InvalidField
from api.ports import GatewayReader
from shared.errors import DatabaseUnavailable
from shared.events import Event

KEY_HEADER = "Idempotency-Key"
REMEMBERED_KEYS = 100_000
LOOKUP_TIMEOUT_SECONDS = 0.5
_NAMESPACE = UUID("6f0b7c0e-6a55-4c1c-9d3c-0f1f3a1f5e4b")

Publish = Callable[[], Coroutine[Any, Any, None]]


def identify(
    endpoint: str, key: str | None, body: BaseModel, *, customer_id: str | None = None
) -> tuple[UUID, str | None]:
    """Return the id of a new event; with a key, that of its endpoint, customer and key, and a fingerprint of the body.

    Keys of requests without a customer are unique per endpoint.
    """
    if key is None:
        return uuid4(), None
    canonical = body.model_dump_json(exclude_none=True).encode()
    # None of them can contain a line feed, so different values never give the same name.
    name = "\n".join([endpoint, key] if customer_id is None else [endpoint, customer_id, key])
    return uuid5(_NAMESPACE, name), hashlib.sha256(canonical).hexdigest()


class IdempotencyLedger:
    """The keys that this process used recently; the database has those whose event had its effect.

    Other processes may publish the same event again: the worker gives one event id one effect.
    """

    def __init__(self, reader: GatewayReader, *, remembered_keys: int = REMEMBERED_KEYS) -> None:
        self._reader = reader
        self._remembered_keys = remembered_keys
        # Fingerprint and publication by event id; a publication that is done without an exception is acknowledged.
        self._publications: OrderedDict[UUID, tuple[str, asyncio.Task[None]]] = OrderedDict()

    async def run_once(self, event: Event, publish: Publish) -> None:
        """Publish unless an event with this id is acknowledged; concurrent requests share one attempt.

        Raises InvalidField when the key was used with another body, and the exceptions of `publish`.
        """
        if event.fingerprint is None:
            await publish()
            return
        if event.event_id not in self._publications and await self._has_effect(event):
            return
        fingerprint, publication = self._publications.get(event.event_id, (event.fingerprint, None))
        if fingerprint != event.fingerprint:
            raise _key_reused()
        if publication is None or _has_failed(publication):
            publication = asyncio.create_task(publish())
        self._publications[event.event_id] = fingerprint, publication
        self._publications.move_to_end(event.event_id)
        while len(self._publications) > self._remembered_keys:
            self._publications.popitem(last=False)
        # The cancellation of one request must not cancel the event of the others.
        await asyncio.shield(publication)

    async def _has_effect(self, event: Event) -> bool:
        """Look in the database; False while it is unavailable."""
        try:
            stored = await self._reader.fetch_fingerprint(event, timeout_seconds=LOOKUP_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            return False
        if stored is not None and stored != event.fingerprint:
            raise _key_reused()
        return stored is not None


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _key_reused() -> InvalidField:
    return InvalidField(KEY_HEADER, "this key was used with another body")
