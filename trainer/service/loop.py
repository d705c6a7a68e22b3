"""Consume, decide, train: one step of it never blocks for long, so the consumer keeps polling while a training runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shared.errors import OffsetOutOfRange, StaleOffsets
from shared.events import MODELS_COMMANDS
from shared.logging import get_logger
from shared.ports import EventConsumer, Message, Partition
from trainer.service import metrics
from trainer.service.commands import CommandHandler, new_version
from trainer.service.failures import MessageFailures, Step
from trainer.service.job import Outcome, TrainingOrder
from trainer.service.model_registry import Releases
from trainer.service.ports import TrainerStore
from trainer.service.progress import Reading
from trainer.service.trigger import TriggerRules, TriggerState, decide_training

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
    """Call `begin` once, then `step` for ever. Whatever a message holds, it is handled or a dead letter.

    `step` raises only a bug of the consumer: then it takes another consumer to go on.
    """

    def __init__(
        self,
        parts: LoopParts,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._sleep = sleep
        self._reading = Reading(parts.consumer)
        self._commands = CommandHandler(parts.consumer, parts.store, parts.releases)
        self._message_failures = MessageFailures()
        self._pending: deque[Message] = deque()
        self._handled = 0
        self._paused = False
        self._order: TrainingOrder | None = None
        self._covered_counts: dict[Partition, int] = {}
        self._queued: tuple[str, str] | None = None  # version and triggered_by of a request that waits
        self._queue_changed = True
        self._last_finished = clock()
        self._not_before = clock()  # no training is begun before, unless somebody asks for one
        self._refusals = 0
        self._ask_for_assets_at = clock()
        self._announce_at = clock()
        self._complained_of_no_assets = False
        self._polling = Step("poll", self._poll, clock=clock, raise_bugs=True)
        self._messages = Step("messages", self._handle_pending, clock=clock)
        self._others = (
            Step("outcome", self._take_outcome, clock=clock),
            Step("start", self._start_if_due, clock=clock),
            Step("announcement", self._announce, clock=clock),
        )

    @property
    def waiting_messages(self) -> int:
        """How many messages were polled and are not handled yet."""
        return len(self._pending)

    @property
    def handled_messages(self) -> int:
        """How many messages were handled so far, dead letters included; it only grows."""
        return self._handled

    def begin(self) -> None:
        """Find out when the last training ended."""
        finished_at = self._parts.store.fetch_last_finished_at()
        if finished_at is not None:
            self._last_finished -= max(0.0, (datetime.now(UTC) - finished_at).total_seconds())

    def step(self) -> None:
        """Poll once and do what is due."""
        self._polling.run()
        if self._polling.is_waiting:
            self._sleep(POLL_TIMEOUT_SECONDS)  # the time that a poll would have taken
        self._messages.run()
        self._follow_commands()
        for step in self._others:
            step.run()

    # --- reading ---

    def _poll(self) -> None:
        self._pause_or_resume()
        try:
            messages = self._parts.consumer.poll(max_messages=MESSAGES_PER_POLL, timeout_seconds=POLL_TIMEOUT_SECONDS)
        except OffsetOutOfRange as error:
            log.error("partition.out_of_range", error=str(error))
            return
        if self._reading.follow():
            self._pending.clear()
        self._pending.extend(messages)
        self._skip_gaps()

    def _pause_or_resume(self) -> None:
        """Fetch nothing while messages wait for a pause to end; repeated, because a new assignment is unpaused."""
        owned = sorted(self._parts.consumer.assignment())
        is_waiting = self._messages.is_waiting  # asked once: the pause may end while this runs
        if is_waiting:
            self._parts.consumer.pause(owned)
        elif self._paused:
            self._parts.consumer.resume(owned)
        self._paused = is_waiting

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
            self._handled += 1
            self._messages.note_progress()
        metrics.INTERACTIONS_SINCE_LAST.set(self._reading.new_interactions())

    def _handle(self, message: Message) -> bool:
        """Do what a message asks for, or make it a dead letter; True for a new interaction."""
        try:
            return self._commands.handle(message)
        except StaleOffsets:
            self._parts.consumer.rewind()
            self._pending.clear()
            raise
        except Exception as error:
            if not self._message_failures.give_up(message, error):
                raise
            self._commands.bury(message, error, next_offsets=self._offset_after(message))
            return False

    def _offset_after(self, message: Message) -> dict[Partition, int]:
        partition = (message.topic, message.partition)
        # Interaction offsets wait for a training: the message is met again after a restart, and kept once.
        is_command = partition not in self._reading.interaction_offsets()
        return {partition: message.offset + 1} if is_command else {}

    # --- training ---

    def _start_if_due(self) -> None:
        if self._parts.background.is_busy():
            return
        self._refresh_queued()
        if self._queued is None and self._clock() < self._not_before:
            return
        triggered_by = decide_training(self._state(), self._parts.rules)
        if triggered_by is None or not self._has_assets():
            return
        version = self._queued[0] if self._queued else new_version()
        self._covered_counts = self._reading.new_by_partition()
        self._order = TrainingOrder(version, triggered_by, self._reading.interaction_offsets())
        self._parts.background.start(self._order)
        self._queued, self._queue_changed = None, True
        metrics.TRAINING_NOW.set(1)

    def _follow_commands(self) -> None:
        """Take over what commands changed: the queue, and whether the training under way is still wanted."""
        if self._commands.take_queue_changed():
            self._queue_changed = True
            self._ask_for_assets_at = self._clock()  # somebody who asks may have loaded them
        cancelled = self._commands.take_cancelled()
        if cancelled is None:
            return
        if self._order is not None and self._parts.background.is_busy():
            self._order.cancelled.set()
        elif cancelled.running or cancelled.queued:
            self._delay_next()

    def _refresh_queued(self) -> None:
        if self._queue_changed:
            row = self._parts.store.fetch_queued()
            self._queued = (row.version, row.triggered_by) if row else None
            self._queue_changed = False

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
        if self._clock() < self._ask_for_assets_at:
            return False
        if self._parts.store.has_assets():
            self._complained_of_no_assets = False
            return True
        if not self._complained_of_no_assets:
            log.warning("training.not_enough_data", reason="no asset is loaded", retry_in_seconds=AFTER_FAILURE_SECONDS)
            self._complained_of_no_assets = True
        self._ask_for_assets_at = self._clock() + AFTER_FAILURE_SECONDS
        return False

    def _take_outcome(self) -> None:
        outcome = self._parts.background.take_outcome()
        if outcome is None:
            return
        self._order = None
        metrics.TRAINING_NOW.set(0)
        metrics.TRAININGS.labels(outcome.kind).inc()
        metrics.TRAINING_SECONDS.observe(outcome.seconds)
        if outcome.kind in {"promoted", "stored"}:
            self._reading.forget(self._covered_counts)
            self._last_finished = self._clock()
        if outcome.kind == "promoted":
            self._refusals = 0
        else:
            self._delay_next()

    def _delay_next(self) -> None:
        """Let the triggers wait, doubling: what led to no new model would most likely do so again."""
        wait_seconds = min(AFTER_FAILURE_SECONDS * 2.0 ** min(self._refusals, 30), LONGEST_AFTER_FAILURE_SECONDS)
        self._refusals += 1
        self._not_before = self._clock() + wait_seconds

    def _announce(self) -> None:
        if self._clock() >= self._announce_at and not self._parts.releases.publish_pending():
            self._announce_at = self._clock() + ANNOUNCE_AGAIN_SECONDS
