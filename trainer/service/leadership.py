"""Stand by until this process is the one that trains, put things in order, and run the loop while it stays so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from shared.errors import DatabaseUnavailable, describe_error
from shared.events import MODELS_COMMANDS
from shared.health import Heartbeat
from shared.liveness import Backlog, Unfinished
from shared.logging import get_logger
from shared.ports import EventConsumer, Partition
from trainer.service import metrics
from trainer.service.background import TrainingThread
from trainer.service.commands import new_version
from trainer.service.failures import TRANSIENT, Failures
from trainer.service.job import TrainingJob, TrainingPlan
from trainer.service.loop import LoopParts, TrainerLoop
from trainer.service.model_registry import Releases
from trainer.service.ports import Lease, TrainerArtifacts, TrainerStore
from trainer.service.trigger import TriggerRules

STAND_BY_SECONDS = 2.0
RENEW_LEASE_SECONDS = 1.0
STEADY_AFTER_SECONDS = 60.0  # of leading; an earlier failure is one in a row
ABANDON_TIMEOUT_SECONDS = 8.0  # of the 15 s that a stopping process has

log = get_logger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """Everything outside the process; `open_consumer` joins the consumer group."""

    lease: Lease
    store: TrainerStore
    artifacts: TrainerArtifacts
    releases: Releases
    open_consumer: Callable[[], EventConsumer]


class Leadership:
    """Runs until `stop`, whatever fails; several processes may do so, one of them trains."""

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        plan: TrainingPlan,
        rules: TriggerRules,
        stop: threading.Event,
        heartbeat: Heartbeat,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._surroundings = surroundings
        self._plan = plan
        self._rules = rules
        self._stop = stop
        self._heartbeat = heartbeat
        self._clock = clock
        self._standing_by = False
        self._failures = Failures("leadership", first_wait_seconds=STAND_BY_SECONDS)
        self.backlog = Backlog()
        self.state = "starting"

    def unready_reason(self) -> str | None:
        """Return why this process cannot do its part; standing by is doing it."""
        return None if self.state in {"leading", "standing by"} else self.state

    def run(self) -> None:
        """Lead whenever nobody else does, until `stop`."""
        while not self._stop.is_set():
            self._heartbeat.beat()
            try:
                if self._surroundings.lease.acquire():
                    self._lead()
                else:
                    self._stand_by()
            except Exception as error:  # whatever it is, the process lives and tries again
                self._wait_after(error)
        self._surroundings.lease.release()

    def _wait_after(self, error: Exception) -> None:
        """Wait, at most as long as the kind of error says; after a bug another trainer may take the lease meanwhile."""
        self.state = f"waiting: {describe_error(error)}"
        end = self._clock() + self._failures.note(error)
        if not isinstance(error, TRANSIENT):
            self._surroundings.lease.release()
        while not self._stop.is_set() and (left := end - self._clock()) > 0:
            self._heartbeat.beat()
            self._stop.wait(min(left, STAND_BY_SECONDS))

    def _stand_by(self) -> None:
        if self.state != "standing by":
            log.info("trainer.standing_by")
        self.state = "standing by"
        self._stop.wait(STAND_BY_SECONDS)

    def _lead(self) -> None:
        put_in_order(self._surroundings)
        consumer = self._surroundings.open_consumer()
        abandon = threading.Event()
        training = TrainingThread(self._job(abandon).run)
        with ExitStack() as at_the_end:  # in reverse order, each whatever the others raise
            at_the_end.callback(consumer.close)
            at_the_end.callback(self._give_up, training)
            at_the_end.callback(abandon.set)
            at_the_end.callback(metrics.LEADING.set, 0)
            at_the_end.callback(self.backlog.detach)
            parts = LoopParts(consumer, self._surroundings.store, self._surroundings.releases, training, self._rules)
            loop = TrainerLoop(parts)
            loop.begin()
            self.backlog.attach(lambda: unfinished_commands(loop, consumer), consumer, self._surroundings.store)
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
                if not self._still_leading():
                    log.warning("trainer.lease_lost")
                    return
                renew_at = self._clock() + RENEW_LEASE_SECONDS

    def _still_leading(self) -> bool:
        try:
            return self._surroundings.lease.acquire()
        except DatabaseUnavailable:
            # Nobody else can take the lease while the database is away; what we would write then is refused anyway.
            return True

    def _give_up(self, training: TrainingThread) -> None:
        """Let a training end at its next step and say so in its row; what it leaves, the next start puts in order.

        Rows of trainings say nothing of their trainer: without the lease they may be those of another one.
        """
        if not training.is_busy():
            return
        training.join(ABANDON_TIMEOUT_SECONDS)
        try:
            if not self._surroundings.lease.acquire():
                return
            self._surroundings.store.abandon_trainings(
                reason="the trainer was stopped", retry_version=new_version(), counts=False
            )
        except DatabaseUnavailable as error:
            log.warning("training.left_open", error=str(error))

    def _job(self, abandon: threading.Event) -> TrainingJob:
        return TrainingJob(
            self._plan,
            store=self._surroundings.store,
            artifacts=self._surroundings.artifacts,
            releases=self._surroundings.releases,
            stop=abandon,
        )


def put_in_order(surroundings: Surroundings) -> None:
    """Mend what a crash left: rows of trainings that nobody runs, rows that disagree with the pointer."""
    abandoned = surroundings.store.abandon_trainings(
        reason="the trainer ended before it was done", retry_version=new_version(), counts=True
    )
    if abandoned:
        log.warning("training.abandoned", versions=list(abandoned))
    surroundings.releases.reconcile()


def unfinished_commands(loop: TrainerLoop, consumer: EventConsumer) -> Unfinished:
    """Return the messages that the loop holds, and where the commands start that it has not polled."""
    positions: dict[Partition, int] = {}
    for partition in consumer.assignment():
        if partition[0] == MODELS_COMMANDS:
            with suppress(KeyError):  # revoked meanwhile by the thread of the loop
                positions[partition] = consumer.position(partition)
    return Unfinished(loop.handled_messages, loop.waiting_messages, positions)
