"""A trainer's loop with everything around it, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shared.events import INTERACTIONS_RECORDED, InteractionRecorded
from tests.builders import build_model
from tests.fakes import FakeClock, FakeConsumer
from tests.unit.recommender.planted import build_rows
from tests.unit.trainer.service.trainer_fakes import (
    FakeAnnouncements,
    FakeBackground,
    FakeRow,
    FakeTrainerArtifacts,
    FakeTrainerStore,
    build_broker,
)
from trainer.service.job import Outcome
from trainer.service.loop import LoopParts, TrainerLoop
from trainer.service.model_registry import Releases
from trainer.service.trigger import TriggerRules

ROWS = build_rows(customers=5, assets=3)


class World:
    """A trainer's loop with everything around it."""

    def __init__(
        self,
        *,
        with_model: bool = True,
        after_interactions: int = 3,
        wrap: Callable[[Any], Any] = lambda port: port,
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
        self.background = FakeBackground()
        store, artifacts, announcements = map(self.wrap, (self.store, self.artifacts, self.announcements))
        self.releases = Releases(artifacts=artifacts, store=store, publisher=announcements, keep=3)
        consumer, background = self.wrap(self.consumer), self.wrap(self.background)
        parts = LoopParts(consumer, store, self.releases, background, self.rules)
        self.loop = TrainerLoop(parts, clock=self.clock, sleep=lambda _: None)
        self.loop.begin()

    def click(self, count: int = 1, *, first: int = 0) -> None:
        for number in range(first, first + count):
            self.broker.publish(
                INTERACTIONS_RECORDED, InteractionRecorded(customer_id=f"C{number}", isin="X1", type="click")
            )

    def steps(self, count: int = 3) -> None:
        for _ in range(count):
            self.loop.step()

    def finish(self, kind: str = "stored") -> None:
        """Let the training under way end, as the job would."""
        order = self.background.orders[-1]
        row = self.store.rows.get(order.version, FakeRow(order.version, order.triggered_by))
        self.store.rows[order.version] = replace(row, status=kind, progress="done", sequence=0)
        if kind in {"stored", "promoted"}:
            self.store.offsets.update(order.covered)
        self.background.outcome = Outcome(kind, "said so", 1.0)  # type: ignore[arg-type]
        self.steps(1)
