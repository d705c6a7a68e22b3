"""In-memory stand-ins for what surrounds the trainer's loop: volume, announcements, training thread, broker."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from shared.errors import ArtifactInvalid, PublishFailed
from shared.events import MODELS_COMMANDS, WRITE_TOPICS, Event, encode
from shared.ports import Message, Pointer
from tests.fakes import FakeArtifacts, FakeBroker
from trainer.service.ports import Outcome, TrainingOrder


class FakeTrainerArtifacts(FakeArtifacts):
    """A models volume that also loses old versions; `before_activate` runs before the pointer moves."""

    def __init__(self) -> None:
        super().__init__()
        self.before_activate: Callable[[], None] = lambda: None

    def activate(self, version: str, *, keep: int = 3, pinned: Collection[str] = ()) -> Pointer:
        self.before_activate()
        if version in self.damaged:
            raise ArtifactInvalid("damaged")
        pointer = super().activate(version, keep=keep)
        self.prune(keep=keep, pinned=pinned)
        return pointer

    def versions(self) -> list[str]:
        return list(self.models)

    def remove(self, version: str) -> None:
        self.models.pop(version, None)

    def prune(self, *, keep: int = 3, pinned: Collection[str] = ()) -> None:
        current = self.pointer.version if self.pointer else None
        counted = [version for version in self.models if version not in pinned]
        for version in [v for v in counted if v != current][: max(0, len(counted) - keep)]:
            del self.models[version]


@dataclass
class FakeAnnouncements:
    """What was published; `broken` refuses."""

    events: list[Event] = field(default_factory=list)
    broken: bool = False

    def publish(self, topic: str, *, key: str, event: Event) -> None:
        if self.broken:
            raise PublishFailed
        self.events.append(event)


class FakeTraining:
    """A training thread that does what the test says."""

    def __init__(self) -> None:
        self.orders: list[TrainingOrder] = []
        self.outcome: Outcome | None = None
        self._busy = False

    def start(self, order: TrainingOrder) -> None:
        self.orders.append(order)
        self._busy = True

    def is_busy(self) -> bool:
        return self._busy

    def take_outcome(self) -> Outcome | None:
        outcome, self.outcome = self.outcome, None
        if outcome is not None:
            self._busy = False
        return outcome


def build_broker(partitions: int = 2) -> FakeBroker:
    """Build a broker with the topics that the trainer reads."""
    broker = FakeBroker(partitions=partitions)
    wanted = [(topic, number) for topic in WRITE_TOPICS for number in range(partitions)] + [(MODELS_COMMANDS, 0)]
    broker.logs = {partition: [] for partition in wanted}
    broker.lows = dict.fromkeys(wanted, 0)
    broker.ends = dict.fromkeys(wanted, 0)
    return broker


def command(broker: FakeBroker, event: Event) -> Message:
    """Acknowledge a command."""
    return broker.append(MODELS_COMMANDS, 0, key=b"hybrid", value=encode(event))
