"""The main loop of the worker: poll, wait for earlier writes, one transaction, commit. No failure ends the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial

from shared.errors import describe_error
from shared.events import ASSET_TOPICS, RECOMMENDATIONS_REQUESTED, WORKER_TOPICS
from shared.health import Heartbeat
from shared.liveness import Progress, measure_progress
from shared.logging import get_logger
from shared.ports import EventConsumer
from shared.recommender.model import Model
from shared.retry_policy import BackOff, RetryPolicy, Rewind, ToDeadLetter
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.failures import Failures
from worker.handlers import answer_requests, handle_batch
from worker.histories import Histories
from worker.message_buffer import Batch, MessageBuffer, ReadYourWrites
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot
from worker.narrowing import Narrowed, narrow
from worker.ports import WorkerStore, WorkerTransaction
from worker.storing import Storing, begin_storing

log = get_logger(__name__)

POLL_SECONDS = 0.1
ASSETS_HELD_SECONDS = 0.02  # a poll of the customer topics alone, while many assets or prices arrive
NARROWING_SECONDS = 5.0  # of one transaction: it holds locks, and nothing is polled meanwhile


@dataclass(frozen=True)
class Dependencies:
    """What the loop works with, wired in __main__.

    executor: has one thread, which stores the answers of full batches; None: this thread stores everything.
    """

    consumer: EventConsumer
    store: WorkerStore
    catalogue: Catalogue
    model_slot: ModelSlot
    build_scoring: Callable[[Model], Scoring]
    metrics: WorkerMetrics
    histories: Histories = field(default_factory=Histories)
    executor: Executor | None = None
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Callable[[], float] = time.monotonic


class WorkerLoop:
    """Consumes all topics of the worker in one thread; another one stores a full batch while the next one is answered.

    Between two steps it keeps the polled messages, the requests that wait for earlier writes, the batch that is being
    stored, and the last failure.
    """

    def __init__(self, dependencies: Dependencies, *, batch_size: int) -> None:
        self._dependencies = dependencies
        self._consumer = dependencies.consumer
        self._clock = dependencies.clock
        self._histories = dependencies.histories
        self._batch_size = batch_size
        self._buffer = MessageBuffer(dependencies.consumer, batch_size=batch_size)
        self._waiting: ReadYourWrites | None = None
        self._batch: Batch | None = None  # in progress; stays set when it failed
        self._storing: Storing | None = None
        self._holds_assets = False  # the next poll leaves out what no request waits for
        self._narrowing = False  # the next batch is processed in parts
        self._failures = Failures(dependencies.policy)
        self._resume_at = -float("inf")
        self.commits = 0  # batches that were stored since the start
        self._stopping = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Make steps until `should_stop`."""
        while not should_stop():
            self.safe_step()
        self._stopping = True
        self._guarded(self._finish)

    def safe_step(self) -> None:
        """Make one step; when it fails, do what the policy decides."""
        self._guarded(self.step)
        self._dependencies.heartbeat.beat()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            try:
                act()
            except Exception as error:
                self._obey(error)
        except Exception as error:  # a bug in the remedy must not end the worker
            self._resume_at = self._clock() + self._dependencies.policy.most_seconds
            log.exception("worker.failed", error_type=type(error).__name__, error=describe_error(error))

    def step(self) -> None:
        """Poll once, and process at most one batch."""
        self._batch = None
        self._dependencies.model_slot.refresh()
        if self._failures:
            self._finish()
        # 1. Poll always: it keeps the group membership and serves rebalances, whatever fails elsewhere.
        self._poll()
        if self._clock() < self._resume_at:
            return
        self._dependencies.catalogue.refresh()
        # 2. Requests wait until everything they depend on that was acknowledged before them is polled.
        self._batch = batch = self._next_batch()
        if batch is not None and self._can_be_stored_later(batch):
            self._answer(batch)
        else:
            self._finish()
            self._process(batch)
        self._failures.note_good_step()

    def unready_reason(self) -> str | None:
        """Return why requests are not answered now, None when they are."""
        out_of_range = self._consumer.out_of_range()
        if self._stopping:
            return "stopping"
        if not self._has_model:
            return "no model yet" if self._dependencies.model_slot.model is None else "the model is suspended"
        if self._consumer.generation == 0:
            return "not in the consumer group yet"
        if out_of_range:
            return f"offset out of range: {sorted(out_of_range)}"
        return self._failures.problem or self._consumer.problem()

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
        return self._model() is not None

    def _model(self) -> Model | None:
        """Return the served model, None while it is suspended: requests wait for another one."""
        model = self._dependencies.model_slot.model
        is_suspended = model is not None and self._dependencies.catalogue.is_model_suspended(model.version)
        return None if is_suspended else model

    def _held_without_model(self) -> tuple[str, ...]:
        return () if self._has_model else (RECOMMENDATIONS_REQUESTED,)

    def _poll(self) -> None:
        backing_off = self._clock() < self._resume_at
        held = WORKER_TOPICS if backing_off else self._held_without_model()
        if self._holds_assets:  # a flood of them lies in front of the customers' messages, which have every other poll
            held = (*held, *ASSET_TOPICS)
        has_writes = any(self._buffer.waiting(topic) for topic in WORKER_TOPICS if topic != RECOMMENDATIONS_REQUESTED)
        has_work = has_writes or (self._has_model and self._buffer.requests(1))
        idle = backing_off or self._waiting is not None or not has_work
        waiting = [self._buffer.waiting(topic) for topic in WORKER_TOPICS if topic not in held]
        wanted = self._batch_size if self._waiting else self._batch_size - max(waiting, default=0)
        least_seconds = ASSETS_HELD_SECONDS if self._holds_assets else 0.0
        changed = self._buffer.poll(timeout_seconds=POLL_SECONDS if idle else least_seconds, held=held, wanted=wanted)
        assets = sum(self._buffer.waiting(topic) for topic in ASSET_TOPICS)
        self._holds_assets = not self._holds_assets and 2 * assets >= self._batch_size
        if changed:
            self._start_over()
        self._dependencies.metrics.watch(self._consumer, paused=len(self._buffer.paused))

    def _next_batch(self) -> Batch | None:
        requests = self._buffer.requests(self._batch_size) if self._waiting is None and self._has_model else ()
        if requests:
            self._waiting = ReadYourWrites(requests, consumer=self._consumer, clock=self._clock)
        batch = self._buffer.next_batch(self._batch_size, waiting=self._waiting)
        if batch is None and self._waiting is not None:
            waiting, self._waiting = self._waiting, None  # without progress the requests start to wait anew
            waiting.check_progress()
            self._waiting = waiting
        return batch

    def _can_be_stored_later(self, batch: Batch) -> bool:
        is_full = 2 * len(batch.requests) >= self._batch_size
        return self._dependencies.executor is not None and is_full and not batch.writes and not self._narrowing

    def _answer(self, batch: Batch) -> None:
        """Answer a batch of requests while the one before is stored, and have its answers stored.

        No batch that is being stored has writes, so the histories in the database are what this one rests on.
        """
        executor, scoring, started = self._dependencies.executor, self._scoring(), self._clock()
        before = self._storing.answers if self._storing else None
        assert executor is not None
        assert scoring is not None
        try:
            with self._dependencies.store.begin() as transaction:
                answers = answer_requests(
                    batch.requests,
                    transaction=transaction,
                    catalogue=self._dependencies.catalogue,
                    scoring=scoring,
                    before=before,
                )
            self._histories.keep()
        finally:
            self._finish()
            self._batch = batch
        self._storing = begin_storing(
            batch, answers, store=self._dependencies.store, buffer=self._buffer, executor=executor, started=started
        )
        self._waiting = self._batch = None

    def _finish(self) -> None:
        """Wait until the batch that is being stored is stored; raises what went wrong."""
        storing, self._storing = self._storing, None
        if storing is None:
            return
        self._batch = storing.batch
        try:
            handled = storing.handled.result()
        except Exception:
            self._buffer.give_back()
            self._waiting = None  # whatever comes after this batch waits for it
            raise
        self._buffer.stored(storing.batch)
        self._settle(Narrowed(handled, storing.batch, Batch()), started=storing.started)

    def _start_over(self) -> None:
        """After a change of the assignment: nothing that was known of customers and offsets holds."""
        storing, self._storing, self._waiting = self._storing, None, None
        self._histories.clear()
        if storing is not None:
            self.commits += storing.handled.exception() is None
            if self._consumer.assignment():  # its positions may have been read before the batch was stored
                self._consumer.rewind()

    def _process(self, batch: Batch | None) -> None:
        """Store the effects of the batch once; of a batch that is narrowed, as many as fit into one transaction."""
        self._batch, started = batch, self._clock()
        if batch is None:
            return
        starts = self._buffer.starts(batch)
        self._histories.forget(batch.writes)
        with self._dependencies.store.begin() as transaction:
            # 3. One transaction: lock and compare the offsets, store the effects, write the next offsets.
            transaction.lock_offsets(starts)
            result = self._handle(batch, transaction)
            transaction.store_offsets(self._buffer.next_offsets(result.done))
        # 4. Committed: the next owner of the partitions starts after this batch.
        self._histories.keep()
        self._buffer.done(result.done)
        if result.done.requests or result.rest:
            self._waiting = None
        self._settle(result, started=started)

    def _scoring(self) -> Scoring | None:
        if (model := self._model()) is None:
            return None
        # A part of a batch that is narrowed may be undone, and what was read in it with it.
        histories = None if self._narrowing else self._histories
        return replace(self._dependencies.build_scoring(model), histories=histories)

    def _handle(self, batch: Batch, transaction: WorkerTransaction) -> Narrowed:
        scoring, catalogue = self._scoring(), self._dependencies.catalogue

        handle = partial(handle_batch, transaction=transaction, catalogue=catalogue, scoring=scoring)
        if not self._narrowing:
            return Narrowed(handle(batch), batch, Batch())
        deadline = self._clock() + NARROWING_SECONDS
        return narrow(batch, transaction=transaction, handle=handle, is_late=lambda: self._clock() >= deadline)

    def _settle(self, result: Narrowed, *, started: float) -> None:
        """Forget the failures before the commit, and tell of it."""
        self._batch = None  # no message can cause a failure after the commit
        self.commits += 1
        self._failures.note_commit()
        if not result.rest:
            self._narrowing = False
        # 5. Tell Kafka, for lag monitors only; a crash before this line repeats nothing.
        self._consumer.commit(self._buffer.next_offsets(result.done))
        self._dependencies.metrics.observe(result.done, result.handled, seconds=self._clock() - started)

    def _obey(self, error: Exception) -> None:
        """Do what the policy decides about this failure."""
        self._dependencies.metrics.failures.labels(type(error).__name__).inc()
        self._histories.clear()  # what was read in a transaction that may be undone
        if self._storing is not None:
            self._storing.handled.exception()  # waits: a remedy meets nothing that is half done
        decision = self._failures.decide(error, batch=self._batch, narrowing=self._narrowing)
        if isinstance(decision, BackOff | Rewind):
            self._resume_at = self._clock() + decision.seconds
        if isinstance(decision, Rewind):
            self._waiting = None
            self._consumer.rewind()
        elif isinstance(decision, ToDeadLetter):
            self._narrowing = True
