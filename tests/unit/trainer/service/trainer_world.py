"""A trainer's loop with everything around it, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shared.events import (
    INTERACTIONS_RECORDED,
    TRANSACTIONS_RECORDED,
    WRITE_TOPICS,
    InteractionRecorded,
    TransactionRecorded,
)
from shared.recommender.types import InteractionType
from tests.builders import build_model
from tests.fakes import FakeClock, FakeConsumer
from tests.unit.recommender.planted import build_rows
from tests.unit.trainer.service.loop_fakes import FakeAnnouncements, FakeTrainerArtifacts, FakeTraining, build_broker
from tests.unit.trainer.service.trainer_fakes import FakeRow, FakeTrainerStore
from trainer.service.job import covered_offsets
from trainer.service.loop import LoopDependencies, TrainerLoop
from trainer.service.model_registry import ModelRegistry
from trainer.service.ports import Outcome, TrainingSnapshot
from trainer.service.trigger import TriggerRules

ROWS = build_rows(customers=5, assets=3)


class World:
    """A trainer's loop with everything around it."""

    def __init__(
        self, *, with_model: bool = True, after_interactions: int = 3, wrap: Callable[[Any], Any] = lambda port: port
    ) -> None:
        self.wrap = wrap  # what the loop sees of each port
        self.broker = build_broker()
        self.store = FakeTrainerStore(training_rows=ROWS)
        self.artifacts = FakeTrainerArtifacts()
        self.announcements = FakeAnnouncements()
        self.clock = FakeClock()
        if with_model:
            self.artifacts.publish(build_model(version="v1"))
            self.store.rows["v1"] = FakeRow("v1", "no model yet", status="promoted", sequence=1, active=True)
        self.rules = TriggerRules(after_interactions, 600)
        self.restart()

    def restart(self) -> None:
        """Let a new process take over: only broker, database and volume remain."""
        self.consumer = FakeConsumer(self.broker, self.store)
        self.training = FakeTraining()
        store, artifacts, announcements = map(self.wrap, (self.store, self.artifacts, self.announcements))
        self.registry = ModelRegistry(artifacts=artifacts, store=store, publisher=announcements, keep=3)
        consumer, training = self.wrap(self.consumer), self.wrap(self.training)
        dependencies = LoopDependencies(consumer, store, self.registry, training, self.rules)
        self.loop = TrainerLoop(dependencies, clock=self.clock, sleep=lambda _: None)
        self.loop.begin()

    def click(self, count: int = 1, *, first: int = 0, stored: bool = True, kind: str = "click") -> None:
        """Publish interactions, which the worker stores at once unless told otherwise."""
        for number in range(first, first + count):
            event = InteractionRecorded(customer_id=f"C{number}", isin="X1", type=InteractionType(kind))
            self.broker.publish(INTERACTIONS_RECORDED, event)
        if stored:
            self.worker_catches_up()

    def order(self, count: int) -> None:
        """Publish executed orders, which the worker stores at once."""
        for number in range(count):
            event = TransactionRecorded(
                customer_id=f"C{number}",
                isin="X1",
                type="Sell",
                units=1.0,
                total_value=1.0,
                executed_at=datetime(2026, 1, 2, tzinfo=UTC),
                transaction_id=f"T{number}",
            )
            self.broker.publish(TRANSACTIONS_RECORDED, event)
        self.worker_catches_up()

    def worker_catches_up(self) -> None:
        """Let the worker store every interaction and order of the log."""
        ends = {partition: end for partition, end in self.broker.ends.items() if partition[0] in WRITE_TOPICS}
        self.store.worker_offsets.update(ends)

    def steps(self, count: int = 3) -> None:
        for _ in range(count):
            begun = len(self.training.orders)
            self.loop.step()
            if len(self.training.orders) > begun:  # the training reads at once
                self.snapshot = TrainingSnapshot(ROWS, dict(self.store.worker_offsets))

    def finish(self, kind: str = "stored") -> None:
        """Let the training that runs end, as the job does."""
        self.end_training(kind, self.snapshot)
        self.steps(1)

    def end_training(self, kind: str, snapshot: TrainingSnapshot) -> None:
        """Let the training that runs store its result, and hand over its outcome."""
        order = self.training.orders[-1]
        row = self.store.rows.get(order.version, FakeRow(order.version, order.triggered_by))
        self.store.rows[order.version] = replace(row, status=kind, progress="done", queued=False, sequence=0)
        covered = covered_offsets(snapshot, order.uncovered_from)
        if kind in {"stored", "promoted"}:
            self.store.offsets.update(covered)
        self.training.outcome = Outcome(kind, "said so", 1.0, covered)  # type: ignore[arg-type]
