"""Stand by until this process holds the lease, reconcile what a crash left, and run the loop while it holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from shared.errors import DatabaseUnavailable, NotEnoughData, describe_error
from shared.health import Heartbeat
from shared.liveness import Progress
from shared.logging import get_logger
from shared.ports import EventConsumer
from shared.retry_policy import RetryPolicy
from trainer.service import metrics
from trainer.service.commands import new_version
from trainer.service.failures import POLICY, TRANSIENT, Failures
from trainer.service.job import OpenEngine, TrainingJob, TrainingPlan, TrainingThread, fit_here
from trainer.service.loop import LoopDependencies, TrainerLoop
from trainer.service.model_registry import ModelRegistry
from trainer.service.ports import ArtifactStore, Lease, TrainerStore, TrainingOrder
from trainer.service.trigger import TriggerRules

STAND_BY_SECONDS = 2.0
RENEW_LEASE_SECONDS = 1.0
STEADY_AFTER_SECONDS = 60.0  # of leading; an earlier failure is one in a row
ABANDON_TIMEOUT_SECONDS = 8.0  # of the 15 s that a process has to stop

log = get_logger(__name__)


@dataclass(frozen=True)
class Dependencies:
    """Everything outside the process. open_consumer: joins the consumer group. open_engine: see TrainingJob."""

    lease: Lease
    store: TrainerStore
    artifacts: ArtifactStore
    registry: ModelRegistry
    open_consumer: Callable[[], EventConsumer]
    open_engine: OpenEngine = fit_here

    def build_job(self, plan: TrainingPlan, stop: threading.Event) -> TrainingJob:
        """Return a job on these dependencies."""
        return TrainingJob(
            plan,
            store=self.store,
            artifacts=self.artifacts,
            registry=self.registry,
            stop=stop,
            open_engine=self.open_engine,
        )


class Leadership:
    """Runs until `stop`, whatever fails; of several processes one trains."""

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        plan: TrainingPlan,
        rules: TriggerRules,
        stop: threading.Event,
        heartbeat: Heartbeat,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dependencies = dependencies
        self._plan = plan
        self._rules = rules
        self._stop = stop
        self._heartbeat = heartbeat
        self._clock = clock
        policy = RetryPolicy(STAND_BY_SECONDS, most_bug_seconds=POLICY.most_bug_seconds, jitter=POLICY.jitter)
        self._failures = Failures("leadership", policy=policy)
        self._loop: TrainerLoop | None = None  # while leading
        self.state = "starting"

    def unready_reason(self) -> str | None:
        """Return why this process cannot do its work; standing by is its work."""
        return None if self.state in {"leading", "standing by"} else self.state

    def backlog(self) -> Progress | None:
        """Return what the loop has handled and what waits for it; None while this process does not lead."""
        loop = self._loop
        return loop.backlog() if loop else None

    def run(self) -> None:
        """Lead whenever no other process does, until `stop`."""
        while not self._stop.is_set():
            self._heartbeat.beat()
            try:
                if self._dependencies.lease.acquire():
                    self._lead()
                else:
                    self._stand_by()
            except Exception as error:  # the process goes on, whatever fails
                self._wait_after(error)
        self._dependencies.lease.release()

    def _wait_after(self, error: Exception) -> None:
        """Wait as the retry policy says; after a bug another trainer may take the lease meanwhile."""
        self.state = f"waiting: {describe_error(error)}"
        end = self._clock() + self._failures.add(error)
        if not isinstance(error, TRANSIENT):
            self._dependencies.lease.release()
        while not self._stop.is_set() and (left := end - self._clock()) > 0:
            self._heartbeat.beat()
            self._stop.wait(min(left, STAND_BY_SECONDS))

    def _stand_by(self) -> None:
        if self.state != "standing by":
            log.info("trainer.standing_by")
        self.state = "standing by"
        self._stop.wait(STAND_BY_SECONDS)

    def _lead(self) -> None:
        reconcile(self._dependencies)
        consumer = self._dependencies.open_consumer()
        abandon = threading.Event()
        training = TrainingThread(self._dependencies.build_job(self._plan, abandon).run)
        with ExitStack() as at_the_end:  # in reverse order, each whatever the others raise
            at_the_end.callback(consumer.close)
            at_the_end.callback(self._abandon, training)
            at_the_end.callback(abandon.set)
            at_the_end.callback(metrics.LEADING.set, 0)
            at_the_end.callback(setattr, self, "_loop", None)
            store, registry = self._dependencies.store, self._dependencies.registry
            loop = TrainerLoop(LoopDependencies(consumer, store, registry, training, self._rules))
            loop.begin()
            self._loop = loop
            log.info("trainer.leading")
            self.state = "leading"
            metrics.LEADING.set(1)
            self._step_while_leading(loop)

    def _step_while_leading(self, loop: TrainerLoop) -> None:
        renew_at = self._clock()
        steady_at = renew_at + STEADY_AFTER_SECONDS
        while not self._stop.is_set():
            self._heartbeat.beat()
            loop.step()
            if self._clock() >= steady_at:
                self._failures.clear()
            if self._clock() >= renew_at:
                if not self._is_still_leading():
                    log.warning("trainer.lease_lost")
                    return
                renew_at = self._clock() + RENEW_LEASE_SECONDS

    def _is_still_leading(self) -> bool:
        try:
            return self._dependencies.lease.acquire()
        except DatabaseUnavailable:
            # No other process can take the lease while the database is away, and no write of ours succeeds.
            return True

    def _abandon(self, training: TrainingThread) -> None:
        """Wait for the training to end at its next step, and mark its row; the next start repairs the rest.

        Rows do not name their trainer: without the lease they may be those of another process.
        """
        if not training.is_busy():
            return
        training.join(ABANDON_TIMEOUT_SECONDS)
        try:
            if not self._dependencies.lease.acquire():
                return
            self._dependencies.store.abandon_trainings(
                reason="the trainer was stopped", retry_version=new_version(), counts=False
            )
        except DatabaseUnavailable as error:
            log.warning("training.left_open", error=str(error))


def train_once(dependencies: Dependencies, *, plan: TrainingPlan, force: bool, stop: threading.Event) -> bool:
    """Train if there is no model, or if forced, as `python -m trainer --once` does; True when a model is served then.

    Stores no offsets, so a running system counts its interactions again. Returns False while another trainer works;
    raises NotEnoughData without assets.
    """
    if not dependencies.lease.acquire():
        log.error("trainer.busy", reason="another trainer has the lease")
        return False
    try:
        reconcile(dependencies)
        registry = dependencies.registry
        if registry.servable() is not None and not force:
            log.info("training.not_needed")
            return True
        if not dependencies.store.has_assets():
            raise NotEnoughData("there is no asset to recommend: load the reference tables first")
        outcome = dependencies.build_job(plan, stop).run(TrainingOrder(new_version(), "command line", {}))
        registry.publish_pending()
        return outcome.kind in {"promoted", "stored"} and registry.servable() is not None
    finally:
        dependencies.lease.release()


def reconcile(dependencies: Dependencies) -> None:
    """Repair what a crash left: rows of trainings that no process runs, rows that disagree with the pointer."""
    abandoned = dependencies.store.abandon_trainings(
        reason="the trainer ended before it was done", retry_version=new_version(), counts=True
    )
    if abandoned:
        log.warning("training.abandoned", versions=list(abandoned))
    dependencies.registry.reconcile()
