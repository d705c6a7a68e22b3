"""The stored offsets beside the log that they point into, as an operator sees and, with care, changes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient
from sqlalchemy import Connection, create_engine, func, select, update
from sqlalchemy.exc import DBAPIError

from shared.errors import BrokerUnavailable, DatabaseUnavailable
from shared.kafka.metadata import KafkaMetadata
from shared.ports import Partition
from shared.postgres.tables import consumer_offsets
from shared.postgres.urls import sqlalchemy_url

_COLUMNS = consumer_offsets.c
_TIMEOUT_SECONDS = 10.0
_WITHOUT_MEMBERS = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)


@dataclass(frozen=True)
class LogRange:
    """What a partition holds: the offset of its first message, the one after its last, and its topic's id."""

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
        """Return whether the offset can belong to this log; an id that is not known contradicts none."""
        return None in (self.topic_id, log.topic_id) or self.topic_id == log.topic_id

    def state(self, log: LogRange | None) -> str:
        """Return what a consumer that starts here will meet."""
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
    """The rows of consumer_offsets; methods may raise DatabaseUnavailable."""

    def __init__(self, database_url: str) -> None:
        # A worker's transaction holds its rows for a batch, not for longer.
        options = "-c lock_timeout=5s -c timezone=UTC"
        connect_arguments = {"connect_timeout": 5, "application_name": "offsets", "options": options}
        self._engine = create_engine(sqlalchemy_url(database_url), connect_args=connect_arguments)

    def fetch(self, *, cluster_id: str, group: str | None = None) -> list[OffsetRow]:
        """Return the rows of one cluster, in order."""
        statement = select(consumer_offsets).where(_COLUMNS.cluster_id == cluster_id)
        if group is not None:
            statement = statement.where(_COLUMNS.consumer_group == group)
        ordered = statement.order_by(_COLUMNS.consumer_group, _COLUMNS.topic, _COLUMNS.partition)
        with self._begin() as connection:
            return [OffsetRow(**row._mapping) for row in connection.execute(ordered)]

    @contextmanager
    def changing(self, row: OffsetRow, *, next_offset: int, topic_id: str | None) -> Iterator[OffsetRow | None]:
        """Lock one row and hand it out as it is now; leaving without an exception stores offset and topic id."""
        this = (
            (_COLUMNS.cluster_id == row.cluster_id)
            & (_COLUMNS.consumer_group == row.consumer_group)
            & (_COLUMNS.topic == row.topic)
            & (_COLUMNS.partition == row.partition)
        )
        with self._begin() as connection:
            found = connection.execute(select(consumer_offsets).where(this).with_for_update()).one_or_none()
            yield None if found is None else OffsetRow(**found._mapping)
            changed = update(consumer_offsets).where(this)
            connection.execute(changed.values(next_offset=next_offset, topic_id=topic_id, updated_at=func.now()))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise DatabaseUnavailable(f"the database: {str(error.orig).strip()}") from error


class BrokerView:
    """What the broker says of logs and groups; methods raise BrokerUnavailable."""

    def __init__(self, bootstrap_servers: str, *, topic_prefix: str) -> None:
        self._metadata = KafkaMetadata(bootstrap_servers, prefix=topic_prefix, timeout_seconds=_TIMEOUT_SECONDS)
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def log_ranges(self, partitions: Collection[Partition]) -> dict[Partition, LogRange]:
        """Return what these partitions hold; those that do not exist are left out."""
        topics = self._metadata.fetch_topics({topic for topic, _ in partitions})
        there = [one for one in partitions if one[0] in topics and one[1] < topics[one[0]].partitions]
        earliest, latest = self._metadata.fetch_earliest(there), self._metadata.fetch_latest(there)
        return {one: LogRange(earliest[one], latest[one], topics[one[0]].topic_id) for one in there}

    def has_members(self, group: str) -> bool:
        """Return whether any consumer is in the group now; one that was killed is, until its session times out."""
        try:
            futures = self._admin.describe_consumer_groups([group], request_timeout=_TIMEOUT_SECONDS)
            description = futures[group].result()
        except KafkaException as error:
            if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                return False
            raise BrokerUnavailable(str(error.args[0].str())) from error
        return description.state not in _WITHOUT_MEMBERS or bool(description.members)
