"""The queues of the message buffer."""

from __future__ import annotations

import pytest

from shared.events import (
    AWAITED_TOPICS,
    CUSTOMER_TOPICS,
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    WORKER_TOPICS,
)
from shared.ports import Partition
from tests.fakes import FakeBroker, FakeConsumer
from tests.fakes_store import FakeStore
from worker.message_buffer import Batch, MessageBuffer


def build_buffer(broker: FakeBroker, *, batch_size: int) -> MessageBuffer:
    """Build a buffer whose partitions are assigned."""
    buffer = MessageBuffer(FakeConsumer(broker, FakeStore()), batch_size=batch_size)
    assert buffer.poll(timeout_seconds=0.0, held=(), wanted=1)
    return buffer


def append(broker: FakeBroker, number: int, *, count: int) -> None:
    for _ in range(count):
        broker.append(RECOMMENDATIONS_REQUESTED, number, key=b"k", value=b"v")


def test_a_busy_partition_goes_behind_the_others_after_each_batch() -> None:
    broker = FakeBroker()
    append(broker, 0, count=9)
    append(broker, 1, count=1)
    buffer = build_buffer(broker, batch_size=5)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    first = buffer.requests(5)
    buffer.done(Batch(requests=first))
    assert [message.partition for message in first] == [0] * 5
    assert [message.partition for message in buffer.requests(5)] == [1, 0, 0, 0, 0]


def test_a_batch_that_was_taken_comes_back_in_front_and_in_order() -> None:
    broker = FakeBroker()
    append(broker, 0, count=4)
    append(broker, 1, count=4)
    buffer = build_buffer(broker, batch_size=5)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=8)
    batch = Batch(requests=buffer.requests(3))
    buffer.take(batch)
    assert [message.partition for message in buffer.requests(3)] == [1, 1, 1]
    assert buffer.unfinished(held=())[RECOMMENDATIONS_REQUESTED, 0] == 0
    buffer.give_back()
    offsets = [message.offset for message in buffer.requests(8) if message.partition == 0]
    assert offsets == [0, 1, 2, 3]
    assert buffer.starts(batch)[RECOMMENDATIONS_REQUESTED, 0] == 0


def test_a_batch_starts_at_the_stored_offset_though_the_log_has_a_gap_there() -> None:
    broker = FakeBroker()
    partition = (RECOMMENDATIONS_REQUESTED, 0)
    buffer = build_buffer(broker, batch_size=5)
    broker.skip(partition, 3)
    append(broker, 0, count=2)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    batch = Batch(requests=buffer.requests(5))
    assert [message.offset for message in batch.messages] == [3, 4]
    assert buffer.starts(batch)[partition] == 0
    assert buffer.next_offsets(batch) == {partition: 5}
    buffer.done(batch)
    append(broker, 0, count=1)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert buffer.starts(Batch(requests=buffer.requests(5)))[partition] == 5


def test_it_takes_in_no_more_than_wanted_and_always_something() -> None:
    broker = FakeBroker()
    append(broker, 0, count=9)
    buffer = build_buffer(broker, batch_size=5)
    for wanted, waiting in ((3, 3), (-7, 4), (0, 5)):
        buffer.poll(timeout_seconds=0.0, held=(), wanted=wanted)
        assert buffer.waiting(RECOMMENDATIONS_REQUESTED) == waiting


def test_a_topic_of_which_two_batches_wait_is_paused_until_one_is_left() -> None:
    broker = FakeBroker()
    append(broker, 0, count=20)
    buffer = build_buffer(broker, batch_size=5)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert buffer.paused == frozenset()
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert buffer.paused == {(RECOMMENDATIONS_REQUESTED, 0), (RECOMMENDATIONS_REQUESTED, 1)}
    assert buffer.waiting(RECOMMENDATIONS_REQUESTED) == 10
    buffer.done(Batch(requests=buffer.requests(4)))
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert buffer.waiting(RECOMMENDATIONS_REQUESTED) == 6
    buffer.done(Batch(requests=buffer.requests(1)))
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert buffer.paused == frozenset()
    assert buffer.waiting(RECOMMENDATIONS_REQUESTED) == 15


def test_a_topic_of_which_two_batches_of_bytes_wait_is_paused_and_a_batch_is_cut_by_bytes() -> None:
    broker = FakeBroker()
    for _ in range(20):
        broker.append(RECOMMENDATIONS_REQUESTED, 0, key=b"k", value=b"v" * 99)
    buffer = MessageBuffer(FakeConsumer(broker, FakeStore()), batch_size=100, batch_bytes=500)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=1)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=11)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=11)
    assert buffer.waiting(RECOMMENDATIONS_REQUESTED) == 11
    assert (RECOMMENDATIONS_REQUESTED, 0) in buffer.paused
    assert len(buffer.requests(100)) == 5
    for _ in range(2):
        buffer.done(Batch(requests=buffer.requests(100)))
    buffer.poll(timeout_seconds=0.0, held=(), wanted=1)
    assert buffer.paused == frozenset()


def test_a_message_larger_than_a_batch_is_a_batch_by_itself() -> None:
    broker = FakeBroker()
    for size in (700, 10):
        broker.append(RECOMMENDATIONS_REQUESTED, 0, key=b"k", value=b"v" * size)
    buffer = MessageBuffer(FakeConsumer(broker, FakeStore()), batch_size=100, batch_bytes=500)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=1)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert len(buffer.requests(100)) == 1


def test_what_is_unfinished_is_the_first_message_that_waits_or_the_position() -> None:
    broker = FakeBroker(partitions=1)
    append(broker, 0, count=3)
    buffer = build_buffer(broker, batch_size=5)
    requests, interactions = (RECOMMENDATIONS_REQUESTED, 0), (INTERACTIONS_RECORDED, 0)
    others = {(topic, 0): 0 for topic in WORKER_TOPICS} | {interactions: 4}
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    broker.skip(interactions, 4)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert buffer.unfinished(held=()) == others
    buffer.done(Batch(requests=buffer.requests(2)))
    assert buffer.unfinished(held=()) == others | {requests: 2}
    del others[requests]
    assert buffer.unfinished(held=(RECOMMENDATIONS_REQUESTED,)) == others


@pytest.mark.parametrize("late", AWAITED_TOPICS)
def test_requests_are_read_again_as_soon_as_all_that_they_wait_for_can_be_read(late: str) -> None:
    broker = FakeBroker(partitions=1)
    append(broker, 0, count=3)
    readable = {(topic, 0) for topic in CUSTOMER_TOPICS if topic != late}

    class Consumer(FakeConsumer):
        def assignment(self) -> frozenset[Partition]:
            return super().assignment() & readable

    consumer = Consumer(broker, FakeStore())
    buffer = MessageBuffer(consumer, batch_size=5)
    for _ in range(3):
        buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert buffer.requests(5) == ()
    assert buffer.paused == {(RECOMMENDATIONS_REQUESTED, 0)}
    readable.add((late, 0))
    for _ in range(2):
        buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert [message.offset for message in buffer.requests(5)] == [0, 1, 2]
    assert buffer.paused == frozenset()
