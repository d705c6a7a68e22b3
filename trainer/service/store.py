"""The trainer's database: model_versions, its own offsets and dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from shared.errors import StaleOffsets
from shared.identifiers import latest_date
from shared.ports import Message, Partition, Pointer, StoredOffset
from shared.postgres.dead_letter_store import insert_dead_letters
from shared.postgres.errors import translated
from shared.postgres.offset_store import GroupOffsets
from shared.postgres.tables import asset_information, model_commands, model_versions
from shared.recommender.training_data import CancelledTrainings, Command, FinishedTraining, TrainingRows, VersionRow
from trainer.service.retrain_queue import IN_TRAINING, WAITING, abandon_begun, cancel_all, fail, queue_request
from trainer.service.training_rows import read_training_rows

_VERSION_COLUMNS = [model_versions.c[name] for name in VersionRow.__dataclass_fields__]


class PostgresTrainerStore:
    """The TrainerStore on Postgres; usable from several threads."""

    def __init__(self, engine: Engine, *, cluster_id: str, consumer_group: str) -> None:
        self._engine = engine
        self._offsets = GroupOffsets(cluster_id=cluster_id, consumer_group=consumer_group)

    # --- reading ---

    def has_assets(self) -> bool:
        """Return whether the reference tables hold any asset."""
        with self._begin() as connection:
            return connection.execute(select(asset_information.c.isin).limit(1)).first() is not None

    def fetch_training_rows(self) -> TrainingRows:
        """Read one consistent snapshot of everything that a model is fitted on."""
        with translated(), self._engine.connect() as connection:
            snapshot = connection.execution_options(isolation_level="REPEATABLE READ")
            return read_training_rows(snapshot, latest=latest_date())

    def fetch_active_version(self) -> VersionRow | None:
        """Return the row that is marked as served."""
        statement = select(*_VERSION_COLUMNS).where(model_versions.c.active)
        with self._begin() as connection:
            return _version_row(connection.execute(statement.order_by(model_versions.c.sequence.desc())).first())

    def fetch_unpointed(self) -> Sequence[str]:
        """Return the versions that were to be promoted and never got the pointer, the oldest first.

        One that is older than a version that had the pointer is past: nobody waits for it any more.
        """
        pointed = select(func.max(model_versions.c.version)).where(model_versions.c.sequence.is_not(None))
        unpointed = and_(
            model_versions.c.status == "promoted",
            model_versions.c.sequence.is_(None),
            model_versions.c.version > func.coalesce(pointed.scalar_subquery(), ""),
        )
        with self._begin() as connection:
            statement = select(model_versions.c.version).where(unpointed).order_by(model_versions.c.version)
            return list(connection.scalars(statement))

    def fetch_queued(self) -> VersionRow | None:
        """Return the oldest requested training that waits for its turn."""
        statement = select(*_VERSION_COLUMNS).where(WAITING).order_by(model_versions.c.version).limit(1)
        with self._begin() as connection:
            return _version_row(connection.execute(statement).first())

    def fetch_last_finished_at(self) -> datetime | None:
        """Return when the last training that ended with a model ended."""
        ended = model_versions.c.status.in_(("promoted", "stored"))
        with self._begin() as connection:
            newest: datetime | None = connection.scalar(select(func.max(model_versions.c.finished_at)).where(ended))
        return newest

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        """Return the next offset of each partition that has one stored, and the topic that it belongs to."""
        with self._begin() as connection:
            return self._offsets.fetch(connection, partitions)

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        """Store these ids with every next offset of these partitions from now on."""
        self._offsets.note_topic_ids(topic_ids)

    # --- commands ---

    def fetch_command_digest(self, event_id: UUID) -> str | None:
        """Return what the command of this id said; None when none had its effect yet."""
        statement = select(model_commands.c.content_digest).where(model_commands.c.event_id == event_id)
        with self._begin() as connection:
            digest: str | None = connection.scalar(statement)
        return digest

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        """Go past messages that have no effect."""
        with self._begin() as connection:
            self._offsets.advance(connection, next_offsets)

    def queue_training(self, version: str, *, command: Command, reason: str) -> bool:
        """Queue a requested training, with its command.

        False when the request joins one that waits, or has a row already: at most one waits.
        """
        with self._begin() as connection:
            self._store_command(connection, command)
            return queue_request(connection, version, request_id=command.event_id, reason=reason)

    def cancel_trainings(self, *, command: Command, reason: str) -> CancelledTrainings:
        """Mark the training that runs and those that wait as failed, with the command."""
        with self._begin() as connection:
            self._store_command(connection, command)
            return cancel_all(connection, reason=reason)

    # --- trainings ---

    def start_training(self, version: str, *, triggered_by: str) -> None:
        """Say that a training begins: a new row, or the queued one of this version.

        Raises StaleOffsets when the row ended meanwhile: it was cancelled, or another trainer took over.
        """
        values = {"progress": "started", "started_at": func.now()}
        statement = insert(model_versions).values(
            version=version, status="training", triggered_by=triggered_by, **values
        )
        begun = statement.on_conflict_do_update(index_elements=["version"], set_=values, where=IN_TRAINING)
        with self._begin() as connection:
            if connection.execute(begun).rowcount != 1:
                raise _ended(version)

    def store_progress(self, version: str, progress: str) -> None:
        """Say what a training is at; raises StaleOffsets when its row ended meanwhile."""
        this = and_(IN_TRAINING, model_versions.c.version == version)
        with self._begin() as connection:
            changed = connection.execute(update(model_versions).where(this).values(progress=progress))
            if changed.rowcount != 1:
                raise _ended(version)

    def finish_training(self, finished: FinishedTraining) -> None:
        """Keep the result and the offsets of the interactions that it covers, together; safe to repeat.

        Raises StaleOffsets when later offsets are stored, or the row is no longer in training.
        """
        columns = {name: value for name, value in vars(finished).items() if name in model_versions.c}
        row = model_versions.c
        # A commit whose answer was lost is repeated: then the row has the result already.
        same = and_(row.status == finished.status, row.manifest_sha256 == finished.manifest_sha256)
        mine = and_(row.version == finished.version, or_(row.status == "training", same))
        changed = update(model_versions).where(mine).values(**columns, progress="done", finished_at=func.now())
        with self._begin() as connection:
            self._offsets.advance(connection, finished.next_offsets)
            if connection.execute(changed).rowcount != 1:
                raise _ended(finished.version)

    def fail_training(self, version: str, *, reason: str) -> None:
        """Say that a training ended without a model; offsets stay."""
        with self._begin() as connection:
            fail(connection, version, reason=reason)

    def abandon_trainings(self, *, reason: str, retry_version: str, counts: bool) -> Sequence[str]:
        """Mark every begun training as failed; a requested one is queued again as `retry_version`, unless one waits.

        A request is repeated once where that `counts`. Returns the versions that were abandoned.
        """
        with self._begin() as connection:
            return abandon_begun(connection, reason=reason, retry_version=retry_version, counts=counts)

    # --- what is served ---

    def record_pointer(self, pointer: Pointer, *, command: Command | None = None) -> None:
        """Mark the version that the pointer file names as the served one, with the command that asked for it."""
        this, others = model_versions.c.version == pointer.version, model_versions.c.version != pointer.version
        news = or_(~model_versions.c.active, model_versions.c.sequence.is_distinct_from(pointer.sequence))
        served = {"active": True, "sequence": pointer.sequence, "status": "promoted"}
        with self._begin() as connection:
            self._store_command(connection, command)
            connection.execute(update(model_versions).where(others, model_versions.c.active).values(active=False))
            connection.execute(update(model_versions).where(this, news).values(**served, activated_at=func.now()))

    def record_refusal(self, version: str, *, reason: str, command: Command | None = None) -> None:
        """Say in a version's row, if there is one, why it was not activated, with the command that asked for it."""
        with self._begin() as connection:
            self._store_command(connection, command)
            never_pointed = and_(model_versions.c.version == version, model_versions.c.sequence.is_(None))
            demoted = update(model_versions).where(never_pointed, model_versions.c.status == "promoted")
            connection.execute(demoted.values(status="stored"))
            connection.execute(update(model_versions).where(model_versions.c.version == version).values(reason=reason))

    def record_servable(self, versions: Sequence[str]) -> None:
        """Say of every finished version whether it is one of these, which are on the volume."""
        row = model_versions.c
        is_there = row.version.in_(list(versions))
        changed = and_(row.manifest_sha256.is_not(None), row.servable.is_distinct_from(is_there))
        with self._begin() as connection:
            connection.execute(update(model_versions).where(changed).values(servable=is_there))

    def insert_dead_letter(self, message: Message, *, reason: str, next_offsets: Mapping[Partition, int]) -> None:
        """Keep a message that no retry can mend, once, and offsets with it."""
        with self._begin() as connection:
            self._offsets.advance(connection, next_offsets)
            insert_dead_letters(connection, [(message, reason)], offsets=self._offsets)

    # --- inside a transaction ---

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

    def _store_command(self, connection: Connection, command: Command | None) -> None:
        """Keep a command and the offset after it; kept already, it stays as it is."""
        if command is None:
            return
        self._offsets.advance(connection, command.next_offsets)
        columns = {name: value for name, value in vars(command).items() if name in model_commands.c}
        connection.execute(insert(model_commands).values(**columns).on_conflict_do_nothing())


def _ended(version: str) -> StaleOffsets:
    return StaleOffsets(f"{version} is no longer in training: it was cancelled, or another trainer took over")


def _version_row(row: Row[Any] | None) -> VersionRow | None:
    return None if row is None else VersionRow(**row._mapping)
