"""Where a consumer starts to read each partition: at the stored offset, if it is of the topic that exists now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import groupby

from shared.errors import TopicReplaced
from shared.kafka.metadata import KafkaMetadata, Topic
from shared.ports import OffsetSource, Partition


class Starts:
    """Remembers which topics are read, and which partitions stand still since theirs was made anew."""

    def __init__(self, offsets: OffsetSource, metadata: KafkaMetadata, *, topics: Collection[str]) -> None:
        self._offsets = offsets
        self._metadata = metadata
        self._consumed = frozenset(topics)
        self._topics: dict[str, Topic] = {}  # as the broker said since the last assignment
        self._replaced: set[Partition] = set()
        self._alarms: dict[str, TopicReplaced] = {}  # by topic, not raised yet

    @property
    def topics(self) -> Mapping[str, Topic]:
        """The consumed topics that exist, as the broker said after the last assignment."""
        return self._topics

    @property
    def replaced(self) -> frozenset[Partition]:
        """The partitions whose topic was made anew, until somebody decides where to go on."""
        return frozenset(self._replaced)

    def forget(self, *, topics: bool) -> None:
        """Begin an assignment: nothing stands still; `topics` too, when the broker must be asked for them again."""
        self._replaced.clear()
        self._alarms.clear()
        if topics:
            self._topics.clear()

    def find(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return where to continue; raises DatabaseUnavailable and BrokerUnavailable.

        Left out are partitions whose stored offset belongs to another topic of that name, and those of a topic that
        does not exist now.
        """
        stored = self._offsets.fetch_offsets(sorted(partitions))
        self._topics.update(self._metadata.fetch_topics(self._consumed - self._topics.keys()))
        there = [partition for partition in partitions if partition[0] in self._topics]
        positions = self._metadata.fetch_earliest([one for one in there if one not in stored])
        strangers: dict[Partition, str] = {}
        for partition in stored.keys() & there:
            row = stored[partition]
            if row.is_of(self._id_of(partition)):
                positions[partition] = row.next_offset
            else:
                strangers[partition] = row.topic_id or ""
        self._stand_still(strangers)
        self._offsets.note_topic_ids({partition: self._id_of(partition) for partition in positions})
        return positions

    def compare(self, topics: Mapping[str, Topic], reading: Collection[Partition]) -> frozenset[Partition]:
        """Return those of the partitions that are read whose topic was made anew since their assignment."""
        known = {name: topic.topic_id for name, topic in self._topics.items() if name in topics}
        new = {name for name, topic_id in known.items() if topics[name].topic_id != topic_id}
        self._topics.update({name: topics[name] for name in new})
        strangers = {partition: known[partition[0]] for partition in reading if partition[0] in new}
        self._stand_still(strangers)
        return frozenset(strangers)

    def decide(self, partition: Partition) -> None:
        """Somebody says where to go on: offsets of this partition are of the topic that exists now."""
        if partition in self._replaced:
            self._replaced.discard(partition)
            self._offsets.note_topic_ids({partition: self._id_of(partition)})

    def take_alarm(self) -> TopicReplaced | None:
        """Return an alarm that was not raised yet."""
        return self._alarms.pop(next(iter(self._alarms))) if self._alarms else None

    def _id_of(self, partition: Partition) -> str:
        return self._topics[partition[0]].topic_id

    def _stand_still(self, strangers: dict[Partition, str]) -> None:
        """Keep one alarm for each topic; `strangers` are the ids of the topics that offsets belong to."""
        self._replaced |= strangers.keys()
        for name, partitions in groupby(sorted(strangers), key=lambda partition: partition[0]):
            numbers = [number for _, number in partitions]
            partition = (name, numbers[0])
            before = strangers[partition]
            self._alarms[name] = TopicReplaced(
                f"{name}{numbers}: the topic was made anew: offsets are of id {before}, it has {self._id_of(partition)}"
            )
