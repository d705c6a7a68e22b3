"""Look at the consumed topics again and again: whether they are the same ones, and whether every partition is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from shared.adapters.kafka_metadata import KafkaMetadata, Overview, Question
from shared.errors import BrokerUnavailable
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.logging import get_logger
from shared.ports import Partition

log = get_logger(__name__)

UNREAD_SECONDS = 60.0  # a rebalance, and a look every 30 s, take less
_CUSTOMER_TOPICS = (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED)


class TopicWatch:
    """Asks every `interval_seconds` and never waits for the answer; a question that fails is asked again."""

    def __init__(
        self,
        metadata: KafkaMetadata,
        *,
        topics: Collection[str],
        group: str,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metadata = metadata
        self._topics = frozenset(topics)
        self._group = group
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._question: Question | None = None
        self._due_at = clock() + interval_seconds
        self._unread_since: dict[Partition, float] = {}
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with the topics, as the last answer showed it."""
        return self._problem

    def ask_now(self) -> None:
        """Ask with the next `look`, not only when it is time."""
        self._due_at = self._clock()

    def look(self) -> Overview | None:
        """Return a new answer if one is there; ask when it is time."""
        if self._question is None:
            if self._clock() >= self._due_at:
                self._question = self._metadata.ask(self._topics, group=self._group)
                self._due_at = self._clock() + self._interval_seconds
            return None
        if not self._question.is_answered():
            return None
        question, self._question = self._question, None
        try:
            overview = question.answer()
        except BrokerUnavailable:
            return None  # whoever polls meets the same broker, and says so
        self._note(overview)
        return overview

    def _note(self, overview: Overview) -> None:
        now = self._clock()
        unread = {
            (name, number) for name, topic in overview.topics.items() for number in range(topic.partitions)
        } - overview.owned
        self._unread_since = {one: self._unread_since.get(one, now) for one in unread}
        overdue = [one for one, since in self._unread_since.items() if now - since >= UNREAD_SECONDS]
        before, self._problem = self._problem, self._describe(overview, overdue)
        if self._problem is not None and self._problem != before:
            log.error("consumer.topics_unusable", problem=self._problem, group=self._group)

    def _describe(self, overview: Overview, overdue: Collection[Partition]) -> str | None:
        missing = sorted(self._topics - overview.topics.keys())
        if missing:
            return f"topics do not exist: {', '.join(missing)}"
        counts = {name: overview.topics[name].partitions for name in _CUSTOMER_TOPICS if name in self._topics}
        if len(set(counts.values())) > 1:
            return f"the customer topics differ in their number of partitions: {counts}"
        if overdue:
            return f"partitions that no member of the group reads: {by_topic(overdue)}"
        return None


def by_topic(partitions: Collection[Partition]) -> dict[str, list[int]]:
    """Return the partition numbers of each topic, in order."""
    topics = sorted({topic for topic, _ in partitions})
    return {topic: sorted(number for name, number in partitions if name == topic) for topic in topics}
