"""One effect per Idempotency-Key: endpoint, customer and key determine the event id, a fingerprint detects misuse."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4, uuid5

from pydantic import BaseModel

from api.errors import InvalidField
from api.ports import GatewayReader
from shared.errors import DatabaseUnavailable, PublishFailed
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
    event_id = _event_id(endpoint, key) if customer_id is None else _event_id(endpoint, customer_id, key)
    return event_id, digest([body.model_dump_json(exclude_none=True).encode()])


def identify_in_batch(endpoint: str, key: str | None, place: int, *, customer_id: str) -> UUID:
    """Return the id of the event of a request in a batch; with a key, that of endpoint, customer, key and place."""
    return uuid4() if key is None else _event_id(endpoint, customer_id, key, str(place))


def digest(contents: Iterable[bytes]) -> str:
    """Return the fingerprint of JSON texts without line feeds between their values."""
    return hashlib.sha256(b"\n".join(contents)).hexdigest()


def _event_id(*names: str) -> UUID:
    # None of them can contain a line feed, so different values never give the same name.
    return uuid5(_NAMESPACE, "\n".join(names))


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
        is_new = event.event_id not in self._publications
        if is_new and _is_effect_of(event, await self._fetch_effects([event])):
            return
        # The cancellation of one request must not cancel the event of the others.
        await asyncio.shield(self._attempt(event, publish))

    async def run_each_once(
        self, events: Sequence[Event], publish: Callable[[Event], Coroutine[Any, Any, None]]
    ) -> list[PublishFailed | None]:
        """Publish requests as `run_once` does, begun in their order; return the failure of each, None without one.

        Raises InvalidField, and publishes nothing, when the key of one was used with another body.
        """
        effects = await self._fetch_effects([one for one in events if one.event_id not in self._publications])
        attempts = []
        for event in events:
            self._check_not_reused(event)
        done = [_is_effect_of(event, effects) for event in events]
        for event, is_done in zip(events, done, strict=True):
            attempts.append(_nothing() if is_done else asyncio.shield(self._attempt(event, partial(publish, event))))
        failures = await asyncio.gather(*attempts, return_exceptions=True)
        for failure in failures:
            if failure is not None and not isinstance(failure, PublishFailed):
                raise failure
        return [failure for failure in failures if failure is None or isinstance(failure, PublishFailed)]

    def _attempt(self, event: Event, publish: Publish) -> asyncio.Task[None]:
        """Return the publication of this event: that under way or acknowledged, or a new one."""
        if event.fingerprint is None:
            return asyncio.create_task(publish())
        self._check_not_reused(event)
        _, publication = self._publications.get(event.event_id, (None, None))
        if publication is None or _has_failed(publication):
            publication = asyncio.create_task(publish())
        self._publications[event.event_id] = event.fingerprint, publication
        self._publications.move_to_end(event.event_id)
        while len(self._publications) > self._remembered_keys:
            self._publications.popitem(last=False)
        return publication

    def _check_not_reused(self, event: Event) -> None:
        known = self._publications.get(event.event_id)
        if known is not None and known[0] != event.fingerprint:
            raise _key_reused()

    async def _fetch_effects(self, events: Sequence[Event]) -> Mapping[UUID, str | None]:
        """Return the fingerprints of those events that the database has; nothing while it is unavailable."""
        with_key = [event for event in events if event.fingerprint is not None]
        try:
            if len(with_key) == 1:
                [event] = with_key
                found = await self._reader.fetch_fingerprint(event, timeout_seconds=LOOKUP_TIMEOUT_SECONDS)
                return {} if found is None else {event.event_id: found}
            if with_key:
                ids = [event.event_id for event in with_key]
                return await self._reader.fetch_fingerprints(ids, timeout_seconds=LOOKUP_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            pass
        return {}


async def _nothing() -> None:
    return None


def _is_effect_of(event: Event, effects: Mapping[UUID, str | None]) -> bool:
    """Return whether the database has this event; raises InvalidField when it has another one under the key."""
    found = effects.get(event.event_id)
    if found is not None and found != event.fingerprint:
        raise _key_reused()
    return found is not None


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _key_reused() -> InvalidField:
    return InvalidField(KEY_HEADER, "this key was used with another body")
