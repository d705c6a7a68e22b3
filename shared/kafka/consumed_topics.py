"""What a consumer knows of its topics: where each partition starts, and whether a topic was changed or recreated."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from shared.errors import BrokerUnavailable, TopicReplaced
from shared.events import CUSTOMER_TOPICS
from shared.kafka.metadata import KafkaMetadata, Topic, TopicQuery
from shared.logging import get_logger
from shared.ports import OffsetSource, Partition

log = get_logger(__name__)

UNASSIGNED_SECONDS = 60.0  # librdkafka notices new partitions within 10 s, and a rebalance takes less


class StartOffsets:
    """Finds the start offset of each partition, and remembers which partitions belong to a recreated topic."""

    def __init__(self, offsets: OffsetSource, metadata: KafkaMetadata, *, topics: Collection[str]) -> None:
        self._offsets = offsets
        self._metadata = metadata
        self._names = frozenset(topics)
        self._topics: dict[str, Topic] = {}
        self._replaced: set[Partition] = set()
        self._alarms: dict[str, TopicReplaced] = {}  # by topic, not raised yet

    @property
    def topics(self) -> Mapping[str, Topic]:
        """The consumed topics that existed at the last assignment."""
        return self._topics

    @property
    def replaced(self) -> frozenset[Partition]:
        """The partitions of recreated topics that are not consumed until an operator sets their offset."""
        return frozenset(self._replaced)

    def reset(self, *, topics: bool) -> None:
        """Forget all alarms before an assignment; with `topics`, fetch the topics from the broker again."""
        self._replaced.clear()
        self._alarms.clear()
        if topics:
            self._topics.clear()

    def find(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the start offsets; raises DatabaseUnavailable and BrokerUnavailable.

        The result has no partition whose stored offset belongs to another topic of that name, and none of a topic
        that does not exist.
        """
        stored = self._offsets.fetch_offsets(sorted(partitions))
        self._topics.update(self._metadata.fetch_topics(self._names - self._topics.keys()))
        existing = [partition for partition in partitions if partition[0] in self._topics]
        positions = self._metadata.fetch_earliest([one for one in existing if one not in stored])
        replaced: dict[Partition, str] = {}
        for partition in stored.keys() & existing:
            row = stored[partition]
            if row.is_of(self._topics[partition[0]].topic_id):
                positions[partition] = row.next_offset
            else:
                replaced[partition] = row.topic_id or ""
        self._note_replaced(replaced)
        self._note_topic_ids(positions)
        return positions

    def find_replaced(self, topics: Mapping[str, Topic], consumed: Collection[Partition]) -> frozenset[Partition]:
        """Return those of the consumed partitions whose topic was recreated since their assignment."""
        known = {name: topic.topic_id for name, topic in self._topics.items() if name in topics}
        recreated = {name for name, topic_id in known.items() if topics[name].topic_id != topic_id}
        self._topics.update({name: topics[name] for name in recreated})
        replaced = {partition: known[partition[0]] for partition in consumed if partition[0] in recreated}
        self._note_replaced(replaced)
        return frozenset(replaced)

    def accept(self, partition: Partition) -> None:
        """Consume this partition again: its offset was set for the topic that exists now."""
        if partition in self._replaced:
            self._replaced.discard(partition)
            self._note_topic_ids([partition])

    def take_alarm(self) -> TopicReplaced | None:
        """Return an alarm that was not raised yet."""
        return self._alarms.pop(next(iter(self._alarms))) if self._alarms else None

    def _note_topic_ids(self, partitions: Collection[Partition]) -> None:
        self._offsets.note_topic_ids({partition: self._topics[partition[0]].topic_id for partition in partitions})

    def _note_replaced(self, replaced: dict[Partition, str]) -> None:
        """Keep one alarm for each topic; `replaced` holds the topic ids that the stored offsets belong to."""
        self._replaced |= replaced.keys()
        for name, numbers in by_topic(replaced).items():
            before, now = replaced[name, numbers[0]], self._topics[name].topic_id
            self._alarms[name] = TopicReplaced(
                f"{name}{numbers}: the topic was recreated: the offsets belong to topic id {before}, it is {now} now"
            )


class TopicWatch:
    """Queries the topics every `interval_seconds` without waiting for the answer, and describes what is wrong."""

    def __init__(
        self,
        metadata: KafkaMetadata,
        *,
        topics: Collection[str],
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metadata = metadata
        self._names = frozenset(topics)
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._query: TopicQuery | None = None
        self._due_at = clock() + interval_seconds
        self._assigned: dict[str, int] = {}  # number of partitions of each topic at the last assignment
        self._unassigned_since: dict[Partition, float] = {}
        self.problem: str | None = None

    def query_now(self) -> None:
        """Start the next query with the next `check`, whatever the interval."""
        self._due_at = self._clock()

    def note_assignment(self, topics: Mapping[str, Topic]) -> None:
        """Note that the group has just assigned all partitions that these topics have."""
        self._assigned = {name: topic.partitions for name, topic in topics.items()}
        self._unassigned_since.clear()

    def check(self) -> dict[str, Topic] | None:
        """Return the topics once after each answered query, else None; start a query when one is due."""
        if self._query is None:
            if self._clock() >= self._due_at:
                self._query = self._metadata.start_query(self._names)
                self._due_at = self._clock() + self._interval_seconds
            return None
        if not self._query.is_answered():
            return None
        query, self._query = self._query, None
        try:
            topics = query.result()
        except BrokerUnavailable:
            return None  # polling meets the same broker and reports it
        self._update_problem(topics)
        return topics

    def _update_problem(self, topics: dict[str, Topic]) -> None:
        now = self._clock()
        added = {
            (name, number)
            for name, assigned in self._assigned.items()
            if name in topics
            for number in range(assigned, topics[name].partitions)
        }
        self._unassigned_since = {one: self._unassigned_since.get(one, now) for one in added}
        overdue = [one for one, since in self._unassigned_since.items() if now - since >= UNASSIGNED_SECONDS]
        before, self.problem = self.problem, self._describe(topics, overdue)
        if self.problem is not None and self.problem != before:
            log.error("consumer.topics_unusable", problem=self.problem)

    def _describe(self, topics: dict[str, Topic], overdue: Collection[Partition]) -> str | None:
        if missing := sorted(self._names - topics.keys()):
            return f"topics do not exist: {', '.join(missing)}"
        counts = {name: topics[name].partitions for name in CUSTOMER_TOPICS if name in self._names}
        if len(set(counts.values())) > 1:
            return f"the customer topics differ in their number of partitions: {counts}"
        if overdue:
            return f"partitions were added and are not assigned to any consumer: {by_topic(overdue)}"
        return None


def by_topic(partitions: Collection[Partition]) -> dict[str, list[int]]:
    """Return the partition numbers of each topic, in order."""
    topics = sorted({topic for topic, _ in partitions})
    return {topic: sorted(number for name, number in partitions if name == topic) for topic in topics}
