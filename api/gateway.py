"""What the routes work with: the publisher behind its ledger and metrics, the reader, the catalogue, the health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from api.catalogue import AssetCatalogue
from api.health import CHECK_SECONDS, HealthMonitor
from api.idempotency import EventIdentity, IdempotencyLedger
from api.metrics import GatewayMetrics
from api.ports import EffectKind, GatewayPublisher, GatewayReader
from shared.errors import PublishFailed
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED, Event

_EFFECTS: dict[str, EffectKind] = {RECOMMENDATIONS_REQUESTED: "decision", INTERACTIONS_RECORDED: "interaction"}


@dataclass(frozen=True)
class Dependencies:
    """What the composition root gives to the gateway."""

    publisher: GatewayPublisher
    reader: GatewayReader
    catalogue_refresh_seconds: float = 30.0
    health_check_seconds: float = CHECK_SECONDS
    flush_timeout_seconds: float = 1.0


class Gateway:
    """One per process."""

    def __init__(self, dependencies: Dependencies) -> None:
        self.publisher = dependencies.publisher
        self.reader = dependencies.reader
        self.metrics = GatewayMetrics(queue_length=self.publisher.queue_length)
        self.catalogue = AssetCatalogue(self.reader, refresh_seconds=dependencies.catalogue_refresh_seconds)
        self.health = HealthMonitor(self.publisher, self.reader, check_seconds=dependencies.health_check_seconds)
        self._ledger = IdempotencyLedger(self.reader)

    async def publish(self, topic: str, *, key: str, event: Event) -> None:
        """Return when the broker has the event, by this request or by an earlier one with its identity.

        Raises PublishFailed, and InvalidField for an Idempotency-Key that was used with another body.
        """
        identity = EventIdentity(event.event_id, event.fingerprint)

        async def publish_counted() -> None:
            outcome = "unknown"
            try:
                await self.publisher.publish(topic, key=key, event=event)
                outcome = "acknowledged"
            except PublishFailed as error:
                outcome = "unknown" if error.outcome_unknown else "not_accepted"
                raise
            finally:
                self.metrics.count_published(topic, outcome)

        await self._ledger.run_once(identity, _EFFECTS.get(topic), publish_counted)


def gateway_of(request: Request) -> Gateway:
    """Return the gateway that this request came to."""
    return cast(Gateway, request.app.state.gateway)
