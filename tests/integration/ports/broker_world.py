"""The EventConsumer under test: a fake one, or one on a broker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

from shared.errors import DatabaseUnavailable, OffsetOutOfRange, TopicReplaced
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.kafka.topics import TopicDurability
from shared.ports import EventConsumer, Message, Partition, StoredOffset

REQUESTS: Partition = (RECOMMENDATIONS_REQUESTED, 0)
CLICKS: Partition = (INTERACTIONS_RECORDED, 0)


class Offsets:
    """Stored offsets, and whether the database answers."""

    def __init__(self) -> None:
        self.stored: dict[Partition, int] = {}
        self.topic_ids: dict[Partition, str] = {}  # of the stored offsets
        self.noted: dict[Partition, str] = {}
        self.available = True
        self.fetches = 0

    def fetch_offsets(self, partitions: Sequence[Partition]) -> dict[Partition, StoredOffset]:
        self.fetches += 1
        if not self.available:
            raise DatabaseUnavailable
        return {p: StoredOffset(self.stored[p], self.topic_ids.get(p)) for p in partitions if p in self.stored}

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self.noted.update(topic_ids)


@dataclass
class BrokerWorld:
    """Topics with two partitions, a way to publish, and consumers of one group that look at topics all the time."""

    publish: Callable[[Partition, bytes], None]
    start: Callable[[Offsets], EventConsumer]
    replace_topic: Callable[[str], None]


def replace_topic(servers: str, name: str) -> None:
    """Delete a topic and make it anew, as `create_topics` makes it."""
    admin = AdminClient({"bootstrap.servers": servers})
    settings = TopicDurability().required()
    before = admin.describe_topics(TopicCollection([name]))[name].result(10.0).topic_id
    admin.delete_topics([name])[name].result(10.0)
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        with contextlib.suppress(KafkaException):  # it is still being deleted
            admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1, config=settings)])[name].result(
                10.0
            )
        with contextlib.suppress(KafkaException):  # the broker does not know it yet
            if str(admin.describe_topics(TopicCollection([name]))[name].result(10.0).topic_id) != str(before):
                return
        time.sleep(0.1)
    pytest.fail(f"{name} could not be made anew")


def poll(consumer: EventConsumer, *, until: int) -> list[Message]:
    """Poll until so many messages came."""
    return poll_while(consumer, lambda messages: len(messages) < until)


def poll_while(consumer: EventConsumer, condition: Callable[[list[Message]], bool]) -> list[Message]:
    """Poll while the condition holds of the messages that came, for 20 s at most."""
    messages: list[Message] = []
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline and condition(messages):
        messages += consumer.poll(max_messages=100, timeout_seconds=0.05)
    return messages


def joined(consumer: EventConsumer) -> EventConsumer:
    """Poll until the consumer owns all four partitions; nothing may come with it."""
    deadline = time.monotonic() + 20.0
    while len(consumer.assignment()) < 4 and time.monotonic() < deadline:
        assert list(consumer.poll(max_messages=100, timeout_seconds=0.05)) == []
    assert len(consumer.assignment()) == 4
    return consumer


def values(messages: Sequence[Message], partition: Partition) -> list[bytes | None]:
    return [message.value for message in messages if (message.topic, message.partition) == partition]


def wait_for_alarm(consumer: EventConsumer) -> None:
    """Poll until TopicReplaced is raised; no request may come before."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        try:
            messages = consumer.poll(max_messages=100, timeout_seconds=0.05)
        except TopicReplaced:
            return
        except OffsetOutOfRange:
            continue  # the new topic is shorter: that may be noticed first
        assert [message for message in messages if message.topic == RECOMMENDATIONS_REQUESTED] == []
    pytest.fail("no alarm")
