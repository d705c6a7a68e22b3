"""The table consumer_offsets: consumers read and write it in their transactions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from shared.errors import StaleOffsets
from shared.ports import Partition, StoredOffset
from shared.postgres.tables import consumer_offsets

_COLUMNS = consumer_offsets.c


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
