"""One training job with everything around it, in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache

from shared.events import INTERACTIONS_RECORDED
from shared.recommender.configuration import ModelConfiguration, build_configuration
from shared.recommender.training_rows import TrainingRows
from shared.recommender.types import Weights
from tests.unit.recommender.planted import build_rows
from tests.unit.trainer.service.loop_fakes import FakeAnnouncements, FakeTrainerArtifacts
from tests.unit.trainer.service.trainer_fakes import FakeTrainerStore
from trainer.evaluation.promotion import Margins
from trainer.evaluation.selection import SelectionRules
from trainer.service.job import TrainingJob, TrainingPlan
from trainer.service.model_registry import ModelRegistry
from trainer.service.ports import Outcome, TrainingOrder

COVERED = {(INTERACTIONS_RECORDED, 0): 7}
GOOD = build_configuration("ease", weights=Weights(1, 0, 0), changes={"item_item": {"l2": 20.0}})
BAD = replace(GOOD, weights=Weights(0, 0, 1))  # by predicted return alone


@cache
def rows() -> TrainingRows:
    return build_rows(customers=200, assets=30)


def with_one_price_changed() -> TrainingRows:
    """Return the rows with one cent added to one of many thousand prices: every count is the same."""
    prices = rows().close_prices.copy()
    prices.loc[prices.index[0], "close_price"] += 0.01
    return replace(rows(), close_prices=prices)


class World:
    """One job with everything around it."""

    def __init__(self, *candidates: ModelConfiguration) -> None:
        self.store = FakeTrainerStore(training_rows=rows(), worker_offsets=dict(COVERED))
        self.artifacts = FakeTrainerArtifacts()
        self.announcements = FakeAnnouncements()
        self.stop = threading.Event()
        self.restart()
        rules = SelectionRules(window_days=90, budget_seconds=60.0, choose_weights=False)
        self.plan = TrainingPlan(candidates or (GOOD,), rules, Margins(0.01, 0.005), seed=7)

    def restart(self) -> None:
        self.registry = ModelRegistry(artifacts=self.artifacts, store=self.store, publisher=self.announcements, keep=3)

    def run(self, version: str, triggered_by: str = "test") -> Outcome:
        return self.job().run(TrainingOrder(version, triggered_by, dict.fromkeys(COVERED, 0)))

    def job(self) -> TrainingJob:
        return TrainingJob(
            self.plan, store=self.store, artifacts=self.artifacts, registry=self.registry, stop=self.stop
        )

    def served(self) -> str | None:
        return self.artifacts.pointer.version if self.artifacts.pointer else None
