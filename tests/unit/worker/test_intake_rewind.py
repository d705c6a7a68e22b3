"""A rewind comes between two polls, not inside one: found by the fault campaign, where it left a worker paused."""

from __future__ import annotations

import pytest

from shared.events import RECOMMENDATIONS_REQUESTED
from tests.fakes import FakeBroker, FakeConsumer
from tests.fakes_store import FakeStore
from worker.batch import Batch
from worker.message_buffer import CONSUMED_TOPICS, Intake

PARTITION = (RECOMMENDATIONS_REQUESTED, 0)


@pytest.fixture
def consumer() -> FakeConsumer:
    broker = FakeBroker()
    for _ in range(3):
        broker.append(*PARTITION, key=b"k", value=b"v")
    return FakeConsumer(broker, FakeStore())


@pytest.fixture
def intake(consumer: FakeConsumer) -> Intake:
    intake = Intake(consumer, batch_size=5)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    return intake


def test_after_a_rewind_a_batch_starts_at_the_stored_offset(intake: Intake, consumer: FakeConsumer) -> None:
    consumer.rewind()

    assert intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    batch = Batch(requests=intake.requests(5))
    assert [message.offset for message in batch.messages] == [0, 1, 2]
    assert intake.starts(batch) == {PARTITION: 0}


def test_what_is_paused_right_after_a_rewind_is_resumed_once_it_is_no_longer_held(
    intake: Intake, consumer: FakeConsumer
) -> None:
    consumer.rewind()
    intake.poll(timeout_seconds=0.0, held=CONSUMED_TOPICS, wanted=10)
    assert PARTITION in consumer.paused

    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert not consumer.paused
    assert intake.waiting(RECOMMENDATIONS_REQUESTED) == 3
