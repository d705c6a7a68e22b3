"""The trainer's SQL: model_versions, model_commands, its offsets and dead letters, and the lease."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import StaleOffsets
from shared.events import WRITE_TOPICS
from shared.identifiers import latest_date
from shared.ports import Message, Partition, Pointer, StoredOffset
from shared.postgres.dead_letter_store import insert_dead_letters
from shared.postgres.errors import translated
from shared.postgres.offset_store import GroupOffsets
from shared.postgres.tables import model_commands, model_versions
from trainer.service.ports import CancelledTrainings, Command, FinishedTraining, TrainingSnapshot, VersionRow
from trainer.service.retrain_queue import (
    IN_TRAINING,
    STARTED,
    WAITING,
    abandon_running,
    cancel_all,
    fail,
    queue_request,
)
from trainer.service.training_rows import read_training_rows

TRAINER_LOCK = 0x5452_4149_4E45_52  # "TRAINER"
_UNPOINTED = text("""
SELECT version FROM model_versions
WHERE status = 'promoted' AND sequence IS NULL
    AND version > coalesce((SELECT max(version) FROM model_versions WHERE sequence IS NOT NULL), '')
ORDER BY version
""")
_HAS_ASSETS = text(
    "SELECT EXISTS (SELECT FROM asset_information) OR EXISTS (SELECT FROM recorded_assets) AS has_assets"
)
_REFUSED = text("""
UPDATE model_versions SET reason = :reason,
    status = CASE WHEN status = 'promoted' AND sequence IS NULL THEN 'stored' ELSE status END
WHERE version = :version
""")
_VERSION_COLUMNS = [model_versions.c[name] for name in VersionRow.__dataclass_fields__]


class PostgresTrainerStore:
    """The TrainerStore on PostgreSQL, which documents every method; usable from several threads."""

    def __init__(self, engine: Engine, *, cluster_id: str, consumer_group: str, worker_group: str = "worker") -> None:
        self._engine = engine
        self._offsets = GroupOffsets(cluster_id=cluster_id, consumer_group=consumer_group)
        self._worker = GroupOffsets(cluster_id=cluster_id, consumer_group=worker_group)

    # --- reading ---

    def has_assets(self) -> bool:
        with self._begin() as connection:
            return bool(connection.scalar(_HAS_ASSETS))

    def fetch_training_rows(self) -> TrainingSnapshot:
        with translated(), self._engine.connect() as connection:
            snapshot = connection.execution_options(isolation_level="REPEATABLE READ")
            with snapshot.begin():
                rows = read_training_rows(snapshot, latest=latest_date())
                return TrainingSnapshot(rows, self._worker_offsets(snapshot))

    def fetch_worker_offsets(self) -> Mapping[Partition, int]:
        with self._begin() as connection:
            return self._worker_offsets(connection)

    def fetch_active_version(self) -> VersionRow | None:
        statement = select(*_VERSION_COLUMNS).where(model_versions.c.active)
        with self._begin() as connection:
            return _version_row(connection.execute(statement.order_by(model_versions.c.sequence.desc())).first())

    def fetch_unpointed(self) -> Sequence[str]:
        with self._begin() as connection:
            return list(connection.scalars(_UNPOINTED))

    def fetch_pinned(self) -> Collection[str]:
        with self._begin() as connection:
            return frozenset(connection.scalars(select(model_versions.c.version).where(model_versions.c.pinned)))

    def fetch_queued(self) -> VersionRow | None:
        statement = select(*_VERSION_COLUMNS).where(WAITING).order_by(model_versions.c.version).limit(1)
        with self._begin() as connection:
            return _version_row(connection.execute(statement).first())

    def fetch_last_finished_at(self) -> datetime | None:
        ended = model_versions.c.status.in_(("promoted", "stored"))
        with self._begin() as connection:
            newest: datetime | None = connection.scalar(select(func.max(model_versions.c.finished_at)).where(ended))
        return newest

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        with self._begin() as connection:
            return self._offsets.fetch(connection, partitions)

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self._offsets.note_topic_ids(topic_ids)

    def fetch_command_digest(self, event_id: UUID) -> str | None:
        statement = select(model_commands.c.content_digest).where(model_commands.c.event_id == event_id)
        with self._begin() as connection:
            digest: str | None = connection.scalar(statement)
        return digest

    # --- commands ---

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        with self._begin() as connection:
            self._offsets.advance(connection, next_offsets)

    def queue_training(self, version: str, *, command: Command, reason: str) -> bool:
        with self._begin() as connection:
            self._store_command(connection, command)
            return queue_request(connection, version, request_id=command.event_id, reason=reason)

    def cancel_trainings(self, *, command: Command, reason: str) -> CancelledTrainings:
        with self._begin() as connection:
            self._store_command(connection, command)
            return cancel_all(connection, reason=reason)

    # --- trainings ---

    def start_training(self, version: str, *, triggered_by: str) -> None:
        statement = insert(model_versions).values(
            version=version, status="training", triggered_by=triggered_by, **STARTED
        )
        started = statement.on_conflict_do_update(index_elements=["version"], set_=STARTED, where=IN_TRAINING)
        with self._begin() as connection:
            if connection.execute(started).rowcount != 1:
                raise _ended(version)

    def store_progress(self, version: str, progress: str) -> None:
        this = and_(IN_TRAINING, model_versions.c.version == version)
        with self._begin() as connection:
            changed = connection.execute(update(model_versions).where(this).values(progress=progress))
            if changed.rowcount != 1:
                raise _ended(version)

    def finish_training(self, finished: FinishedTraining) -> None:
        columns = {name: value for name, value in vars(finished).items() if name in model_versions.c}
        row = model_versions.c
        # A commit whose answer was lost is repeated: then the row contains the result already.
        same = and_(row.status == finished.status, row.manifest_sha256 == finished.manifest_sha256)
        mine = and_(row.version == finished.version, or_(row.status == "training", same))
        changed = update(model_versions).where(mine).values(**columns, progress="done", finished_at=func.now())
        with self._begin() as connection:
            self._offsets.advance(connection, finished.next_offsets)
            if connection.execute(changed).rowcount != 1:
                raise _ended(finished.version)

    def fail_training(self, version: str, *, reason: str) -> None:
        with self._begin() as connection:
            fail(connection, version, reason=reason)

    def abandon_trainings(self, *, reason: str, retry_version: str, counts: bool) -> Sequence[str]:
        with self._begin() as connection:
            return abandon_running(connection, reason=reason, retry_version=retry_version, counts=counts)

    # --- what is served ---

    def record_pointer(self, pointer: Pointer, *, command: Command | None = None) -> None:
        this, others = model_versions.c.version == pointer.version, model_versions.c.version != pointer.version
        news = or_(~model_versions.c.active, model_versions.c.sequence.is_distinct_from(pointer.sequence))
        served = {"active": True, "sequence": pointer.sequence, "status": "promoted"}
        with self._begin() as connection:
            self._store_command(connection, command)
            connection.execute(update(model_versions).where(others, model_versions.c.active).values(active=False))
            connection.execute(update(model_versions).where(this, news).values(**served, activated_at=func.now()))

    def record_refusal(self, version: str, *, reason: str, command: Command | None = None) -> None:
        with self._begin() as connection:
            self._store_command(connection, command)
            connection.execute(_REFUSED, {"version": version, "reason": reason})

    def store_pin(self, version: str, *, pinned: bool, command: Command) -> bool:
        row = model_versions.c
        possible = and_(row.version == version, row.manifest_sha256.is_not(None))
        if pinned:
            possible = and_(possible, row.servable.is_distinct_from(False))
        with self._begin() as connection:
            self._store_command(connection, command)
            return connection.execute(update(model_versions).where(possible).values(pinned=pinned)).rowcount == 1

    def record_servable(self, versions: Sequence[str]) -> None:
        row = model_versions.c
        is_there = row.version.in_(list(versions))
        changed = and_(row.manifest_sha256.is_not(None), row.servable.is_distinct_from(is_there))
        with self._begin() as connection:
            connection.execute(update(model_versions).where(changed).values(servable=is_there))

    def insert_dead_letter(self, message: Message, *, reason: str, next_offsets: Mapping[Partition, int]) -> None:
        with self._begin() as connection:
            self._offsets.advance(connection, next_offsets)
            insert_dead_letters(connection, [(message, reason)], offsets=self._offsets)

    # --- inside a transaction ---

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

    def _store_command(self, connection: Connection, command: Command | None) -> None:
        """Store a command and the offset after it; a command that is stored already does not change."""
        if command is None:
            return
        self._offsets.advance(connection, command.next_offsets)
        columns = {name: value for name, value in vars(command).items() if name in model_commands.c}
        connection.execute(insert(model_commands).values(**columns).on_conflict_do_nothing())

    def _worker_offsets(self, connection: Connection) -> dict[Partition, int]:
        """Return the worker's next offsets; those of a topic that was created again since are left out."""
        stored = self._worker.fetch(connection)
        return {
            partition: row.next_offset
            for partition, row in stored.items()
            if partition[0] in WRITE_TOPICS and row.is_of(self._offsets.topic_id(partition))
        }


class PostgresLease:
    """An advisory lock of one database session: it ends with the session, for whatever cause."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """Take the lease, or keep it; False when another session has it. Raises DatabaseUnavailable."""
        try:
            with translated():
                return self._take()
        except Exception:
            # A connection that is kept counts as the lease: keep none in an unknown state.
            self.release()
            raise

    def release(self) -> None:
        """Let another trainer take over; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()  # ends the session, and its lock with it
                connection.close()

    def _take(self) -> bool:
        if self._connection is not None:
            self._connection.execute(text("SELECT 1"))
            return True
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection = connection
        if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": TRAINER_LOCK}):
            return True
        self.release()
        return False


def _ended(version: str) -> StaleOffsets:
    return StaleOffsets(f"{version} is no longer in training: it was cancelled, or another trainer took over")


def _version_row(row: Row[Any] | None) -> VersionRow | None:
    return None if row is None else VersionRow(**row._mapping)
