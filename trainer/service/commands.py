"""Handle one message: each command has its effect once, in one transaction with its offset."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from shared.errors import EventIdReused, describe_error
from shared.events import (
    Event,
    InteractionRecorded,
    ModelActivated,
    ModelPinned,
    ModelUnpinned,
    RetrainCancelled,
    RetrainRequested,
    TransactionRecorded,
    content_digest,
    decode,
)
from shared.logging import get_logger
from shared.ports import EventConsumer, Message, Partition
from shared.recommender.types import InteractionType
from trainer.service import metrics
from trainer.service.job import CANCELLED
from trainer.service.model_registry import ModelRegistry
from trainer.service.ports import CancelledTrainings, Command, TrainerStore

log = get_logger(__name__)


class CommandHandler:
    """Handles messages of every topic; the loop takes what a command changed."""

    def __init__(self, consumer: EventConsumer, store: TrainerStore, registry: ModelRegistry) -> None:
        self._consumer = consumer
        self._store = store
        self._registry = registry
        self._cancelled: CancelledTrainings | None = None
        self._queue_changed = False

    def handle(self, message: Message) -> bool:
        """Handle a message and return whether a model learns from it: from an interaction or an order; safe to repeat.

        Nothing is learned from an impression.

        Raises ContractViolation when no retry can help the message.
        """
        event = decode(message.topic, message.value, logged_at=message.logged_at)
        if isinstance(event, InteractionRecorded):
            return event.type is not InteractionType.IMPRESSION
        if isinstance(event, TransactionRecorded):
            return True
        self._handle_command(event, {(message.topic, message.partition): message.offset + 1})
        return False

    def store_dead_letter(self, message: Message, error: Exception, *, next_offsets: dict[Partition, int]) -> None:
        """Store a message as a dead letter; the reason begins with the class of the error."""
        reason = describe_error(error)
        self._store.insert_dead_letter(message, reason=reason, next_offsets=next_offsets)
        metrics.DEAD_LETTERS.inc()
        log.error(
            "message.dead_lettered",
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            reason=reason,
        )

    def take_cancelled(self) -> CancelledTrainings | None:
        """Return what a cancellation ended since the last call."""
        cancelled, self._cancelled = self._cancelled, None
        return cancelled

    def take_queue_changed(self) -> bool:
        """Return whether the queue may have changed since the last call."""
        changed, self._queue_changed = self._queue_changed, False
        return changed

    def _handle_command(self, event: Event, next_offsets: dict[Partition, int]) -> None:
        command = Command(event.event_id, type(event).__name__, content_digest(event), next_offsets)
        known = self._store.fetch_command_digest(event.event_id)
        if known is not None and known != command.content_digest:
            raise EventIdReused(f"event_id {event.event_id} belongs to another command, which had its effect")
        if known is not None:
            self._store.store_offsets(next_offsets)
        elif isinstance(event, RetrainRequested):
            self._queue(event, command)
        elif isinstance(event, RetrainCancelled):
            self._cancel(command)
        elif isinstance(event, ModelActivated):
            self._registry.activate(event.version, command=command)
        elif isinstance(event, ModelPinned | ModelUnpinned):
            self._registry.pin(event.version, pinned=isinstance(event, ModelPinned), command=command)
        metrics.COMMANDS.labels(command.event_type).inc()
        self._consumer.commit(next_offsets)

    def _queue(self, event: RetrainRequested, command: Command) -> None:
        self._queue_changed = True
        version = new_version()
        if self._store.queue_training(version, command=command, reason=event.reason):
            log.info("retrain.requested", event_id=str(event.event_id), version=version)
        else:
            metrics.REQUESTS_JOINED.inc()
            log.debug("retrain.joined", event_id=str(event.event_id))

    def _cancel(self, command: Command) -> None:
        self._queue_changed = True
        self._cancelled = self._store.cancel_trainings(command=command, reason=CANCELLED)
        log.info("retrain.cancelled", **vars(self._cancelled))


def new_version() -> str:
    """Return a unique version name; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
