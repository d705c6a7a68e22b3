"""Where a training fits its signals: in the trainer, or with an engine that is open for one training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from shared.errors import Stopped, TrainingEngineFailed
from shared.recommender.signal import Arrays, FittingEngine, Signal
from shared.recommender.training_data import TrainingData
from tests.unit.trainer.service.job_world import COVERED, World
from trainer.service.job import OpenEngine, TrainingJob
from trainer.service.ports import Outcome, TrainingOrder


class Engine:
    """Fits here and counts; open while a training runs."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.fitted: list[str] = []
        self.is_open = False
        self.check: Callable[[], None] = lambda: None

    @contextmanager
    def open(self, check: Callable[[], None]) -> Iterator[FittingEngine]:
        self.is_open, self.check = True, check
        try:
            yield self
        finally:
            self.is_open = False

    def fit_signals(self, signals: Sequence[Signal], data: TrainingData, *, random_state: int) -> Sequence[Arrays]:
        assert self.is_open
        if self.error is not None:
            raise self.error
        self.check()
        self.fitted += [signal.name for signal in signals]
        return [signal.fit(data, random_state=random_state) for signal in signals]


def train(world: World, open_engine: OpenEngine) -> Outcome:
    job = TrainingJob(
        world.plan,
        store=world.store,
        artifacts=world.artifacts,
        registry=world.registry,
        stop=world.stop,
        open_engine=open_engine,
    )
    return job.run(TrainingOrder("v1", "test", dict.fromkeys(COVERED, 0)))


def test_every_signal_of_a_training_is_fitted_by_the_engine() -> None:
    world, engine = World(), Engine()

    outcome = train(world, engine.open)

    assert outcome.kind == "promoted"
    # Earlier windows, the report and the model: each fits the signals of the configuration.
    assert engine.fitted.count("item_item") > 2
    assert set(engine.fitted) == {signal.name for signal in world.plan.candidates[0].signals()}
    assert not engine.is_open


def test_a_failed_engine_fails_the_training_and_the_next_one_can_succeed() -> None:
    world = World()
    engine = Engine(TrainingEngineFailed("Spark at spark://master:7077: all masters are unresponsive"))

    outcome = train(world, engine.open)

    assert outcome.kind == "failed"
    assert outcome.reason == "TrainingEngineFailed: Spark at spark://master:7077: all masters are unresponsive"
    assert not engine.is_open
    assert world.served() is None
    assert world.run("v2").kind == "promoted"


def test_an_engine_can_ask_whether_the_training_must_end() -> None:
    world, engine = World(), Engine()

    @contextmanager
    def open_late(check: Callable[[], None]) -> Iterator[FittingEngine]:
        with engine.open(check):
            world.stop.set()
            with pytest.raises(Stopped):
                check()
            yield engine

    assert train(world, open_late).kind == "abandoned"
    assert engine.fitted == []
