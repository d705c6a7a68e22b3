"""The components of one gateway process, and the dependencies through which routes use them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from api.access.control import AccessControl, principal_of
from api.catalogue import AssetCatalogue
from api.errors import unknown_customer
from api.idempotency import KEY_HEADER, IdempotencyLedger, identify, identify_in_batch
from api.kept_lists import KeptLists
from api.metrics import GatewayMetrics
from api.ports import GatewayPublisher, GatewayReader
from api.request_ids import RequestIds
from api.schemas.answers import Acknowledged, Readiness
from api.schemas.lists import RecommendationsBody
from api.sentences import load_catalogues
from api.waiting import ListWaiters
from shared.errors import PublishFailed
from shared.events import EVENTS_OF_TOPIC, MODEL_NAME, Event, RecommendationRequested
from shared.logging import get_logger

CHECK_SECONDS = 2.0
_TOPICS = {event_type: topic for topic, event_types in EVENTS_OF_TOPIC.items() for event_type in event_types}
_ACKNOWLEDGED = Acknowledged().model_dump_json().encode()

log = get_logger(__name__)


class HealthMonitor:
    """Checks broker and database in the background, so that a probe costs nothing.

    Ready means that the broker answers and the gateway is not stopping. Events need no database.
    """

    def __init__(self, publisher: GatewayPublisher, reader: GatewayReader) -> None:
        self._publisher = publisher
        self._reader = reader
        self._broker = False
        self._database = False
        self._shutting_down = False

    async def check_forever(self) -> None:
        """Check repeatedly until the shutdown begins; a check in progress would delay the exit."""
        while not self._shutting_down:
            await self.check()
            await asyncio.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Check both once and log a change; a check that raises counts as no answer."""
        answers = await asyncio.gather(
            self._publisher.is_reachable(), self._reader.is_reachable(), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                log.error("health.check_failed", exc_info=answer)
        broker, database = (answer is True for answer in answers)
        if (broker, database) != (self._broker, self._database):
            log.info("health.changed", broker=broker, database=database)
        self._broker, self._database = broker, database

    def begin_shutdown(self) -> None:
        """Be unready from now on."""
        self._shutting_down = True

    def readiness(self) -> Readiness:
        """Return the result of the last check."""
        ready = self._broker and not self._shutting_down
        return Readiness(
            status="ok" if ready else "unavailable",
            broker=self._broker,
            database=self._database,
            shutting_down=self._shutting_down,
        )


class Gateway:
    """The components of one process."""

    def __init__(  # noqa: PLR0913 - what the settings say, by keyword
        self,
        publisher: GatewayPublisher,
        reader: GatewayReader,
        *,
        catalogue_refresh_seconds: float = 30.0,
        max_waiters: int = 5000,
        request_id_key: str | None = None,
        legacy_empty_list: bool = False,
        kept_list_bytes: int = 0,
        access: AccessControl | None = None,
    ) -> None:
        """Without `access` everybody may do everything. Raises ConfigurationInvalid for bad sentences."""
        load_catalogues()
        self.publisher = publisher
        self.reader = reader
        self.metrics = GatewayMetrics(queue_length=publisher.queue_length)
        self.catalogue = AssetCatalogue(reader, refresh_seconds=catalogue_refresh_seconds)
        self.health = HealthMonitor(publisher, reader)
        self.ledger = IdempotencyLedger(reader)
        self.request_ids = RequestIds(request_id_key)
        self.legacy_empty_list = legacy_empty_list
        self.kept_lists = KeptLists(most_bytes=kept_list_bytes)
        self.metrics.watch(self.metrics.kept_list_bytes, lambda: self.kept_lists.bytes)
        self.access = access
        self.waiters = ListWaiters(reader, most=max_waiters, metrics=self.metrics)

    def begin_shutdown(self) -> None:
        """Be unready, and let nobody wait any longer."""
        self.health.begin_shutdown()
        self.waiters.begin_shutdown()

    def background_tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs beside the requests until the end."""
        return [
            self.health.check_forever(),
            self.catalogue.refresh_forever(),
            self.waiters.answer_forever(),
            self.reader.listen_forever(on_notified=self.waiters.wake, on_connected=self.waiters.wake_all),
            *([] if self.access is None else [self.access.refresh_forever()]),
        ]


async def _gateway_of(request: Request) -> Gateway:
    return cast(Gateway, request.app.state.gateway)


GatewayDependency = Annotated[Gateway, Depends(_gateway_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="requests of one customer with the same key and body have one effect; the same key with another "
        "body is rejected",
    ),
]


@dataclass(frozen=True)
class EventPublication:
    """Publishes the event of one request, with the identity that its Idempotency-Key determines."""

    gateway: Gateway
    request: Request
    key: str | None

    async def __call__(
        self, endpoint: str, event_type: type[Event], body: BaseModel, *, customer_id: str | None = None
    ) -> Response:
        """Return the response after the broker has acknowledged an event with the fields of `body`.

        Raises PublishFailed, InvalidField for a key that was used with another body, and the 404 for a customer that
        does not exist for the caller.
        """
        if customer_id is not None and not self.may_see(customer_id):
            raise unknown_customer()
        event_id, fingerprint = identify(endpoint, self.key, body, customer_id=customer_id)
        if event_type is RecommendationRequested and customer_id is not None:
            is_repeatable = self.key is not None
            event_id = self.gateway.request_ids.issue(event_id, customer_id=customer_id, repeatable=is_repeatable)
        self.request.state.request_id = event_id
        event = event_type(event_id=event_id, fingerprint=fingerprint, **dict(body))
        key = str(getattr(event, event.key_field)) if event.key_field else MODEL_NAME
        await self.gateway.ledger.run_once(event, partial(self._publish, event, key=key))
        headers = {"X-Request-ID": str(event_id)}
        return Response(_ACKNOWLEDGED, headers=headers, media_type="application/json")

    async def publish_requests(
        self, endpoint: str, bodies: Mapping[int, RecommendationsBody], *, fingerprint: str
    ) -> dict[int, tuple[UUID, PublishFailed | None]]:
        """Publish the requests of a batch by their places, begun in this order; return id and failure of each.

        `fingerprint`: of the whole batch. Raises InvalidField, and publishes nothing, for a key of another batch. The
        caller has asked `may_see` for each customer.
        """
        is_repeatable = self.key is not None
        events = []
        for place, body in bodies.items():
            plain = identify_in_batch(endpoint, self.key, place, customer_id=body.customer_id)
            issue = self.gateway.request_ids.issue
            event_id = issue(plain, customer_id=body.customer_id, repeatable=is_repeatable)
            given = fingerprint if is_repeatable else None
            events.append(RecommendationRequested(event_id=event_id, fingerprint=given, **dict(body)))

        async def publish(event: Event) -> None:
            assert isinstance(event, RecommendationRequested)
            await self._publish(event, key=event.customer_id)

        failures = await self.gateway.ledger.run_each_once(events, publish)
        outcomes = zip(events, failures, strict=True)
        return {place: (event.event_id, failure) for place, (event, failure) in zip(bodies, outcomes, strict=True)}

    def may_see(self, customer_id: str) -> bool:
        """Return whether this customer exists for the caller."""
        if self.gateway.access is None:
            return True
        principal = principal_of(self.request)
        return principal is not None and principal.may_see(customer_id)

    def count_more(self, requests: int) -> None:
        """Count the further requests of a batch; raises the 429. A batch counts at most as the whole limit."""
        access, principal = self.gateway.access, principal_of(self.request)
        if access is not None and access.rate_limit is not None and principal is not None:
            access.rate_limit.count(principal, min(requests, access.rate_limit.most - 1))

    async def _publish(self, event: Event, *, key: str) -> None:
        topic, outcome = _TOPICS[type(event)], "unknown"
        try:
            await self.gateway.publisher.publish(topic, key=key, event=event)
            outcome = "acknowledged"
        except PublishFailed as error:
            outcome = "unknown" if error.outcome_unknown else "not_accepted"
            raise
        finally:
            self.gateway.metrics.note_event(topic, outcome)


async def _event_publication(request: Request, idempotency_key: IdempotencyKey = None) -> EventPublication:
    return EventPublication(await _gateway_of(request), request, idempotency_key)


PublishEvent = Annotated[EventPublication, Depends(_event_publication)]
