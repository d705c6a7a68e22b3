"""Check the consumed topics periodically: whether they were recreated, and whether all partitions are assigned."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from shared.errors import BrokerUnavailable
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.kafka.metadata import KafkaMetadata, Question, Topic
from shared.logging import get_logger
from shared.ports import Partition

log = get_logger(__name__)

UNASSIGNED_SECONDS = 60.0  # librdkafka notices in 10 s that there are more, and a rebalance takes less
_CUSTOMER_TOPICS = (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED)


class TopicWatch:
    """Asks every `interval_seconds` and never waits for the answer; a question that fails is asked again."""

    def __init__(
        self,
        metadata: KafkaMetadata,
        *,
        topics: Collection[str],
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metadata = metadata
        self._topics = frozenset(topics)
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._question: Question | None = None
        self._due_at = clock() + interval_seconds
        self._assigned: dict[str, int] = {}  # how many partitions the topics had at the last assignment
        self._unassigned_since: dict[Partition, float] = {}
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with the topics, as the last answer showed it."""
        return self._problem

    def ask_now(self) -> None:
        """Ask with the next `look`, not only when it is time."""
        self._due_at = self._clock()

    def note_assignment(self, topics: Mapping[str, Topic]) -> None:
        """Say which topics the group has just divided among its members: all partitions that they have now."""
        self._assigned = {name: topic.partitions for name, topic in topics.items()}
        self._unassigned_since.clear()

    def look(self) -> dict[str, Topic] | None:
        """Return a new answer if one is there; ask when it is time."""
        if self._question is None:
            if self._clock() >= self._due_at:
                self._question = self._metadata.ask(self._topics)
                self._due_at = self._clock() + self._interval_seconds
            return None
        if not self._question.is_answered():
            return None
        question, self._question = self._question, None
        try:
            topics = question.answer()
        except BrokerUnavailable:
            return None  # whoever polls meets the same broker, and says so
        self._note(topics)
        return topics

    def _note(self, topics: dict[str, Topic]) -> None:
        now = self._clock()
        added = {
            (name, number)
            for name, assigned in self._assigned.items()
            if name in topics
            for number in range(assigned, topics[name].partitions)
        }
        self._unassigned_since = {one: self._unassigned_since.get(one, now) for one in added}
        overdue = [one for one, since in self._unassigned_since.items() if now - since >= UNASSIGNED_SECONDS]
        before, self._problem = self._problem, self._describe(topics, overdue)
        if self._problem is not None and self._problem != before:
            log.error("consumer.topics_unusable", problem=self._problem)

    def _describe(self, topics: dict[str, Topic], overdue: Collection[Partition]) -> str | None:
        missing = sorted(self._topics - topics.keys())
        if missing:
            return f"topics do not exist: {', '.join(missing)}"
        counts = {name: topics[name].partitions for name in _CUSTOMER_TOPICS if name in self._topics}
        if len(set(counts.values())) > 1:
            return f"the customer topics differ in their number of partitions: {counts}"
        if overdue:
            return f"partitions were added and are not assigned to any consumer: {by_topic(overdue)}"
        return None


def by_topic(partitions: Collection[Partition]) -> dict[str, list[int]]:
    """Return the partition numbers of each topic, in order."""
    topics = sorted({topic for topic, _ in partitions})
    return {topic: sorted(number for name, number in partitions if name == topic) for topic in topics}
