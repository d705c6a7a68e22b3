"""A trainer that leads, stands by or fails: nothing ends it but `stop`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.errors import BrokerUnavailable, DatabaseUnavailable
from shared.events import RetrainRequested
from shared.health import Heartbeat
from shared.ports import EventConsumer, Message
from tests.builders import build_model, written
from tests.fakes import FakeClock, FakeConsumer
from tests.unit.trainer.service.loop_fakes import FakeAnnouncements, FakeTrainerArtifacts, build_broker, command
from tests.unit.trainer.service.trainer_fakes import FakeRow, FakeTrainerStore
from trainer.evaluation.promotion import Margins
from trainer.evaluation.selection import SelectionRules
from trainer.service.job import TrainingPlan, TrainingThread
from trainer.service.leadership import Dependencies, Leadership
from trainer.service.model_registry import ModelRegistry
from trainer.service.trigger import TriggerRules

Logs = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def logs() -> Iterator[Logs]:
    """Collect what is logged."""
    with capture_logs() as lines:
        yield lines


class FakeLease:
    """A lease that no other process wants, until `is_lost`."""

    def __init__(self) -> None:
        self.times_released = 0
        self.is_lost = False

    def acquire(self) -> bool:
        return not self.is_lost

    def release(self) -> None:
        self.times_released += 1


class Stop(threading.Event):
    """Lets time pass instead of waiting; set after so much of it, or so many polls."""

    def __init__(self, clock: FakeClock, *, after_seconds: float) -> None:
        super().__init__()
        self.clock = clock
        self.end = after_seconds

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.advance(timeout or 0.0)
        if self.clock() >= self.end:
            self.set()
        return self.is_set()


class PollingConsumer(FakeConsumer):
    """A consumer whose poll takes its time, as a real one does."""

    stop: Stop

    def poll(self, *, max_messages: int, timeout_seconds: float, max_bytes: int = 2**31) -> Sequence[Message]:
        self.stop.wait(timeout_seconds)
        return super().poll(max_messages=max_messages, timeout_seconds=timeout_seconds, max_bytes=max_bytes)


class World:
    """A leadership with everything around it; `breaking` makes operations raise."""

    def __init__(self, *, seconds: float = 30.0) -> None:
        self.clock = FakeClock()
        self.stop = Stop(self.clock, after_seconds=seconds)
        self.broker = build_broker()
        self.store = FakeTrainerStore(rows={"v1": FakeRow("v1", "x", status="promoted", sequence=1, active=True)})
        self.artifacts = FakeTrainerArtifacts()
        self.artifacts.publish(build_model(version="v1"))
        self.lease = FakeLease()
        self.heartbeat = Heartbeat(clock=self.clock)
        self.consumers: list[PollingConsumer] = []
        self.registry = ModelRegistry(artifacts=self.artifacts, store=self.store, publisher=FakeAnnouncements(), keep=3)
        self.opening: Callable[[], None] = lambda: None
        dependencies = Dependencies(self.lease, self.store, self.artifacts, self.registry, self.open_consumer)
        self.leadership = Leadership(
            dependencies,
            plan=TrainingPlan((), SelectionRules(90, 60.0, choose_weights=False), Margins(0.01, 0.005), seed=7),
            rules=TriggerRules(1000, 600),
            stop=self.stop,
            heartbeat=self.heartbeat,
            clock=self.clock,
        )

    def open_consumer(self) -> EventConsumer:
        self.opening()
        consumer = PollingConsumer(self.broker, self.store)
        consumer.stop = self.stop
        self.consumers.append(consumer)
        return consumer

    def breaks(self, place: str, error: Exception, *, times: int) -> None:
        """Let an operation raise so often before it works."""
        name, attribute = place.split(".")
        owner = PollingConsumer if name == "consumer" else getattr(self, name) if name != "self" else self
        then = getattr(owner, attribute)
        left = [error] * times

        def operation(*arguments: Any, **named: Any) -> Any:
            if left:
                raise left.pop()
            return then(*arguments, **named)

        setattr(owner, attribute, operation)


PLACES = [
    "lease.acquire",
    "store.abandon_trainings",
    "store.fetch_unpointed",
    "artifacts.read_pointer",
    "artifacts.load_model",
    "store.record_pointer",
    "self.opening",
    "store.fetch_last_finished_at",
    "consumer.poll",
    "consumer.assignment",
]


@pytest.mark.parametrize("error", [KeyError("bug"), DatabaseUnavailable(), BrokerUnavailable()], ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_fails_the_trainer_leads_again_and_handles_what_waits(
    place: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("poll", "assignment"):
        monkeypatch.setattr(PollingConsumer, name, getattr(PollingConsumer, name))  # put back at the end
    world = World()
    world.breaks(place, error, times=2)
    command(world.broker, RetrainRequested(reason="please"))

    world.leadership.run()

    assert len(world.store.commands) == 1
    assert world.leadership.state == "leading"
    assert world.heartbeat.is_live()
    assert world.lease.times_released >= 1


def test_a_bug_is_one_kind_of_log_line_with_its_traceback_and_tried_ever_more_rarely(logs: Logs) -> None:
    world = World(seconds=4_000)
    world.breaks("self.opening", KeyError("bug"), times=10**6)
    beats: list[bool] = []
    advance = world.clock.advance

    def watch(seconds: float) -> None:
        advance(seconds)
        beats.append(world.heartbeat.is_live())

    world.clock.advance = watch  # type: ignore[method-assign]
    world.leadership.run()

    waits = [line["retry_in_seconds"] for line in logs if line.get("task") == "leadership"]
    assert waits[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert set(waits[9:]) == {600}
    assert len([line for line in written(logs) if line.get("exc_info")]) == 1
    assert all(beats)
    assert world.leadership.unready_reason() == "waiting: KeyError: 'bug'"


def test_another_trainer_can_take_over_from_one_that_fails() -> None:
    world = World(seconds=10)
    world.breaks("self.opening", KeyError("bug"), times=1)
    released: list[int] = []
    advance = world.clock.advance

    def watch(seconds: float) -> None:
        released.append(world.lease.times_released)
        advance(seconds)

    world.clock.advance = watch  # type: ignore[method-assign]
    world.leadership.run()

    assert released[0] == 1


def test_a_consumer_that_cannot_leave_its_group_does_not_keep_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PollingConsumer, "close", PollingConsumer.close)  # put back at the end
    world = World(seconds=20)
    world.breaks("consumer.close", KeyError("bug"), times=10**6)

    world.leadership.run()

    assert world.stop.is_set()
    assert world.lease.times_released >= 1


@pytest.mark.parametrize("is_lost", [True, False])
def test_trainings_are_given_up_only_by_the_trainer_that_has_the_lease(
    is_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PollingConsumer, "poll", PollingConsumer.poll)  # put back at the end
    monkeypatch.setattr(TrainingThread, "is_busy", lambda _: True)
    world = World(seconds=20)
    poll = PollingConsumer.poll

    def poll_and_lose(consumer: PollingConsumer, **named: Any) -> Sequence[Message]:
        # By now the training that is begun is that of whoever leads.
        world.store.rows.setdefault("v2", FakeRow("v2", "1000 interactions", progress="reading"))
        world.lease.is_lost = is_lost
        return poll(consumer, **named)

    monkeypatch.setattr(PollingConsumer, "poll", poll_and_lose)

    world.leadership.run()

    assert (world.store.rows["v2"].status == "failed") is not is_lost
