"""The table consumer_offsets: consumers read and write it in their transactions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from shared.errors import StaleOffsets
from shared.ports import Partition, StoredOffset

_FETCH = """
SELECT topic, partition, next_offset, topic_id FROM consumer_offsets {wanted}
WHERE cluster_id = %(cluster_id)s AND consumer_group = %(consumer_group)s
ORDER BY topic, partition {lock}
"""
_WANTED = """
JOIN unnest(CAST(%(topics)s AS text[]), CAST(%(partitions)s AS int[])) AS wanted(topic, partition)
USING (topic, partition)
"""
_INSERT = """
INSERT INTO consumer_offsets (cluster_id, consumer_group, topic, partition, next_offset, topic_id)
SELECT %(cluster_id)s, %(consumer_group)s, given.*
FROM unnest(CAST(%(topics)s AS text[]), CAST(%(partitions)s AS int[]), CAST(%(next_offsets)s AS bigint[]),
            CAST(%(topic_ids)s AS text[])) AS given
ON CONFLICT (cluster_id, consumer_group, topic, partition) DO
"""
_REPLACE = """
UPDATE SET next_offset = excluded.next_offset, topic_id = coalesce(excluded.topic_id, consumer_offsets.topic_id),
           updated_at = now()
"""


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
        wanted = None if partitions is None else sorted(partitions)
        statement = _FETCH.format(
            wanted="" if wanted is None else _WANTED, lock="FOR UPDATE OF consumer_offsets" if lock else ""
        )
        rows = connection.exec_driver_sql(statement, {**self.owner, **_places(wanted or [])})
        return {
            (topic, partition): StoredOffset(next_offset, topic_id) for topic, partition, next_offset, topic_id in rows
        }

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
        self._insert(connection, next_offsets, on_conflict=_REPLACE)

    def _lock(self, connection: Connection, offsets: Mapping[Partition, int]) -> dict[Partition, StoredOffset]:
        stored = self.fetch(connection, offsets, lock=True)
        if len(stored) == len(offsets):
            return stored
        # A partition without a row gets one: two consumers that both start it meet at this row.
        self._insert(connection, offsets, on_conflict="NOTHING")
        return self.fetch(connection, offsets, lock=True)

    def _insert(self, connection: Connection, offsets: Mapping[Partition, int], *, on_conflict: str) -> None:
        wanted = sorted(offsets)
        values = {
            "next_offsets": [offsets[partition] for partition in wanted],
            "topic_ids": [self.topic_id(partition) for partition in wanted],
        }
        connection.exec_driver_sql(_INSERT + on_conflict, {**self.owner, **_places(wanted), **values})


def _places(partitions: Sequence[Partition]) -> dict[str, list[Any]]:
    return {"topics": [topic for topic, _ in partitions], "partitions": [number for _, number in partitions]}
