"""In-memory stand-ins for the trainer's database, lease, models volume and announcements.

tests/integration/test_trainer_store.py holds the store to the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from shared.errors import ArtifactInvalid, DatabaseUnavailable, PublishFailed, StaleOffsets
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS, Event, encode
from shared.ports import Message, Partition, Pointer, StoredOffset
from shared.recommender.training_data import CancelledTrainings, Command, FinishedTraining, TrainingRows, VersionRow
from tests.fakes import FakeArtifacts, FakeBroker
from trainer.service.job import Outcome, TrainingOrder


@dataclass(frozen=True)
class FakeRow:
    """One row of model_versions."""

    version: str
    triggered_by: str
    status: str = "training"
    progress: str | None = "queued"
    active: bool = False
    sequence: int | None = None
    reason: str | None = None
    result: FinishedTraining | None = None
    servable: bool | None = None
    finished_at: datetime | None = None

    def seen(self) -> VersionRow:
        return VersionRow(
            self.version,
            self.status,
            self.active,
            self.triggered_by,
            self.progress,
            self.sequence,
            configuration=self.result.configuration if self.result else None,
            watermark=self.result.watermark if self.result else None,
        )


@dataclass
class FakeTrainerStore:
    """What the trainer's tables hold; `fail` makes the next operations meet a database that is away."""

    rows: dict[str, FakeRow] = field(default_factory=dict)
    offsets: dict[Partition, int] = field(default_factory=dict)
    topic_ids: dict[Partition, str] = field(default_factory=dict)  # of the offsets
    noted_ids: dict[Partition, str] = field(default_factory=dict)
    letters: dict[tuple[str, int, int], str] = field(default_factory=dict)
    commands: dict[UUID, Command] = field(default_factory=dict)
    effects: list[UUID] = field(default_factory=list)  # of commands, one entry each time
    training_rows: TrainingRows | None = None
    fail: int = 0
    after_finish: Callable[[], None] = lambda: None

    def has_assets(self) -> bool:
        self._check()
        return bool(self.training_rows and self.training_rows.assets)

    def fetch_training_rows(self) -> TrainingRows:
        self._check()
        assert self.training_rows is not None
        return self.training_rows

    def fetch_active_version(self) -> VersionRow | None:
        self._check()
        return next((row.seen() for row in self.rows.values() if row.active), None)

    def fetch_unpointed(self) -> Sequence[str]:
        self._check()
        pointed = max((v for v, row in self.rows.items() if row.sequence is not None), default="")
        unpointed = (v for v, row in self.rows.items() if row.status == "promoted" and row.sequence is None)
        return sorted(v for v in unpointed if v > pointed)

    def fetch_queued(self) -> VersionRow | None:
        self._check()
        return self.waiting()[0].seen() if self.waiting() else None

    def fetch_last_finished_at(self) -> datetime | None:
        self._check()
        ended = [row.finished_at for row in self.rows.values() if row.status in {"promoted", "stored"}]
        return max((moment for moment in ended if moment), default=None)

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        self._check()
        return {p: StoredOffset(self.offsets[p], self.topic_ids.get(p)) for p in partitions if p in self.offsets}

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self.noted_ids.update(topic_ids)

    def fetch_command_digest(self, event_id: UUID) -> str | None:
        self._check()
        return self.commands[event_id].content_digest if event_id in self.commands else None

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        self._store(next_offsets)

    def queue_training(self, version: str, *, command: Command, reason: str) -> bool:
        self._keep(command)
        request = f"request {command.event_id}"
        if self.waiting() or any(row.triggered_by.startswith(request) for row in self.rows.values()):
            return False
        self.rows[version] = FakeRow(version, f"{request}: {reason}")
        return True

    def cancel_trainings(self, *, command: Command, reason: str) -> CancelledTrainings:
        self._keep(command)
        running, queued = self.begun(), self.waiting()
        for row in running + queued:
            self._change(row.version, status="failed", reason=reason, finished_at=datetime.now(UTC))
        return CancelledTrainings(tuple(row.version for row in running), tuple(row.version for row in queued))

    def start_training(self, version: str, *, triggered_by: str) -> None:
        self._check()
        row = self.rows.get(version, FakeRow(version, triggered_by))
        if row.status != "training":
            raise StaleOffsets
        self.rows[version] = replace(row, progress="started")

    def store_progress(self, version: str, progress: str) -> None:
        self._check()
        if self.rows[version].status != "training":
            raise StaleOffsets
        self._change(version, progress=progress)

    def finish_training(self, finished: FinishedTraining) -> None:
        self._check()
        row = self.rows[finished.version]
        if row.status != "training" and row.result != finished:
            raise StaleOffsets
        self._store(finished.next_offsets)
        self._change(
            finished.version,
            status=finished.status,
            reason=finished.reason,
            progress="done",
            result=finished,
            finished_at=datetime.now(UTC),
            only_training=False,
        )
        self.after_finish()

    def fail_training(self, version: str, *, reason: str) -> None:
        self._check()
        self._change(version, status="failed", reason=reason, finished_at=datetime.now(UTC))

    def abandon_trainings(self, *, reason: str, retry_version: str, counts: bool) -> Sequence[str]:
        self._check()
        begun, queued = self.begun(), self.waiting()
        for row in queued[1:]:
            self._change(row.version, status="failed", reason=f"joined {queued[0].version}")
        for row in begun:
            self._change(row.version, status="failed", reason=reason, finished_at=datetime.now(UTC))
            head, _, rest = row.triggered_by.partition(": ")
            wanted = head.startswith("request ") and not (counts and head.endswith(" again"))
            if wanted and not self.waiting():
                again = " again" if counts else ""
                self.rows[retry_version] = FakeRow(retry_version, f"{head}{again}: {rest}")
        return [row.version for row in begun]

    def record_pointer(self, pointer: Pointer, *, command: Command | None = None) -> None:
        self._keep(command)
        for version, row in self.rows.items():
            self.rows[version] = replace(row, active=False)
        if pointer.version in self.rows:
            self._change(
                pointer.version, active=True, sequence=pointer.sequence, status="promoted", only_training=False
            )

    def record_refusal(self, version: str, *, reason: str, command: Command | None = None) -> None:
        self._keep(command)
        if version in self.rows:
            row = self.rows[version]
            demoted = row.status == "promoted" and row.sequence is None
            self.rows[version] = replace(row, reason=reason, status="stored" if demoted else row.status)

    def record_servable(self, versions: Sequence[str]) -> None:
        self._check()
        for version, row in self.rows.items():
            if row.result is not None:
                self.rows[version] = replace(row, servable=version in versions)

    def insert_dead_letter(self, message: Message, *, reason: str, next_offsets: Mapping[Partition, int]) -> None:
        self._store(next_offsets)
        self.letters.setdefault((message.topic, message.partition, message.offset), reason)

    def waiting(self) -> list[FakeRow]:
        """Return the trainings that are queued, the oldest first."""
        return [row for row in self._in_training() if row.progress == "queued"]

    def begun(self) -> list[FakeRow]:
        """Return the trainings that run, as far as the rows know."""
        return [row for row in self._in_training() if row.progress != "queued"]

    def _in_training(self) -> list[FakeRow]:
        return sorted((r for r in self.rows.values() if r.status == "training"), key=lambda row: row.version)

    def _keep(self, command: Command | None) -> None:
        self._store(command.next_offsets if command else {})
        if command:
            self.commands.setdefault(command.event_id, command)
            self.effects.append(command.event_id)

    def _change(self, version: str, *, only_training: bool = True, **values: Any) -> None:
        row = self.rows[version]
        if row.status == "training" or not only_training:
            self.rows[version] = replace(row, **values)

    def _store(self, next_offsets: Mapping[Partition, int]) -> None:
        self._check()
        for partition, offset in next_offsets.items():
            stored = StoredOffset(self.offsets.get(partition, 0), self.topic_ids.get(partition))
            if stored.is_of(self.noted_ids.get(partition)) and stored.next_offset > offset:
                raise StaleOffsets
        self.offsets.update(next_offsets)
        self.topic_ids.update({p: self.noted_ids[p] for p in next_offsets if p in self.noted_ids})

    def _check(self) -> None:
        if self.fail:
            self.fail -= 1
            raise DatabaseUnavailable


class FakeTrainerArtifacts(FakeArtifacts):
    """A models volume that also loses old versions; `before_activate` runs before the pointer moves."""

    def __init__(self) -> None:
        super().__init__()
        self.before_activate: Callable[[], None] = lambda: None

    def activate(self, version: str, *, keep: int = 3) -> Pointer:
        self.before_activate()
        if version in self.damaged:
            raise ArtifactInvalid("damaged")
        pointer = super().activate(version, keep=keep)
        self.prune(keep=keep)
        return pointer

    def versions(self) -> list[str]:
        return list(self.models)

    def prune(self, *, keep: int = 3) -> None:
        current = self.pointer.version if self.pointer else None
        for version in [v for v in self.models if v != current][: max(0, len(self.models) - keep)]:
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


class FakeBackground:
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
    """Build a broker with the two topics that the trainer reads."""
    broker = FakeBroker(partitions=partitions)
    wanted = [(INTERACTIONS_RECORDED, number) for number in range(partitions)] + [(MODELS_COMMANDS, 0)]
    broker.logs = {partition: [] for partition in wanted}
    broker.lows = dict.fromkeys(wanted, 0)
    broker.ends = dict.fromkeys(wanted, 0)
    return broker


def command(broker: FakeBroker, event: Event) -> Message:
    """Acknowledge a command."""
    return broker.append(MODELS_COMMANDS, 0, key=b"hybrid", value=encode(event))


def build_command(offset: int, event_id: UUID | None = None, *, digest: str = "d") -> Command:
    """Build the record of a command that lies before this offset."""
    return Command(event_id or uuid4(), "RetrainRequested", digest, {(MODELS_COMMANDS, 0): offset})
