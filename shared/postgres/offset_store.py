"""The table consumer_offsets: consumers read and write it in their transactions, operators look at it and change it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient
from sqlalchemy import Connection, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from shared.errors import BrokerUnavailable, StaleOffsets
from shared.kafka.metadata import KafkaMetadata
from shared.ports import Partition, StoredOffset
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.tables import consumer_offsets

_COLUMNS = consumer_offsets.c
_TIMEOUT_SECONDS = 10.0
_WITHOUT_MEMBERS = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)


class GroupOffsets:
    """The next offsets of one consumer group on one Kafka cluster, within the transactions of its store.

    An offset is stored with the id of the topic that was read, as `note_topic_ids` gave it.
    """

    def __init__(self, *, cluster_id: str, consumer_group: str) -> None:
        self.owner = {"cluster_id": cluster_id, "consumer_group": consumer_group}
        self._topic_ids: dict[Partition, str] = {}

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        """Store these ids with every next offset of these partitions from now on."""
        self._topic_ids.update(topic_ids)

    def topic_id(self, partition: Partition) -> str | None:
        """Return the id of the topic that is read, None when it is not known."""
        return self._topic_ids.get(partition)

    def fetch(
        self, connection: Connection, partitions: Collection[Partition] | None = None, *, lock: bool = False
    ) -> dict[Partition, StoredOffset]:
        """Return the next offset of each partition that has one stored; without `partitions`, of all."""
        statement = (
            select(_COLUMNS.topic, _COLUMNS.partition, _COLUMNS.next_offset, _COLUMNS.topic_id)
            .where(*(_COLUMNS[name] == value for name, value in self.owner.items()))
            .order_by(_COLUMNS.topic, _COLUMNS.partition)
        )
        if partitions is not None:
            statement = statement.where(tuple_(_COLUMNS.topic, _COLUMNS.partition).in_(sorted(partitions)))
        rows = connection.execute(statement.with_for_update() if lock else statement)
        return {(row.topic, row.partition): StoredOffset(row.next_offset, row.topic_id) for row in rows}

    def lock(self, connection: Connection, starts: Mapping[Partition, int]) -> None:
        """Lock these rows; raises StaleOffsets unless each partition still stands at its start in the same topic."""
        for partition, stored in self._lock(connection, starts).items():
            start = StoredOffset(starts[partition], self.topic_id(partition))
            if stored.next_offset != start.next_offset or not stored.is_of(start.topic_id):
                raise StaleOffsets(f"{partition}: stored {stored}, expected {start}")

    def advance(self, connection: Connection, next_offsets: Mapping[Partition, int]) -> None:
        """Lock the rows and write next offsets; raises StaleOffsets where a later one of the same topic is stored."""
        if not next_offsets:
            return
        for partition, stored in self._lock(connection, next_offsets).items():
            if stored.next_offset > next_offsets[partition] and stored.is_of(self.topic_id(partition)):
                raise StaleOffsets(f"{partition}: stored {stored}, which is after {next_offsets[partition]}")
        self.store(connection, next_offsets)

    def store(self, connection: Connection, next_offsets: Mapping[Partition, int]) -> None:
        """Write next offsets; the caller has locked the rows."""
        statement = insert(consumer_offsets)
        statement = statement.on_conflict_do_update(
            index_elements=list(consumer_offsets.primary_key),
            set_={
                "next_offset": statement.excluded.next_offset,
                "topic_id": func.coalesce(statement.excluded.topic_id, _COLUMNS.topic_id),
                "updated_at": func.now(),
            },
        )
        connection.execute(statement, self._rows(next_offsets))

    def _lock(self, connection: Connection, offsets: Mapping[Partition, int]) -> dict[Partition, StoredOffset]:
        # A partition without a row gets one first: two consumers that both start it meet at this row.
        connection.execute(insert(consumer_offsets).on_conflict_do_nothing(), self._rows(offsets))
        return self.fetch(connection, offsets, lock=True)

    def _rows(self, offsets: Mapping[Partition, int]) -> list[dict[str, Any]]:
        return [
            {**self.owner, "topic": p[0], "partition": p[1], "next_offset": offset, "topic_id": self.topic_id(p)}
            for p, offset in sorted(offsets.items())
        ]


@dataclass(frozen=True)
class LogRange:
    """The offsets of a partition's first message and after its last one, and the id of its topic."""

    earliest: int
    latest: int
    topic_id: str | None = None


@dataclass(frozen=True)
class OffsetRow:
    """One row of consumer_offsets."""

    cluster_id: str
    consumer_group: str
    topic: str
    partition: int
    next_offset: int
    updated_at: datetime
    topic_id: str | None = None

    def is_of(self, log: LogRange) -> bool:
        """Return whether the offset can belong to this log; an unknown id matches every topic."""
        return StoredOffset(self.next_offset, self.topic_id).is_of(log.topic_id)

    def state(self, log: LogRange | None) -> str:
        """Return what a consumer finds that starts at this offset."""
        if log is None:
            return "no such partition"
        if not self.is_of(log):
            return "another topic (made anew)"
        if self.next_offset < log.earliest:
            return f"below the log: {log.earliest - self.next_offset} messages are gone"
        if self.next_offset > log.latest:
            return f"beyond the log's end by {self.next_offset - log.latest}"
        return "ok"


class OffsetBook:
    """The rows of consumer_offsets for operators; every method may raise DatabaseUnavailable."""

    def __init__(self, database_url: str) -> None:
        # A consumer's transaction holds its rows for one batch, not for longer.
        settings = {"lock_timeout": "5s"}
        self._engine = build_engine(database_url, application_name="offsets", session_settings=settings)

    def fetch(self, *, cluster_id: str, group: str | None = None) -> list[OffsetRow]:
        """Return the rows of one cluster, in order."""
        statement = select(consumer_offsets).where(_COLUMNS.cluster_id == cluster_id)
        if group is not None:
            statement = statement.where(_COLUMNS.consumer_group == group)
        ordered = statement.order_by(_COLUMNS.consumer_group, _COLUMNS.topic, _COLUMNS.partition)
        with translated(), self._engine.begin() as connection:
            return [OffsetRow(**row._mapping) for row in connection.execute(ordered)]

    @contextmanager
    def changing(self, row: OffsetRow, *, next_offset: int, topic_id: str | None) -> Iterator[OffsetRow | None]:
        """Lock one row and yield its current state; a block that ends without an exception stores the new one."""
        this = [_COLUMNS[column.name] == getattr(row, column.name) for column in consumer_offsets.primary_key]
        with translated(), self._engine.begin() as connection:
            found = connection.execute(select(consumer_offsets).where(*this).with_for_update()).one_or_none()
            yield None if found is None else OffsetRow(**found._mapping)
            changed = update(consumer_offsets).where(*this)
            connection.execute(changed.values(next_offset=next_offset, topic_id=topic_id, updated_at=func.now()))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


class BrokerView:
    """The logs and groups of the broker; every method may raise BrokerUnavailable."""

    def __init__(self, bootstrap_servers: str, *, topic_prefix: str) -> None:
        self._metadata = KafkaMetadata(bootstrap_servers, prefix=topic_prefix, timeout_seconds=_TIMEOUT_SECONDS)
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def log_ranges(self, partitions: Collection[Partition]) -> dict[Partition, LogRange]:
        """Return the offsets of these partitions; partitions that do not exist are left out."""
        topics = self._metadata.fetch_topics({topic for topic, _ in partitions})
        there = [one for one in partitions if one[0] in topics and one[1] < topics[one[0]].partitions]
        earliest, latest = self._metadata.fetch_earliest(there), self._metadata.fetch_latest(there)
        return {one: LogRange(earliest[one], latest[one], topics[one[0]].topic_id) for one in there}

    def has_members(self, group: str) -> bool:
        """Return whether the group has a member; a killed consumer is a member until its session times out."""
        try:
            futures = self._admin.describe_consumer_groups([group], request_timeout=_TIMEOUT_SECONDS)
            description = futures[group].result()
        except KafkaException as error:
            if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                return False
            raise BrokerUnavailable(str(error.args[0].str())) from error
        return description.state not in _WITHOUT_MEMBERS or bool(description.members)
