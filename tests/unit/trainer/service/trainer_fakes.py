"""The trainer's database in memory; tests/integration/test_trainer_store.py compares it with the real one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from shared.errors import DatabaseUnavailable, StaleOffsets
from shared.events import MODELS_COMMANDS
from shared.ports import Message, Partition, Pointer, StoredOffset
from shared.recommender.training_rows import TrainingRows
from trainer.service.ports import CancelledTrainings, Command, FinishedTraining, TrainingSnapshot, VersionRow


@dataclass(frozen=True)
class FakeRow:
    """One row of model_versions."""

    version: str
    triggered_by: str
    status: str = "training"
    progress: str | None = "started"
    queued: bool = False
    request_id: UUID | None = None
    request_reason: str | None = None
    request_repeated: bool = False
    active: bool = False
    sequence: int | None = None
    reason: str | None = None
    result: FinishedTraining | None = None
    servable: bool | None = None
    pinned: bool = False
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
            request_id=self.request_id,
            request_reason=self.request_reason,
        )


@dataclass
class FakeTrainerStore:
    """What the trainer's tables hold; `fail` makes the next operations meet a database that is away."""

    rows: dict[str, FakeRow] = field(default_factory=dict)
    offsets: dict[Partition, int] = field(default_factory=dict)
    topic_ids: dict[Partition, str] = field(default_factory=dict)  # of the offsets
    noted_ids: dict[Partition, str] = field(default_factory=dict)
    worker_offsets: dict[Partition, int] = field(default_factory=dict)
    letters: dict[tuple[str, int, int], str] = field(default_factory=dict)
    commands: dict[UUID, Command] = field(default_factory=dict)
    effects: list[UUID] = field(default_factory=list)  # of commands, one entry each time
    training_rows: TrainingRows | None = None
    fail: int = 0
    after_finish: Callable[[], None] = lambda: None

    def has_assets(self) -> bool:
        self._check()
        return bool(self.training_rows and self.training_rows.assets)

    def fetch_training_rows(self) -> TrainingSnapshot:
        self._check()
        assert self.training_rows is not None
        return TrainingSnapshot(self.training_rows, dict(self.worker_offsets))

    def fetch_worker_offsets(self) -> Mapping[Partition, int]:
        self._check()
        return dict(self.worker_offsets)

    def fetch_active_version(self) -> VersionRow | None:
        self._check()
        return next((row.seen() for row in self.rows.values() if row.active), None)

    def fetch_unpointed(self) -> Sequence[str]:
        self._check()
        pointed = max((v for v, row in self.rows.items() if row.sequence is not None), default="")
        unpointed = (v for v, row in self.rows.items() if row.status == "promoted" and row.sequence is None)
        return sorted(v for v in unpointed if v > pointed)

    def fetch_pinned(self) -> Collection[str]:
        self._check()
        return {version for version, row in self.rows.items() if row.pinned}

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
        if self.waiting() or any(row.request_id == command.event_id for row in self.rows.values()):
            return False
        self._queue(version, command.event_id, reason)
        return True

    def cancel_trainings(self, *, command: Command, reason: str) -> CancelledTrainings:
        self._keep(command)
        running, queued = self.running(), self.waiting()
        for row in running + queued:
            self._change(row.version, status="failed", reason=reason, finished_at=datetime.now(UTC))
        return CancelledTrainings(tuple(row.version for row in running), tuple(row.version for row in queued))

    def start_training(self, version: str, *, triggered_by: str) -> None:
        self._check()
        row = self.rows.get(version, FakeRow(version, triggered_by))
        if row.status != "training":
            raise StaleOffsets
        self.rows[version] = replace(row, progress="started", queued=False)

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
        running, queued = self.running(), self.waiting()
        for row in queued[1:]:
            self._change(row.version, status="failed", reason=f"joined {queued[0].version}")
        for row in running:
            self._change(row.version, status="failed", reason=reason, finished_at=datetime.now(UTC))
            wanted = row.request_id is not None and not (counts and row.request_repeated)
            if wanted and not self.waiting():
                self._queue(retry_version, row.request_id, row.request_reason, counts or row.request_repeated)
        return [row.version for row in running]

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

    def store_pin(self, version: str, *, pinned: bool, command: Command) -> bool:
        self._keep(command)
        row = self.rows.get(version)
        if row is None or row.status not in {"stored", "promoted"} or (pinned and row.servable is False):
            return False
        self.rows[version] = replace(row, pinned=pinned)
        return True

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
        return [row for row in self._in_training() if row.queued]

    def running(self) -> list[FakeRow]:
        """Return the trainings that run according to their rows."""
        return [row for row in self._in_training() if not row.queued]

    def _in_training(self) -> list[FakeRow]:
        return sorted((r for r in self.rows.values() if r.status == "training"), key=lambda row: row.version)

    def _queue(self, version: str, request_id: UUID | None, reason: str | None, repeated: bool = False) -> None:
        shown = f"request {request_id}{' again' if repeated else ''}: {reason}"
        request = {"request_id": request_id, "request_reason": reason, "request_repeated": repeated}
        self.rows[version] = FakeRow(version, shown, progress="queued", queued=True, **request)  # type: ignore[arg-type]

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


def build_command(offset: int, event_id: UUID | None = None, *, digest: str = "d") -> Command:
    """Build the record of a command that lies before this offset."""
    return Command(event_id or uuid4(), "RetrainRequested", digest, {(MODELS_COMMANDS, 0): offset})


def build_finished(version: str, **changes: Any) -> FinishedTraining:
    """Build the result of a training that promoted a model."""
    figures: dict[str, Any] = {"metrics": {}, "champion_metrics": None, "configuration": {}, "watermark": {}}
    result = FinishedTraining(
        version, "promoted", "a reason", algorithm="ease", manifest_sha256="a" * 64, next_offsets={}, **figures
    )
    return replace(result, **changes)
