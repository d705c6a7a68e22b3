"""The main loop of the worker: poll, wait for earlier writes, one transaction, commit. No failure ends the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.errors import ContractViolation, OffsetOutOfRange, describe_error
from shared.events import CUSTOMER_TOPICS, RECOMMENDATIONS_REQUESTED, WRITE_TOPICS
from shared.health import Heartbeat
from shared.liveness import Progress, measure_progress
from shared.logging import get_logger
from shared.ports import EventConsumer
from shared.recommender.model import Model
from shared.retry_policy import NOT_OF_A_MESSAGE, BackOff, RetryDecision, RetryPolicy, Rewind, ToDeadLetter
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.handlers import Handled, handle_batch
from worker.message_buffer import Batch, MessageBuffer, ReadYourWrites
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot
from worker.narrowing import Narrowed, narrow
from worker.ports import WorkerStore, WorkerTransaction

log = get_logger(__name__)

POLL_SECONDS = 0.1
NARROWING_SECONDS = 5.0  # of one transaction: it holds locks, and nothing is polled meanwhile


@dataclass(frozen=True)
class Dependencies:
    """What the loop works with, wired in __main__."""

    consumer: EventConsumer
    store: WorkerStore
    catalogue: Catalogue
    model_slot: ModelSlot
    build_scoring: Callable[[Model], Scoring]
    metrics: WorkerMetrics
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Callable[[], float] = time.monotonic


class WorkerLoop:
    """Consumes the customer topics in one thread.

    Between two steps it keeps the polled messages, the requests that wait for earlier writes, and the last failure.
    """

    def __init__(self, dependencies: Dependencies, *, batch_size: int) -> None:
        self._dependencies = dependencies
        self._consumer = dependencies.consumer
        self._clock = dependencies.clock
        self._batch_size = batch_size
        self._buffer = MessageBuffer(dependencies.consumer, batch_size=batch_size)
        self._waiting: ReadYourWrites | None = None
        self._batch: Batch | None = None  # in progress; stays set when it failed
        self._narrowing = False  # the next batch is processed in parts
        self._bugs = 0  # failures of batches since the last commit that are bugs or contract violations
        self._failures = 0  # in a row, of one class
        self._last_error: type[Exception] | None = None
        self._resume_at = -float("inf")
        self._problem: str | None = None
        self.commits = 0  # batches that were stored since the start
        self._stopping = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Make steps until `should_stop`."""
        while not should_stop():
            self.safe_step()
        self._stopping = True

    def safe_step(self) -> None:
        """Make one step; when it fails, do what the policy decides."""
        try:
            try:
                self.step()
            except Exception as error:
                self._obey(error)
        except Exception as error:  # a bug in the remedy must not end the worker
            self._resume_at = self._clock() + self._dependencies.policy.most_seconds
            log.exception("worker.failed", error_type=type(error).__name__, error=describe_error(error))
        self._dependencies.heartbeat.beat()

    def step(self) -> None:
        """Poll once, and process at most one batch."""
        self._batch = None
        self._dependencies.model_slot.refresh()
        # 1. Poll always: it keeps the group membership and serves rebalances, whatever fails elsewhere.
        self._poll()
        if self._clock() < self._resume_at:
            return
        self._dependencies.catalogue.refresh()
        # 2. Requests wait until every interaction and order that was acknowledged before them is polled.
        self._batch = self._next_batch()
        if self._batch is not None:
            self._process(self._batch)
        self._problem, self._last_error = None, None

    def unready_reason(self) -> str | None:
        """Return why requests are not answered now, None when they are."""
        out_of_range = self._consumer.out_of_range()
        if self._stopping:
            return "stopping"
        if not self._has_model:
            return "no model yet"
        if self._consumer.generation == 0:
            return "not in the consumer group yet"
        if out_of_range:
            return f"offset out of range: {sorted(out_of_range)}"
        return self._problem or self._consumer.problem()

    def progress(self) -> Progress | None:
        """Return the stored batches and the waiting messages; None while broker or database do not answer.

        Messages that wait for a model or for an operator do not count. Safe to call from any thread.
        """
        return measure_progress(
            done=self.commits,
            polled=0,  # `unfinished` counts from the first message that waits here
            next_offsets=self._buffer.unfinished(held=self._held_without_model()),
            consumer=self._consumer,
            offsets=self._dependencies.store,
        )

    @property
    def _has_model(self) -> bool:
        return self._dependencies.model_slot.model is not None

    def _held_without_model(self) -> tuple[str, ...]:
        return () if self._has_model else (RECOMMENDATIONS_REQUESTED,)

    def _poll(self) -> None:
        backing_off = self._clock() < self._resume_at
        held = CUSTOMER_TOPICS if backing_off else self._held_without_model()
        has_writes = any(self._buffer.waiting(topic) for topic in WRITE_TOPICS)
        has_work = has_writes or (self._has_model and self._buffer.requests(1))
        idle = backing_off or self._waiting is not None or not has_work
        waiting = [self._buffer.waiting(topic) for topic in CUSTOMER_TOPICS if topic not in held]
        wanted = self._batch_size if self._waiting else self._batch_size - max(waiting, default=0)
        changed = self._buffer.poll(timeout_seconds=POLL_SECONDS if idle else 0.0, held=held, wanted=wanted)
        if changed:
            self._waiting = None
        self._dependencies.metrics.watch(self._consumer, paused=len(self._buffer.paused))

    def _next_batch(self) -> Batch | None:
        requests = self._buffer.requests(self._batch_size) if self._waiting is None and self._has_model else ()
        if requests:
            self._waiting = ReadYourWrites(requests, consumer=self._consumer, clock=self._clock)
        targets = self._waiting.targets if self._waiting else {}
        writes = self._buffer.writes(self._batch_size, targets=targets)
        if self._waiting is None:
            return Batch(writes) if writes else None
        has_more = self._buffer.count_before(targets) > len(writes)
        if self._waiting.is_reached() and not has_more:
            return Batch(writes, self._waiting.requests)
        if has_more or len(writes) >= self._batch_size:
            return Batch(writes)  # far behind: several transactions, then the requests
        waiting, self._waiting = self._waiting, None  # without progress the requests start to wait anew
        waiting.check_progress()
        self._waiting = waiting
        return None

    def _process(self, batch: Batch) -> None:
        """Store the effects of the batch once; of a batch that is narrowed, as many as fit into one transaction."""
        started = self._clock()
        starts = self._buffer.starts(batch)
        with self._dependencies.store.begin() as transaction:
            # 3. One transaction: lock and compare the offsets, store the effects, write the next offsets.
            transaction.lock_offsets(starts)
            result = self._handle(batch, transaction)
            next_offsets = self._buffer.next_offsets(result.done)
            transaction.store_offsets(next_offsets)
        # 4. Committed: the next owner of the partitions starts after this batch.
        self._settle(result)
        # 5. Tell Kafka, for lag monitors only; a crash before this line repeats nothing.
        self._consumer.commit(next_offsets)
        self._dependencies.metrics.observe(result.done, result.handled, seconds=self._clock() - started)

    def _handle(self, batch: Batch, transaction: WorkerTransaction) -> Narrowed:
        model, catalogue = self._dependencies.model_slot.model, self._dependencies.catalogue
        scoring = self._dependencies.build_scoring(model) if model else None

        def handle(part: Batch) -> Handled:
            return handle_batch(part, transaction=transaction, catalogue=catalogue, scoring=scoring)

        if not self._narrowing:
            return Narrowed(handle(batch), batch, Batch())
        deadline = self._clock() + NARROWING_SECONDS
        return narrow(batch, transaction=transaction, handle=handle, is_late=lambda: self._clock() >= deadline)

    def _settle(self, result: Narrowed) -> None:
        """Forget the stored messages and the failures before them."""
        self._batch = None  # no message can cause a failure after the commit
        self.commits += 1
        self._buffer.done(result.done)
        self._bugs = 0
        if not result.rest:
            self._narrowing = False
        if result.done.requests or result.rest:
            self._waiting = None

    def _obey(self, error: Exception) -> None:
        """Do what the policy decides about this failure."""
        self._failures = self._failures + 1 if type(error) is self._last_error else 1
        self._last_error = type(error)
        self._dependencies.metrics.failures.labels(type(error).__name__).inc()
        # No message can cause a bug that escapes from narrowing or comes after the commit.
        in_batch = self._batch is not None and not self._narrowing
        is_bug = in_batch and not isinstance(error, NOT_OF_A_MESSAGE)
        self._bugs += is_bug
        failures = self._bugs if is_bug else self._failures
        decision = self._dependencies.policy.decide(error, failures=failures, in_batch=in_batch)
        log_failure(error, decision, self._batch)
        if isinstance(decision, BackOff | Rewind):
            self._resume_at = self._clock() + decision.seconds
            self._problem = describe_error(error)
        if isinstance(decision, Rewind):
            self._waiting = None
            self._consumer.rewind()
        elif isinstance(decision, ToDeadLetter):
            self._narrowing = True


def log_failure(error: Exception, decision: RetryDecision, batch: Batch | None) -> None:
    """Log a failure and the decision about it; a bug with its traceback."""
    fields = {
        "error_type": type(error).__name__,
        "error": describe_error(error),
        "decision": type(decision).__name__,
        "batch_size": len(batch) if batch else 0,
    }
    if isinstance(error, OffsetOutOfRange):
        log.error("consumer.offset_out_of_range", **fields)
    elif isinstance(error, (*NOT_OF_A_MESSAGE, ContractViolation)):
        log.warning("worker.failed", **fields, retry_in_seconds=getattr(decision, "seconds", None))
    else:
        log.error("worker.failed", **fields, exc_info=error)
