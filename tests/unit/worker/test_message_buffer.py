"""The intake's queues."""

from __future__ import annotations

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.ports import Partition
from tests.fakes import FakeBroker, FakeConsumer
from tests.fakes_store import FakeStore
from worker.batch import Batch
from worker.message_buffer import Intake


def build_intake(broker: FakeBroker, *, batch_size: int) -> Intake:
    """Build an intake whose partitions are assigned."""
    intake = Intake(FakeConsumer(broker, FakeStore()), batch_size=batch_size)
    assert intake.poll(timeout_seconds=0.0, held=(), wanted=1)
    return intake


def append(broker: FakeBroker, number: int, *, count: int) -> None:
    for _ in range(count):
        broker.append(RECOMMENDATIONS_REQUESTED, number, key=b"k", value=b"v")


def test_a_busy_partition_goes_behind_the_others_after_each_batch() -> None:
    broker = FakeBroker()
    append(broker, 0, count=9)
    append(broker, 1, count=1)
    intake = build_intake(broker, batch_size=5)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    first = intake.requests(5)
    intake.done(Batch(requests=first))
    assert [message.partition for message in first] == [0] * 5
    assert [message.partition for message in intake.requests(5)] == [1, 0, 0, 0, 0]


def test_a_batch_starts_at_the_stored_offset_though_the_log_has_a_gap_there() -> None:
    broker = FakeBroker()
    partition = (RECOMMENDATIONS_REQUESTED, 0)
    intake = build_intake(broker, batch_size=5)
    broker.skip(partition, 3)
    append(broker, 0, count=2)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    batch = Batch(requests=intake.requests(5))
    assert [message.offset for message in batch.messages] == [3, 4]
    assert intake.starts(batch) == {partition: 0}
    assert intake.next_offsets(batch) == {partition: 5}
    intake.done(batch)
    append(broker, 0, count=1)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert intake.starts(Batch(requests=intake.requests(5))) == {partition: 5}


def test_it_takes_in_no_more_than_wanted_and_always_something() -> None:
    broker = FakeBroker()
    append(broker, 0, count=9)
    intake = build_intake(broker, batch_size=5)
    for wanted, waiting in ((3, 3), (-7, 4), (0, 5)):
        intake.poll(timeout_seconds=0.0, held=(), wanted=wanted)
        assert intake.waiting(RECOMMENDATIONS_REQUESTED) == waiting


def test_a_topic_of_which_two_batches_wait_is_paused_until_one_is_left() -> None:
    broker = FakeBroker()
    append(broker, 0, count=20)
    intake = build_intake(broker, batch_size=5)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert intake.paused == frozenset()
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert intake.paused == {(RECOMMENDATIONS_REQUESTED, 0), (RECOMMENDATIONS_REQUESTED, 1)}
    assert intake.waiting(RECOMMENDATIONS_REQUESTED) == 10
    intake.done(Batch(requests=intake.requests(4)))
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert intake.waiting(RECOMMENDATIONS_REQUESTED) == 6
    intake.done(Batch(requests=intake.requests(1)))
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert intake.paused == frozenset()
    assert intake.waiting(RECOMMENDATIONS_REQUESTED) == 15


def test_a_topic_of_which_two_batches_of_bytes_wait_is_paused_and_a_batch_is_cut_by_bytes() -> None:
    broker = FakeBroker()
    for _ in range(20):
        broker.append(RECOMMENDATIONS_REQUESTED, 0, key=b"k", value=b"v" * 99)
    intake = Intake(FakeConsumer(broker, FakeStore()), batch_size=100, batch_bytes=500)
    intake.poll(timeout_seconds=0.0, held=(), wanted=1)
    intake.poll(timeout_seconds=0.0, held=(), wanted=11)
    intake.poll(timeout_seconds=0.0, held=(), wanted=11)
    assert intake.waiting(RECOMMENDATIONS_REQUESTED) == 11
    assert (RECOMMENDATIONS_REQUESTED, 0) in intake.paused
    assert len(intake.requests(100)) == 5
    for _ in range(2):
        intake.done(Batch(requests=intake.requests(100)))
    intake.poll(timeout_seconds=0.0, held=(), wanted=1)
    assert intake.paused == frozenset()


def test_a_message_larger_than_a_batch_is_a_batch_by_itself() -> None:
    broker = FakeBroker()
    for size in (700, 10):
        broker.append(RECOMMENDATIONS_REQUESTED, 0, key=b"k", value=b"v" * size)
    intake = Intake(FakeConsumer(broker, FakeStore()), batch_size=100, batch_bytes=500)
    intake.poll(timeout_seconds=0.0, held=(), wanted=1)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert len(intake.requests(100)) == 1


def test_what_is_unfinished_is_the_first_message_that_waits_or_the_position() -> None:
    broker = FakeBroker(partitions=1)
    append(broker, 0, count=3)
    intake = build_intake(broker, batch_size=5)
    requests, interactions = (RECOMMENDATIONS_REQUESTED, 0), (INTERACTIONS_RECORDED, 0)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    broker.skip(interactions, 4)
    intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert intake.unfinished(held=()) == {requests: 0, interactions: 4}
    intake.done(Batch(requests=intake.requests(2)))
    assert intake.unfinished(held=()) == {requests: 2, interactions: 4}
    assert intake.unfinished(held=(RECOMMENDATIONS_REQUESTED,)) == {interactions: 4}


def test_requests_are_read_again_as_soon_as_their_interactions_can_be_read() -> None:
    broker = FakeBroker(partitions=1)
    append(broker, 0, count=3)
    readable = {(RECOMMENDATIONS_REQUESTED, 0)}

    class Consumer(FakeConsumer):
        def assignment(self) -> frozenset[Partition]:
            return super().assignment() & readable

    consumer = Consumer(broker, FakeStore())
    intake = Intake(consumer, batch_size=5)
    for _ in range(3):
        intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert intake.requests(5) == ()
    assert intake.paused == {(RECOMMENDATIONS_REQUESTED, 0)}
    readable.add((INTERACTIONS_RECORDED, 0))
    for _ in range(2):
        intake.poll(timeout_seconds=0.0, held=(), wanted=10)
    assert [message.offset for message in intake.requests(5)] == [0, 1, 2]
    assert intake.paused == frozenset()
