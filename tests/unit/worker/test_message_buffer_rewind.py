"""A rewind comes between two polls, not inside one: found by the fault campaign, where it left a worker paused."""

from __future__ import annotations

import pytest

from shared.events import CUSTOMER_TOPICS, RECOMMENDATIONS_REQUESTED
from tests.fakes import FakeBroker, FakeConsumer
from tests.fakes_store import FakeStore
from worker.message_buffer import Batch, MessageBuffer

PARTITION = (RECOMMENDATIONS_REQUESTED, 0)


@pytest.fixture
def consumer() -> FakeConsumer:
    broker = FakeBroker()
    for _ in range(3):
        broker.append(*PARTITION, key=b"k", value=b"v")
    return FakeConsumer(broker, FakeStore())


@pytest.fixture
def buffer(consumer: FakeConsumer) -> MessageBuffer:
    buffer = MessageBuffer(consumer, batch_size=5)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    return buffer


def test_after_a_rewind_a_batch_starts_at_the_stored_offset(buffer: MessageBuffer, consumer: FakeConsumer) -> None:
    consumer.rewind()

    assert buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    batch = Batch(requests=buffer.requests(5))
    assert [message.offset for message in batch.messages] == [0, 1, 2]
    assert buffer.starts(batch)[PARTITION] == 0


def test_what_is_paused_right_after_a_rewind_is_resumed_once_it_is_no_longer_held(
    buffer: MessageBuffer, consumer: FakeConsumer
) -> None:
    consumer.rewind()
    buffer.poll(timeout_seconds=0.0, held=CUSTOMER_TOPICS, wanted=10)
    assert PARTITION in consumer.paused

    buffer.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert not consumer.paused
    assert buffer.waiting(RECOMMENDATIONS_REQUESTED) == 3
