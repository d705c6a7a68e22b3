"""The EventConsumer: positions, pauses, watermarks and limits."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import BrokerUnavailable, OffsetOutOfRange
from shared.events import INTERACTIONS_RECORDED
from shared.kafka.metadata import fetch_cluster_id
from shared.ports import Message
from tests.integration.ports.broker_world import (
    CLICKS,
    REQUESTS,
    BrokerWorld,
    Offsets,
    joined,
    poll,
    poll_while,
    values,
)


def test_an_assignment_starts_at_the_stored_offsets_else_at_the_start_of_the_log(broker: BrokerWorld) -> None:
    for number in range(5):
        broker.publish(REQUESTS, b"%d" % number)
        broker.publish(CLICKS, b"%d" % number)
    offsets = Offsets()
    offsets.stored[REQUESTS] = 3
    consumer = joined(broker.start(offsets))
    assert (consumer.position(REQUESTS), consumer.position(CLICKS)) == (3, 0)
    messages = poll(consumer, until=7)
    assert values(messages, REQUESTS) == [b"3", b"4"]
    assert values(messages, CLICKS) == [b"0", b"1", b"2", b"3", b"4"]
    assert (consumer.position(REQUESTS), consumer.position(CLICKS)) == (5, 5)
    assert consumer.generation > 0


def test_a_rewind_reads_again_from_what_is_stored_by_then(broker: BrokerWorld) -> None:
    for number in range(5):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    consumer = joined(broker.start(offsets))
    poll(consumer, until=5)
    offsets.stored[REQUESTS] = 2
    generation = consumer.generation
    consumer.rewind()
    assert consumer.generation != generation
    assert values(poll(consumer, until=3), REQUESTS) == [b"2", b"3", b"4"]


def test_a_seek_moves_one_partition(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
        broker.publish(CLICKS, b"%d" % number)
    consumer = joined(broker.start(Offsets()))
    poll(consumer, until=6)
    consumer.seek(REQUESTS, 1)
    broker.publish(CLICKS, b"later")
    messages = poll_while(consumer, lambda messages: len(values(messages, CLICKS)) < 1 or len(messages) < 3)
    assert values(messages, REQUESTS) == [b"1", b"2"]
    assert values(messages, CLICKS) == [b"later"]


def test_a_paused_partition_brings_nothing_until_it_is_resumed(broker: BrokerWorld) -> None:
    consumer = joined(broker.start(Offsets()))
    consumer.pause([REQUESTS])
    broker.publish(REQUESTS, b"r")
    for value in (b"c", b"d"):
        broker.publish(CLICKS, value)
        assert [message.value for message in poll(consumer, until=1)] == [value]
    consumer.resume([REQUESTS])
    assert [message.value for message in poll(consumer, until=1)] == [b"r"]


def test_a_new_generation_ends_a_pause(broker: BrokerWorld) -> None:
    broker.publish(REQUESTS, b"r")
    consumer = joined(broker.start(Offsets()))
    consumer.pause([REQUESTS])
    consumer.rewind()
    assert [message.value for message in poll(consumer, until=1)] == [b"r"]


def test_high_watermarks_count_every_acknowledged_message(broker: BrokerWorld) -> None:
    consumer = joined(broker.start(Offsets()))
    for number in range(50):
        broker.publish(CLICKS, b"%d" % number)
        assert consumer.fetch_high_watermarks([CLICKS, REQUESTS]) == {CLICKS: number + 1, REQUESTS: 0}


def test_partitions_wait_while_the_database_does_not_say_their_offsets(broker: BrokerWorld) -> None:
    broker.publish(REQUESTS, b"0")
    broker.publish(REQUESTS, b"1")
    offsets = Offsets()
    offsets.stored[REQUESTS] = 1
    offsets.available = False
    consumer = broker.start(offsets)
    assert poll_while(consumer, lambda _: offsets.fetches < 3) == []
    assert offsets.fetches >= 3
    assert consumer.assignment() == frozenset()
    offsets.available = True
    joined(consumer)
    assert consumer.position(REQUESTS) == 1
    assert [message.value for message in poll(consumer, until=1)] == [b"1"]


def test_an_offset_outside_the_log_is_told_once_and_the_others_go_on(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    offsets.stored[REQUESTS] = 1000
    consumer = broker.start(offsets)
    alarms = 0
    messages: list[Message] = []
    deadline = time.monotonic() + 15.0
    while (not alarms or len(messages) < 2) and time.monotonic() < deadline:
        if alarms and len(messages) < 2:
            broker.publish(CLICKS, b"a")
        try:
            messages += consumer.poll(max_messages=100, timeout_seconds=0.05)
        except OffsetOutOfRange:
            alarms += 1
    assert alarms == 1
    assert consumer.out_of_range() == {REQUESTS}
    assert REQUESTS not in consumer.assignment()
    assert {message.topic for message in messages} == {INTERACTIONS_RECORDED}
    offsets.stored[REQUESTS] = 1  # the operator has decided
    consumer.rewind()
    assert consumer.out_of_range() == frozenset()
    messages = poll_while(consumer, lambda messages: b"1" not in values(messages, REQUESTS))
    assert b"1" in values(messages, REQUESTS)


def test_a_poll_ends_when_its_bytes_are_used_up_and_brings_one_message_at_least(broker: BrokerWorld) -> None:
    for number in range(6):
        broker.publish(REQUESTS, b"%d" % number * 100)
    consumer = joined(broker.start(Offsets()))
    sizes: list[int] = []
    deadline = time.monotonic() + 20.0
    while sum(sizes) < 6 and time.monotonic() < deadline:
        sizes.append(len(consumer.poll(max_messages=100, timeout_seconds=0.05, max_bytes=250)))
    assert sum(sizes) == 6
    assert max(sizes) <= 3
    consumer.seek(REQUESTS, 0)
    messages: list[Message] = []
    while not messages and time.monotonic() < deadline:
        messages += consumer.poll(max_messages=100, timeout_seconds=0.05, max_bytes=1)
    assert [message.offset for message in messages] == [0]
    assert messages[0].size_bytes == 101
    assert consumer.position(REQUESTS) == 1


def test_messages_say_when_the_broker_had_them(broker: BrokerWorld) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    broker.publish(REQUESTS, b"0")
    [polled] = poll(joined(broker.start(Offsets())), until=1)
    assert polled.logged_at is not None
    assert before <= polled.logged_at <= datetime.now(UTC) + timedelta(seconds=1)


def test_a_commit_is_only_told_and_changes_no_position(broker: BrokerWorld) -> None:
    consumer = joined(broker.start(Offsets()))
    consumer.commit({REQUESTS: 77})
    broker.publish(REQUESTS, b"0")
    assert [message.value for message in poll(consumer, until=1)] == [b"0"]


def test_a_broker_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable):
        fetch_cluster_id("127.0.0.1:1", timeout_seconds=0.5)
