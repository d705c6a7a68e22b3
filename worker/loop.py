"""The worker's main loop: poll, barrier, one transaction, commit. Whatever fails, the process lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.errors import BrokerUnavailable, OffsetOutOfRange, RecommenderError, describe_error
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.health import Heartbeat
from shared.logging import get_logger
from shared.ports import EventConsumer, Partition, WorkerStore, WorkerTransaction
from shared.recommender.model import Model
from worker.answers import Scoring
from worker.batch import Batch
from worker.catalogue import Catalogue
from worker.handlers import Handled, handle_batch
from worker.message_buffer import CONSUMED_TOPICS, Intake
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot
from worker.narrowing import Narrowed, narrow
from worker.read_your_writes import Barrier
from worker.retry_policy import NOT_OF_A_MESSAGE, BackOff, Narrow, RetryDecision, RetryPolicy, Rewind

log = get_logger(__name__)

POLL_SECONDS = 0.1
BARRIER_SECONDS = 5.0
NARROWING_SECONDS = 5.0  # of one transaction; it holds locks, and nothing is polled meanwhile


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
    """Consumes both topics until told to stop; one thread.

    Between two steps it knows only what was polled (Intake), which requests wait for which interactions (Barrier), and
    what failed last. A batch that was committed leaves none of it behind, however it came about.
    """

    def __init__(self, parts: Parts, *, batch_size: int) -> None:
        self._parts = parts
        self._batch_size = batch_size
        self._intake = Intake(parts.consumer, batch_size=batch_size)
        self._barrier: Barrier | None = None
        self._batch: Batch | None = None  # under way; stays set when it failed
        self._narrowing = False  # the next batch is processed in parts
        self._bugs = 0  # failures since the last commit that are neither server's nor contract's
        self._failures = 0  # in a row, of one class
        self._last_error: type[Exception] | None = None
        self._not_before = -float("inf")
        self._trouble: str | None = None
        self._commits = 0
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
            self._obey_safely(error)
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
        return self._trouble or self._parts.consumer.problem()

    @property
    def commits(self) -> int:
        """How many batches were stored since the start."""
        return self._commits

    def unfinished(self) -> dict[Partition, int]:
        """Return, for each partition that should make progress, the offset up to which nothing waits here.

        Left out: partitions that wait by design, for a model or for an operator's decision. Callable from any thread.
        """
        return self._intake.unfinished(held=self._held_without_model())

    def _refresh_model(self) -> None:
        try:
            self._parts.model_slot.refresh()
        except Exception as error:
            self._parts.model_slot.refuse(error)

    def _held_without_model(self) -> tuple[str, ...]:
        return (RECOMMENDATIONS_REQUESTED,) if self._parts.model_slot.model is None else ()

    def _poll(self) -> None:
        backing_off = self._parts.clock() < self._not_before
        held = CONSUMED_TOPICS if backing_off else self._held_without_model()
        idle = backing_off or self._barrier is not None or not self._has_work()
        waiting = [self._intake.waiting(topic) for topic in CONSUMED_TOPICS if topic not in held]
        wanted = self._batch_size if self._barrier else self._batch_size - max(waiting, default=0)
        changed = self._intake.poll(timeout_seconds=POLL_SECONDS if idle else 0.0, held=held, wanted=wanted)
        if changed:
            self._barrier = None
        self._parts.metrics.watch(self._parts.consumer, paused=len(self._intake.paused))

    def _has_work(self) -> bool:
        if self._intake.waiting(INTERACTIONS_RECORDED):
            return True
        return self._parts.model_slot.model is not None and len(self._intake.requests(1)) > 0

    def _next_batch(self) -> Batch | None:
        if self._barrier is None:
            self._barrier = self._raise_barrier()
        targets = self._barrier.targets if self._barrier else {}
        interactions = self._intake.interactions(self._batch_size, targets=targets)
        if self._barrier is None:
            return Batch(interactions) if interactions else None
        has_more = self._intake.count_before(targets) > len(interactions)
        if self._barrier.is_reached() and not has_more:
            return Batch(interactions, self._barrier.requests)
        if has_more or len(interactions) >= self._batch_size:
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
        """Give the batch its effects, once; of one that is narrowed, as many as fit into the time of a transaction."""
        started = self._parts.clock()
        starts = self._intake.starts(batch)
        with self._parts.store.begin() as transaction:
            # 3. One transaction: lock the offsets and compare them, apply the effects, write the next offsets.
            transaction.lock_offsets(starts)
            result = self._handle(batch, transaction)
            next_offsets = self._intake.next_offsets(result.done)
            transaction.store_offsets(next_offsets)
        # 4. Committed: whoever owns the partitions next starts after this batch.
        self._settle(result)
        # 5. Tell Kafka, for lag monitors only; a crash before this line repeats nothing.
        self._parts.consumer.commit(next_offsets)
        self._parts.metrics.observe(result.done, result.handled, seconds=self._parts.clock() - started)

    def _handle(self, batch: Batch, transaction: WorkerTransaction) -> Narrowed:
        scoring = self._parts.scoring(self._parts.model_slot.model)

        def handle(part: Batch) -> Handled:
            return handle_batch(part, transaction=transaction, catalogue=self._parts.catalogue, scoring=scoring)

        if not self._narrowing:
            return Narrowed(handle(batch), batch, Batch())
        deadline = self._parts.clock() + NARROWING_SECONDS
        return narrow(batch, transaction=transaction, handle=handle, is_late=lambda: self._parts.clock() >= deadline)

    def _settle(self, result: Narrowed) -> None:
        """Forget what was stored, and what failed before it was."""
        self._batch = None  # what fails after the commit is no message's fault
        self._commits += 1
        self._intake.done(result.done)
        self._bugs = 0
        if not result.rest:
            self._narrowing = False
        if result.done.requests or result.rest:
            self._barrier = None

    def _obey_safely(self, error: Exception) -> None:
        try:
            self._obey(error)
        except Exception as second:
            self._not_before = self._parts.clock() + self._parts.policy.most_seconds
            log.error("worker.failed", error_type=type(second).__name__, error=str(second), exc_info=second)

    def _obey(self, error: Exception) -> None:
        """Do what the policy decides about this failure."""
        self._failures = self._failures + 1 if type(error) is self._last_error else 1
        self._last_error = type(error)
        self._parts.metrics.failures.labels(type(error).__name__).inc()
        # A bug that escapes from narrowing, or after the commit, is no message's fault.
        in_batch = self._batch is not None and not self._narrowing
        is_bug = in_batch and not isinstance(error, NOT_OF_A_MESSAGE)
        self._bugs += is_bug
        failures = self._bugs if is_bug else self._failures
        decision = self._parts.policy.decide(error, failures=failures, in_batch=in_batch)
        log_failure(error, decision, self._batch, failures=failures)
        if isinstance(decision, BackOff | Rewind):
            self._not_before = self._parts.clock() + decision.seconds
            self._trouble = describe_error(error)
        if isinstance(decision, Rewind):
            self._barrier = None
            self._parts.consumer.rewind()
        elif isinstance(decision, Narrow):
            self._narrowing = True


def log_failure(error: Exception, decision: RetryDecision, batch: Batch | None, *, failures: int) -> None:
    """Log what failed and what follows; a bug with its traceback, the first time only."""
    fields = {
        "error_type": type(error).__name__,
        "error": describe_error(error),
        "decision": type(decision).__name__,
        "batch_size": len(batch) if batch else 0,
    }
    if isinstance(error, OffsetOutOfRange):
        log.error("consumer.offset_out_of_range", **fields)
    elif isinstance(error, RecommenderError):
        log.warning("worker.failed", **fields, retry_in_seconds=getattr(decision, "seconds", None))
    else:
        log.error("worker.failed", **fields, exc_info=error if failures == 1 else None)
