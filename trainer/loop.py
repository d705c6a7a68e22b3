"""Consume, decide, train: one step of it never blocks for long, so the consumer keeps polling while a training runs."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shared.errors import BrokerUnavailable, ContractViolation, DatabaseUnavailable, OffsetOutOfRange
from shared.events import MODELS_COMMANDS, InteractionRecorded, ModelActivated, RetrainRequested, decode
from shared.logging import get_logger
from shared.ports import EventConsumer, Message, Partition
from trainer import metrics
from trainer.job import Outcome, TrainingOrder
from trainer.patience import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
from trainer.ports import TrainerStore
from trainer.reading import Reading
from trainer.releases import ReleaseBusy, Releases
from trainer.trigger import TriggerRules, TriggerState, decide_training

POLL_TIMEOUT_SECONDS = 0.1
MESSAGES_PER_POLL = 500
AFTER_FAILURE_SECONDS = 30.0
LONGEST_AFTER_FAILURE_SECONDS = 600.0
ANNOUNCE_AGAIN_SECONDS = 30.0

log = get_logger(__name__)


class Background(Protocol):
    """Runs one training at a time beside the loop."""

    def start(self, order: TrainingOrder) -> None:
        """Begin; only while none is under way."""

    def is_busy(self) -> bool:
        """Return whether a training is under way, or its outcome not taken yet."""

    def take_outcome(self) -> Outcome | None:
        """Return how the training ended, once."""


@dataclass(frozen=True)
class LoopParts:
    """What the loop works with."""

    consumer: EventConsumer
    store: TrainerStore
    releases: Releases
    background: Background
    rules: TriggerRules


class TrainerLoop:
    """Call `begin` once, then `step` for ever. Bad weather pauses it; nothing is skipped."""

    def __init__(self, parts: LoopParts, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._reading = Reading(parts.consumer)
        self._pending: deque[Message] = deque()
        self._covered_counts: dict[Partition, int] = {}
        self._queued: tuple[str, str] | None = None  # version and triggered_by of a request that waits
        self._last_finished = clock()
        self._not_before = clock()  # no training is begun before
        self._failures = 0
        self._resume_at: float | None = None
        self._wait_seconds = FIRST_WAIT_SECONDS
        self._announce_at = clock()
        self._complained_of_no_assets = False

    def begin(self) -> None:
        """Find out what happened before: requests that wait, and when the last training ended."""
        self._refresh_queued()
        finished_at = self._parts.store.fetch_last_finished_at()
        if finished_at is not None:
            self._last_finished -= max(0.0, (datetime.now(UTC) - finished_at).total_seconds())

    def step(self) -> None:
        """Poll once and do what is due."""
        try:
            self._poll()
            if self._resume_at is not None and self._clock() < self._resume_at:
                return
            self._handle_pending()
            self._take_outcome()
            self._start_if_due()
        except (DatabaseUnavailable, BrokerUnavailable, ReleaseBusy) as error:
            self._back_off(error)
        else:
            self._fair_weather()
        self._announce()

    # --- reading ---

    def _poll(self) -> None:
        try:
            messages = self._parts.consumer.poll(max_messages=MESSAGES_PER_POLL, timeout_seconds=POLL_TIMEOUT_SECONDS)
        except OffsetOutOfRange as error:
            log.error("partition.out_of_range", error=str(error))
            return
        if self._reading.follow():
            self._pending.clear()
        self._pending.extend(messages)
        self._skip_gaps()

    def _skip_gaps(self) -> None:
        """Go on at the end of the log: trainings read interactions from the database, so none is lost here.

        Commands of a topic that was made anew were never handled: go on at its start.
        """
        consumer = self._parts.consumer
        gaps = consumer.out_of_range() - consumer.assignment()
        new = {partition for partition in gaps & consumer.replaced() if partition[0] == MODELS_COMMANDS}
        starts = dict(consumer.fetch_low_watermarks(sorted(new)))
        starts |= consumer.fetch_high_watermarks(sorted(gaps - new))
        for partition, offset in starts.items():
            log.warning("partition.continues", topic=partition[0], partition=partition[1], offset=offset)
            consumer.seek(partition, offset)
            self._reading.skip(partition, offset)

    def _handle_pending(self) -> None:
        while self._pending:
            message = self._pending[0]
            counted = self._handle(message)
            self._reading.note(message, interaction=counted)
            self._pending.popleft()
        metrics.INTERACTIONS_SINCE_LAST.set(self._reading.new_interactions())

    def _handle(self, message: Message) -> bool:
        """Do what a message asks for; True for a new interaction."""
        try:
            event = decode(message.topic, message.value)
        except ContractViolation as error:
            self._bury(message, str(error))
            return False
        if isinstance(event, InteractionRecorded):
            return True
        after = {(message.topic, message.partition): message.offset + 1}
        if isinstance(event, RetrainRequested):
            self._queue(event, after)
        elif isinstance(event, ModelActivated):
            self._parts.releases.activate(event.version, next_offsets=after)
        metrics.COMMANDS.labels(type(event).__name__).inc()
        self._parts.consumer.commit(after)
        return False

    def _bury(self, message: Message, reason: str) -> None:
        partition = (message.topic, message.partition)
        # Interaction offsets wait for a training: the message is met again after a restart, and kept once.
        is_command = partition not in self._reading.interaction_offsets()
        after = {partition: message.offset + 1} if is_command else {}
        self._parts.store.insert_dead_letter(message, reason=reason, next_offsets=after)
        metrics.DEAD_LETTERS.inc()
        log.error("message.dead_lettered", topic=message.topic, offset=message.offset, reason=reason)

    def _queue(self, event: RetrainRequested, after: dict[Partition, int]) -> None:
        version = new_version()
        queued = self._parts.store.queue_training(
            version, request_id=event.event_id, reason=event.reason, next_offsets=after
        )
        log.info("retrain.requested", event_id=str(event.event_id), version=version if queued else None)
        self._not_before = self._clock()  # somebody who asks knows why it may work now
        self._refresh_queued()

    # --- training ---

    def _start_if_due(self) -> None:
        if self._parts.background.is_busy() or self._clock() < self._not_before:
            return
        triggered_by = decide_training(self._state(), self._parts.rules)
        if triggered_by is None or not self._has_assets():
            return
        version = self._queued[0] if self._queued else new_version()
        self._covered_counts = self._reading.new_by_partition()
        self._parts.background.start(TrainingOrder(version, triggered_by, self._reading.interaction_offsets()))
        self._queued = None
        metrics.TRAINING_NOW.set(1)

    def _state(self) -> TriggerState:
        pointer = self._parts.releases.current()
        metrics.ACTIVE_SEQUENCE.set(pointer.sequence if pointer else 0)
        return TriggerState(
            has_model=self._parts.releases.servable() is not None,
            new_interactions=self._reading.new_interactions(),
            seconds_since_last=self._clock() - self._last_finished,
            queued_request=self._queued[1] if self._queued else None,
        )

    def _has_assets(self) -> bool:
        if self._parts.store.has_assets():
            self._complained_of_no_assets = False
            return True
        if not self._complained_of_no_assets:
            log.warning("training.not_enough_data", reason="no asset is loaded", retry_in_seconds=AFTER_FAILURE_SECONDS)
            self._complained_of_no_assets = True
        self._not_before = self._clock() + AFTER_FAILURE_SECONDS
        return False

    def _take_outcome(self) -> None:
        outcome = self._parts.background.take_outcome()
        if outcome is None:
            return
        metrics.TRAINING_NOW.set(0)
        metrics.TRAININGS.labels(outcome.kind).inc()
        metrics.TRAINING_SECONDS.observe(outcome.seconds)
        if outcome.kind in {"promoted", "stored"}:
            self._reading.forget(self._covered_counts)
            self._last_finished = self._clock()
            self._failures = 0
        else:
            wait = min(AFTER_FAILURE_SECONDS * 2**self._failures, LONGEST_AFTER_FAILURE_SECONDS)
            self._failures += 1
            self._not_before = self._clock() + wait
        self._refresh_queued()

    def _refresh_queued(self) -> None:
        row = self._parts.store.fetch_queued()
        self._queued = (row.version, row.triggered_by) if row else None

    # --- weather ---

    def _back_off(self, error: Exception) -> None:
        log.warning("trainer.waiting", error=str(error), retry_in_seconds=self._wait_seconds)
        self._parts.consumer.pause(sorted(self._parts.consumer.assignment()))
        self._resume_at = self._clock() + self._wait_seconds
        self._wait_seconds = min(self._wait_seconds * 2, LONGEST_WAIT_SECONDS)

    def _fair_weather(self) -> None:
        if self._resume_at is not None:
            self._parts.consumer.resume(sorted(self._parts.consumer.assignment()))
            self._resume_at, self._wait_seconds = None, FIRST_WAIT_SECONDS

    def _announce(self) -> None:
        if self._clock() >= self._announce_at and not self._parts.releases.publish_pending():
            self._announce_at = self._clock() + ANNOUNCE_AGAIN_SECONDS


def new_version() -> str:
    """Return a name that sorts by time and that no other training has."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
