"""The worker's main loop: poll, barrier, one transaction, commit. The only place that catches Exception."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.domain.model import Model
from shared.errors import BrokerUnavailable, OffsetOutOfRange, RecommenderError
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.health import Heartbeat
from shared.logging import get_logger
from shared.ports import EventConsumer, Message, WorkerStore, WorkerTransaction
from worker.answers import Scoring
from worker.barrier import Barrier
from worker.batch import Batch
from worker.catalogue import Catalogue
from worker.handlers import Handled, describe, handle_batch
from worker.intake import CONSUMED_TOPICS, Intake
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot
from worker.retries import BackOff, GiveUp, Isolate, RetryDecision, RetryPolicy, Rewind

log = get_logger(__name__)

POLL_SECONDS = 0.1
BARRIER_SECONDS = 5.0


@dataclass(frozen=True)
class Parts:
    """What the loop works with, wired in __main__. `scoring` says how a model is used; None for no model."""

    consumer: EventConsumer
    store: WorkerStore
    catalogue: Catalogue
    model_slot: ModelSlot
    scoring: Callable[[Model | None], Scoring | None]
    metrics: WorkerMetrics
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Callable[[], float] = time.monotonic


class WorkerLoop:
    """Consumes both topics until told to stop; one thread."""

    def __init__(self, parts: Parts, *, batch_size: int) -> None:
        self._parts = parts
        self._batch_size = batch_size
        self._intake = Intake(parts.consumer, batch_size=batch_size)
        self._barrier: Barrier | None = None
        self._batch: Batch | None = None  # under way; stays set when it failed
        self._isolated: deque[Batch] = deque()
        self._condemned: tuple[Message, Exception] | None = None  # goes to dead_letters with the next transaction
        self._failures = 0  # in a row, of one class
        self._last_error: type[Exception] | None = None
        self._not_before = -float("inf")
        self._trouble: str | None = None
        self._stopping = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Step until `should_stop`; whatever fails, the policy says what happens next."""
        while not should_stop():
            self.safe_step()
        self._stopping = True

    def safe_step(self) -> None:
        """Make one step and obey the policy if it fails."""
        try:
            self.step()
        except Exception as error:
            self._obey(error)
        self._parts.heartbeat.beat()

    def step(self) -> None:
        """Poll once, and process at most one batch."""
        self._batch = None
        self._refresh_model()
        # 1. Poll, always: it keeps the membership alive and serves rebalances, whatever is wrong elsewhere.
        self._poll()
        if self._parts.clock() < self._not_before:
            return
        self._parts.catalogue.refresh()
        # 2. Barrier: requests wait until every interaction acknowledged before them is read.
        self._batch = self._next_batch()
        if self._batch is not None:
            self._process(self._batch)
        self._trouble, self._last_error = None, None

    def unready_reason(self) -> str | None:
        """Return why no request should be expected to be answered now, None when all is well."""
        out_of_range = self._parts.consumer.out_of_range()
        if self._stopping:
            return "stopping"
        if self._parts.model_slot.model is None:
            return "no model yet"
        if self._parts.consumer.generation == 0:
            return "not in the consumer group yet"
        if out_of_range:
            return f"offset out of range: {sorted(out_of_range)}"
        return self._trouble

    def stop(self) -> None:
        """Be unready from now on."""
        self._stopping = True

    def _refresh_model(self) -> None:
        try:
            self._parts.model_slot.refresh()
        except Exception as error:
            self._parts.model_slot.refuse(error)

    def _poll(self) -> None:
        backing_off = self._parts.clock() < self._not_before
        held: tuple[str, ...] = ()
        if backing_off:
            held = CONSUMED_TOPICS
        elif self._parts.model_slot.model is None:
            held = (RECOMMENDATIONS_REQUESTED,)
        idle = backing_off or self._barrier is not None or not self._has_work()
        waiting = [self._intake.waiting(topic) for topic in CONSUMED_TOPICS if topic not in held]
        wanted = self._batch_size if self._barrier else self._batch_size - max(waiting, default=0)
        changed = self._intake.poll(timeout_seconds=POLL_SECONDS if idle else 0.0, held=held, wanted=wanted)
        if changed:
            self._barrier, self._condemned = None, None
            self._isolated.clear()
        self._parts.metrics.watch(self._parts.consumer, paused=len(self._intake.paused))

    def _has_work(self) -> bool:
        if self._isolated or self._intake.waiting(INTERACTIONS_RECORDED):
            return True
        return self._parts.model_slot.model is not None and self._intake.waiting(RECOMMENDATIONS_REQUESTED) > 0

    def _next_batch(self) -> Batch | None:
        if self._isolated:
            return self._isolated[0]
        if self._barrier is None:
            self._barrier = self._raise_barrier()
        targets = self._barrier.targets if self._barrier else {}
        interactions = self._intake.interactions(self._batch_size, targets=targets)
        if self._barrier is None:
            return Batch(interactions) if interactions else None
        if self._barrier.is_reached() and self._intake.count_before(targets) <= len(interactions):
            return Batch(interactions, self._barrier.requests)
        if len(interactions) >= self._batch_size:
            return Batch(interactions)  # far behind: in several transactions, the requests after them
        self._check_progress(self._barrier)
        return None

    def _raise_barrier(self) -> Barrier | None:
        requests = self._intake.requests(self._batch_size) if self._parts.model_slot.model else ()
        if not requests:
            return None
        return Barrier(
            requests, consumer=self._parts.consumer, patience_seconds=BARRIER_SECONDS, clock=self._parts.clock
        )

    def _check_progress(self, barrier: Barrier) -> None:
        try:
            barrier.check_progress()
        except BrokerUnavailable:
            self._barrier = None
            raise

    def _process(self, batch: Batch) -> None:
        """Give the batch its effects, once."""
        started = self._parts.clock()
        starts, next_offsets = self._intake.starts(batch), self._intake.next_offsets(batch)
        with self._parts.store.begin() as transaction:
            # 3. One transaction: lock the offsets and compare them, apply the effects, write the next offsets.
            transaction.lock_offsets(starts)
            handled = self._handle(batch, transaction)
            transaction.store_offsets(next_offsets)
        # 4. Committed: whoever owns the partitions next starts after this batch.
        self._intake.done(batch)
        self._settle(batch)
        # 5. Tell Kafka, for lag monitors only; a crash before this line repeats nothing.
        self._parts.consumer.commit(next_offsets)
        self._parts.metrics.observe(batch, handled, seconds=self._parts.clock() - started)

    def _handle(self, batch: Batch, transaction: WorkerTransaction) -> Handled:
        if self._condemned is not None:
            message, error = self._condemned
            transaction.insert_dead_letters([(message, describe(error))])
            return Handled(dead_letters=((message, error),))
        scoring = self._parts.scoring(self._parts.model_slot.model)
        return handle_batch(batch, transaction=transaction, catalogue=self._parts.catalogue, scoring=scoring)

    def _settle(self, batch: Batch) -> None:
        self._condemned = None
        if self._isolated:
            self._isolated.popleft()
        elif batch.requests:
            self._barrier = None

    def _obey(self, error: Exception) -> None:
        """Do what the policy decides about this failure."""
        self._failures = self._failures + 1 if type(error) is self._last_error else 1
        self._last_error = type(error)
        self._parts.metrics.failures.labels(type(error).__name__).inc()
        batch = self._batch if self._condemned is None else None  # writing a dead letter is retried without end
        decision = self._parts.policy.decide(
            error, failures=self._failures, batch_size=len(batch) if batch else 0, isolated=bool(self._isolated)
        )
        log_failure(error, decision, batch)
        if isinstance(decision, BackOff | Rewind):
            self._not_before = self._parts.clock() + decision.seconds
            self._trouble = describe(error)
        if isinstance(decision, Rewind):
            self._parts.consumer.rewind()
        elif isinstance(decision, Isolate) and batch:
            self._barrier = None
            self._isolated = deque(batch.one_by_one())
        elif isinstance(decision, GiveUp) and batch:
            self._isolated = self._isolated or deque([batch])
            self._condemned = (batch.messages[0], error)


def log_failure(error: Exception, decision: RetryDecision, batch: Batch | None) -> None:
    """Log once what failed and what follows; a bug with its traceback."""
    fields = {
        "error_type": type(error).__name__,
        "error": str(error),
        "decision": type(decision).__name__,
        "batch_size": len(batch) if batch else 0,
    }
    if isinstance(error, OffsetOutOfRange):
        log.error("consumer.offset_out_of_range", **fields)
    elif isinstance(error, RecommenderError):
        log.warning("worker.failed", **fields, retry_in_seconds=getattr(decision, "seconds", None))
    else:
        log.error("worker.failed", **fields, exc_info=error)
