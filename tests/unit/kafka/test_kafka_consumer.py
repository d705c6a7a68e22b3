"""The consumer on a scripted librdkafka: what may come with a rebalance, in one and the same poll."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaError, TopicPartition

from shared.errors import BrokerUnavailable, DatabaseUnavailable, OffsetOutOfRange
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.kafka import consumer as kafka_consumer
from shared.kafka.client_settings import ConsumerSettings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.metadata import KafkaMetadata, Topic, TopicQuery
from shared.ports import Partition, StoredOffset

REQUESTS: Partition = (RECOMMENDATIONS_REQUESTED, 0)
CLICKS: Partition = (INTERACTIONS_RECORDED, 0)
PREFIX = "p."


class Polled:
    """What librdkafka's poll returns: a message, or an error of a partition."""

    def __init__(self, partition: Partition, offset: int, error: int | None = None) -> None:
        self._partition, self._offset = partition, offset
        self._error = None if error is None else KafkaError(error)
        self.time = (TIMESTAMP_CREATE_TIME, 1_700_000_000_000)

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return PREFIX + self._partition[0]

    def partition(self) -> int:
        return self._partition[1]

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return b"%d" % self._offset

    def timestamp(self) -> tuple[int, int]:
        return self.time


class ScriptedConsumer:
    """Plays a list of steps, one per poll: functions run as callbacks do, before what follows is returned."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.script: deque[Polled | Callable[[], None] | None] = deque()
        self.assigned: dict[Partition, int] = {}
        self.on_assign: Callable[..., None]
        self.on_revoke: Callable[..., None]

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:
        self.on_assign, self.on_revoke = callbacks["on_assign"], callbacks["on_revoke"]

    def poll(self, timeout: float) -> Polled | None:
        while self.script:
            step = self.script.popleft()
            if not callable(step):
                return step
            step()
        return None

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.assigned = {(one.topic.removeprefix(PREFIX), one.partition): one.offset for one in partitions}

    def unassign(self) -> None:
        self.assigned = {}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def granting(self, *partitions: Partition) -> Callable[[], None]:
        named = [TopicPartition(PREFIX + topic, number) for topic, number in partitions]
        return lambda: self.on_assign(self, named)

    def revoking(self) -> Callable[[], None]:
        return lambda: self.on_revoke(self, [])


class Stored:
    """Stored offsets; `failing` times the database is down first."""

    def __init__(self, offsets: dict[Partition, int], *, topic_id: str | None = None, failing: int = 0) -> None:
        self.offsets, self.topic_id, self.failing = offsets, topic_id, failing
        self.noted: dict[Partition, str] = {}

    def fetch_offsets(self, partitions: Sequence[Partition]) -> dict[Partition, StoredOffset]:
        if self.failing:
            self.failing -= 1
            raise DatabaseUnavailable
        return {partition: StoredOffset(self.offsets[partition], self.topic_id) for partition in partitions}

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self.noted.update(topic_ids)


class Topics(KafkaMetadata):
    """A broker with two topics that answers at once, or `when_asked` after a test lets it."""

    def __init__(self) -> None:
        self.topics = {name: Topic(f"id of {name}", 2) for name in (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED)}
        self.failing = False
        self.slow = False
        self.queries = 0

    def fetch_topics(self, topics: Collection[str]) -> dict[str, Topic]:
        return {name: self.topics[name] for name in topics if name in self.topics}

    def fetch_earliest(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(partitions, 0)

    def start_query(self, topics: Collection[str]) -> TopicQuery:
        self.queries += 1
        return Answer(self)


class Answer(TopicQuery):
    """What the broker says when the answer is taken."""

    def __init__(self, topics: Topics) -> None:
        self._of = topics

    def is_answered(self) -> bool:
        return not self._of.slow

    def result(self) -> dict[str, Topic]:
        if self._of.failing:
            raise BrokerUnavailable
        return dict(self._of.topics)


@pytest.fixture
def topics() -> Topics:
    return Topics()


class Rig:
    """Builds consumers; `clients` are the scripted librdkafka clients that they opened, the newest last."""

    def __init__(self, topics: Topics) -> None:
        self.clients: list[ScriptedConsumer] = []
        self._topics = topics

    def open_client(self, settings: dict[str, Any]) -> ScriptedConsumer:
        self.clients.append(ScriptedConsumer(settings))
        return self.clients[-1]

    def __call__(
        self, stored: Stored, *, check_topics_seconds: float = 0.0
    ) -> tuple[KafkaEventConsumer, ScriptedConsumer]:
        consumer = KafkaEventConsumer(
            ConsumerSettings("127.0.0.1:1", "group", PREFIX, check_topics_seconds=check_topics_seconds),
            topics=[RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED],
            offsets=stored,
            metadata=self._topics,
        )
        return consumer, self.clients[-1]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, topics: Topics) -> Rig:
    rig = Rig(topics)
    monkeypatch.setattr(kafka_consumer, "Consumer", rig.open_client)
    monkeypatch.setattr(kafka_consumer, "RETRY_OFFSETS_SECONDS", 0.0)
    return rig


def poll(consumer: KafkaEventConsumer) -> list[int]:
    """Return the offsets that one poll brings."""
    return [message.offset for message in consumer.poll(max_messages=10, timeout_seconds=0.0)]


def test_a_message_that_comes_with_the_assignment_waits_for_the_next_poll(rig: Rig) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}))
    script.script += [script.granting(REQUESTS), Polled(REQUESTS, 5), Polled(REQUESTS, 6)]
    assert poll(consumer) == []
    assert consumer.position(REQUESTS) == 5
    assert poll(consumer) == [5, 6]
    assert consumer.position(REQUESTS) == 7


def test_messages_before_a_rebalance_in_the_same_poll_are_dropped_and_read_again(rig: Rig) -> None:
    stored = Stored({REQUESTS: 5})
    consumer, script = rig(stored)
    script.script += [script.granting(REQUESTS), None]
    poll(consumer)
    generation = consumer.generation
    script.script += [
        Polled(REQUESTS, 5),
        Polled(REQUESTS, 6),
        script.revoking(),
        script.granting(REQUESTS),
        Polled(REQUESTS, 5),
    ]
    assert poll(consumer) == []
    assert consumer.generation == generation + 2
    assert (consumer.position(REQUESTS), script.assigned) == (5, {REQUESTS: 5})
    script.script += [Polled(REQUESTS, 6)]
    assert poll(consumer) == [5, 6]


def test_after_a_revocation_nothing_is_owned_and_nothing_comes(rig: Rig) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}))
    script.script += [script.granting(REQUESTS), None]
    poll(consumer)
    script.script += [Polled(REQUESTS, 5), script.revoking(), None]
    assert poll(consumer) == []
    assert (consumer.assignment(), script.assigned) == (frozenset(), {})
    script.script += [Polled(REQUESTS, 6)]  # a late one
    assert poll(consumer) == []


def test_the_end_of_the_log_moves_the_position_over_a_gap_but_never_back(rig: Rig) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}))
    script.script += [script.granting(REQUESTS), Polled(REQUESTS, 8, KafkaError._PARTITION_EOF)]
    poll(consumer)
    assert consumer.position(REQUESTS) == 5  # what came with the assignment waits
    assert poll(consumer) == []
    assert consumer.position(REQUESTS) == 8
    script.script += [Polled(REQUESTS, 6, KafkaError._PARTITION_EOF)]
    poll(consumer)
    assert consumer.position(REQUESTS) == 8


def test_offsets_that_become_known_later_can_be_read_before_any_message(rig: Rig) -> None:
    stored = Stored({REQUESTS: 5}, failing=2)
    consumer, script = rig(stored)
    script.script += [script.granting(REQUESTS), None]
    assert poll(consumer) == []
    assert (consumer.assignment(), script.assigned) == (frozenset(), {})
    generation = consumer.generation
    assert poll(consumer) == []  # still down
    assert poll(consumer) == []  # known from now on: the position can be read first
    assert (consumer.position(REQUESTS), consumer.generation) == (5, generation)
    assert script.assigned == {REQUESTS: 5}
    script.script += [Polled(REQUESTS, 5)]
    assert poll(consumer) == [5]


def test_messages_that_were_polled_with_an_offset_out_of_range_are_read_again(rig: Rig) -> None:
    consumer, script = rig(Stored({REQUESTS: 99, CLICKS: 3}))
    script.script += [script.granting(REQUESTS, CLICKS), None]
    poll(consumer)
    script.script += [Polled(CLICKS, 3), Polled(CLICKS, 4), Polled(REQUESTS, 99, KafkaError._AUTO_OFFSET_RESET)]
    with pytest.raises(OffsetOutOfRange, match=r"recommendations\.requested\.v1\[0\] at offset 99"):
        poll(consumer)
    assert consumer.out_of_range() == {REQUESTS}
    assert script.assigned == {CLICKS: 3}
    script.script += [Polled(CLICKS, 3)]
    assert poll(consumer) == [3]


def test_a_message_before_the_position_is_an_old_one(rig: Rig) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}))
    script.script += [script.granting(REQUESTS), Polled(REQUESTS, 4), Polled(REQUESTS, 5), Polled(REQUESTS, 5)]
    assert poll(consumer) == []
    assert poll(consumer) == [5]


def test_a_poll_ends_with_the_message_that_uses_its_bytes_up(rig: Rig) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}))
    script.script += [script.granting(REQUESTS), None]
    poll(consumer)
    script.script += [Polled(REQUESTS, offset) for offset in (5, 6, 7, 8)]  # 4 bytes each
    for budget, offsets in ((8, [5, 6]), (1, [7]), (100, [8])):
        messages = consumer.poll(max_messages=10, timeout_seconds=0.0, max_bytes=budget)
        assert [message.offset for message in messages] == offsets
        assert all(message.size_bytes == 4 for message in messages)


def test_an_error_of_the_broker_is_no_message(rig: Rig) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}))
    script.script += [script.granting(REQUESTS), None]
    poll(consumer)
    script.script += [Polled(REQUESTS, 7, KafkaError.UNKNOWN_TOPIC_OR_PART), Polled(REQUESTS, 5)]
    assert poll(consumer) == [5]
    assert consumer.position(REQUESTS) == 6


def test_kafka_never_decides_where_to_read(rig: Rig) -> None:
    _, script = rig(Stored({}))
    wanted = {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "partition.assignment.strategy": "range",
        "isolation.level": "read_uncommitted",
    }
    assert wanted.items() <= script.config.items()
