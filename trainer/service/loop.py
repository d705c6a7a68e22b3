"""Consume, decide, train: a step never blocks for long, so the consumer keeps polling while a training runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from shared.backoff import delay_seconds
from shared.errors import OffsetOutOfRange, StaleOffsets
from shared.events import MODELS_COMMANDS
from shared.liveness import Progress, measure_progress
from shared.logging import get_logger
from shared.ports import EventConsumer, Message, Partition
from trainer.service import metrics
from trainer.service.commands import CommandHandler, new_version
from trainer.service.failures import MessageFailures, Task
from trainer.service.model_registry import ModelRegistry
from trainer.service.ports import TrainerStore, TrainingOrder, TrainingRunner, VersionRow
from trainer.service.trigger import ConsumerProgress, TriggerRules, TriggerState, decide_training

POLL_TIMEOUT_SECONDS = 0.1
MESSAGES_PER_POLL = 500
AFTER_FAILURE_SECONDS = 30.0
MOST_AFTER_FAILURE_SECONDS = 600.0
ANNOUNCE_AGAIN_SECONDS = 30.0
ASK_WORKER_AGAIN_SECONDS = 1.0
FOLLOW_VOLUME_SECONDS = 30.0

log = get_logger(__name__)


@dataclass(frozen=True)
class LoopDependencies:
    """What the loop works with."""

    consumer: EventConsumer
    store: TrainerStore
    registry: ModelRegistry
    training: TrainingRunner
    rules: TriggerRules


class TrainerLoop:
    """Call `begin` once, then `step` repeatedly. Each message is handled or becomes a dead letter.

    `step` raises only bugs of the consumer; then the caller opens another consumer.
    """

    def __init__(
        self,
        dependencies: LoopDependencies,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._consumer, self._store = dependencies.consumer, dependencies.store
        self._registry, self._training = dependencies.registry, dependencies.training
        self._rules = dependencies.rules
        self._clock = clock
        self._sleep = sleep
        self._progress = ConsumerProgress(self._consumer)
        self._commands = CommandHandler(self._consumer, self._store, self._registry)
        self._message_failures = MessageFailures()
        self._pending: deque[Message] = deque()
        self._handled = 0
        self._paused = False
        self._order: TrainingOrder | None = None
        self._queued: VersionRow | None = None
        self._queue_changed = True
        self._last_finished = clock()
        self._not_before = clock()  # triggers wait until then; requests do not
        self._without_promotion = 0  # trainings in a row
        self._ask_worker_at = self._ask_for_assets_at = self._announce_at = clock()
        self._follow_volume_at = clock() + FOLLOW_VOLUME_SECONDS  # the start has just done so
        self._missing_assets_logged = False
        self._polling = Task("poll", self._poll, clock=clock, raise_bugs=True)
        self._messages = Task("messages", self._handle_pending, clock=clock)
        self._others = (
            Task("outcome", self._take_outcome, clock=clock),
            Task("start", self._start_if_due, clock=clock),
            Task("announcement", self._announce, clock=clock),
            Task("volume", self._follow_volume, clock=clock),
        )

    def begin(self) -> None:
        """Find out when the last training ended."""
        finished_at = self._store.fetch_last_finished_at()
        if finished_at is not None:
            self._last_finished -= max(0.0, (datetime.now(UTC) - finished_at).total_seconds())

    def step(self) -> None:
        """Poll once and do what is due."""
        self._polling.run()
        if self._polling.is_waiting:
            self._sleep(POLL_TIMEOUT_SECONDS)  # a poll would take as long
        self._messages.run()
        self._follow_commands()
        for task in self._others:
            task.run()

    def backlog(self) -> Progress | None:
        """Return the handled messages, and the waiting ones: polled, or commands in the log. Usable from any thread.

        None while broker or database does not answer.
        """
        done, polled = self._handled, len(self._pending)
        positions: dict[Partition, int] = {}
        for partition in self._consumer.assignment():
            if partition[0] == MODELS_COMMANDS:
                with suppress(KeyError):  # the loop's thread revoked it meanwhile
                    positions[partition] = self._consumer.position(partition)
        return measure_progress(
            done=done, polled=polled, next_offsets=positions, consumer=self._consumer, offsets=self._store
        )

    # --- messages ---

    def _poll(self) -> None:
        self._pause_or_resume()
        try:
            messages = self._consumer.poll(max_messages=MESSAGES_PER_POLL, timeout_seconds=POLL_TIMEOUT_SECONDS)
        except OffsetOutOfRange as error:
            log.error("partition.out_of_range", error=str(error))
            return
        if self._progress.follow_assignment():
            self._pending.clear()
        self._pending.extend(messages)
        self._skip_gaps()

    def _pause_or_resume(self) -> None:
        """Fetch nothing while messages wait for a delay to end; repeated, because a new assignment is unpaused."""
        owned = sorted(self._consumer.assignment())
        is_waiting = self._messages.is_waiting  # read once: the delay may end while this runs
        if is_waiting:
            self._consumer.pause(owned)
        elif self._paused:
            self._consumer.resume(owned)
        self._paused = is_waiting

    def _skip_gaps(self) -> None:
        """Go on at the end of the log: trainings read interactions from the database, so none is lost here.

        The commands of a topic that was created again are new: read them from the start.
        """
        gaps = self._consumer.out_of_range() - self._consumer.assignment()
        new = {partition for partition in gaps & self._consumer.replaced() if partition[0] == MODELS_COMMANDS}
        starts = dict(self._consumer.fetch_low_watermarks(sorted(new)))
        starts |= self._consumer.fetch_high_watermarks(sorted(gaps - new))
        for partition, offset in starts.items():
            log.warning("partition.continues", topic=partition[0], partition=partition[1], offset=offset)
            self._consumer.seek(partition, offset)
            self._progress.skip_to(partition, offset)

    def _handle_pending(self) -> None:
        while self._pending:
            message = self._pending[0]
            is_interaction = self._handle(message)
            self._progress.add_handled(message, is_interaction=is_interaction)
            self._pending.popleft()
            self._handled += 1
            self._messages.failures.clear()
        metrics.INTERACTIONS_SINCE_LAST.set(self._progress.count_uncovered())

    def _handle(self, message: Message) -> bool:
        """Handle a message or store it as a dead letter; return whether it is an interaction."""
        try:
            return self._commands.handle(message)
        except StaleOffsets:
            self._consumer.rewind()
            self._pending.clear()
            raise
        except Exception as error:
            if not self._message_failures.is_dead_letter(message, error):
                raise
            # A training stores the offsets of interactions: after a restart the message comes again, stored once.
            is_command = message.topic == MODELS_COMMANDS
            next_offsets = {(message.topic, message.partition): message.offset + 1} if is_command else {}
            self._commands.store_dead_letter(message, error, next_offsets=next_offsets)
            return False

    # --- trainings ---

    def _start_if_due(self) -> None:
        if self._training.is_busy():
            return
        if self._queue_changed:
            self._queued, self._queue_changed = self._store.fetch_queued(), False
        if self._queued is None and self._clock() < self._not_before:
            return
        triggered_by = self._find_trigger()
        if triggered_by is None or not self._has_assets():
            return
        version = self._queued.version if self._queued else new_version()
        self._order = TrainingOrder(version, triggered_by, self._progress.uncovered_from())
        self._training.start(self._order)
        self._queued, self._queue_changed = None, True
        metrics.TRAINING_NOW.set(1)

    def _find_trigger(self) -> str | None:
        """Return why to train now; interactions count as soon as the worker has stored them for a training to read."""
        pointer = self._registry.current()
        metrics.ACTIVE_SEQUENCE.set(pointer.sequence if pointer else 0)
        state = TriggerState(
            has_model=self._registry.servable() is not None,
            new_interactions=self._progress.count_uncovered(),
            seconds_since_last=self._clock() - self._last_finished,
            queued_request=self._queued.triggered_by if self._queued else None,
        )
        triggered_by = decide_training(state, self._rules)
        if triggered_by is None or state.queued_request is not None or not state.has_model:
            return triggered_by
        if self._clock() < self._ask_worker_at:
            return None
        stored = self._progress.count_uncovered(before=self._store.fetch_worker_offsets())
        triggered_by = decide_training(replace(state, new_interactions=stored), self._rules)
        if triggered_by is None:
            self._ask_worker_at = self._clock() + ASK_WORKER_AGAIN_SECONDS
        return triggered_by

    def _has_assets(self) -> bool:
        if self._clock() < self._ask_for_assets_at:
            return False
        if self._store.has_assets():
            self._missing_assets_logged = False
            return True
        if not self._missing_assets_logged:
            log.warning("training.not_enough_data", reason="no asset is loaded", retry_in_seconds=AFTER_FAILURE_SECONDS)
            self._missing_assets_logged = True
        self._ask_for_assets_at = self._clock() + AFTER_FAILURE_SECONDS
        return False

    def _follow_commands(self) -> None:
        """Take over what commands changed: the queue, and whether the training that runs is still wanted."""
        if self._commands.take_queue_changed():
            self._queue_changed = True
            self._ask_for_assets_at = self._clock()  # the sender may have loaded assets
        cancelled = self._commands.take_cancelled()
        if cancelled is None:
            return
        if self._order is not None and self._training.is_busy():
            self._order.cancelled.set()
        elif cancelled.running or cancelled.queued:
            self._delay_next()

    def _take_outcome(self) -> None:
        outcome = self._training.take_outcome()
        if outcome is None:
            return
        self._order = None
        metrics.TRAINING_NOW.set(0)
        metrics.TRAININGS.labels(outcome.kind).inc()
        metrics.TRAINING_SECONDS.observe(outcome.seconds)
        if outcome.kind in {"promoted", "stored"}:
            self._progress.cover(outcome.covered)
            metrics.INTERACTIONS_SINCE_LAST.set(self._progress.count_uncovered())
            self._last_finished = self._clock()
        if outcome.kind == "promoted":
            self._without_promotion = 0
        else:
            self._delay_next()

    def _delay_next(self) -> None:
        """Let the triggers wait: what led to no new model would most likely do so again."""
        self._without_promotion += 1
        self._not_before = self._clock() + delay_seconds(
            self._without_promotion, first_seconds=AFTER_FAILURE_SECONDS, most_seconds=MOST_AFTER_FAILURE_SECONDS
        )

    def _announce(self) -> None:
        if self._clock() >= self._announce_at and not self._registry.publish_pending():
            self._announce_at = self._clock() + ANNOUNCE_AGAIN_SECONDS

    def _follow_volume(self) -> None:
        """Let the rows follow what an operator removed from the volume, or put back."""
        if self._clock() >= self._follow_volume_at:
            self._registry.follow_volume()
            self._follow_volume_at = self._clock() + FOLLOW_VOLUME_SECONDS
