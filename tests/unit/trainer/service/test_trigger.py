"""When a training is due."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from shared.events import INTERACTIONS_RECORDED
from shared.ports import Message
from tests.fakes import FakeBroker, FakeConsumer
from tests.unit.recommender.planted import build_rows
from tests.unit.trainer.service.loop_fakes import build_broker
from tests.unit.trainer.service.trainer_fakes import FakeTrainerStore
from trainer.service.job import covered_offsets
from trainer.service.ports import TrainingSnapshot
from trainer.service.trigger import MOST_RUNS, ConsumerProgress, TriggerRules, TriggerState, decide_training

RULES = TriggerRules(after_interactions=50, after_seconds=600)
IDLE = TriggerState(has_model=True, new_interactions=0, seconds_since_last=0.0)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (replace(IDLE, has_model=False), "no model yet"),
        (replace(IDLE, new_interactions=50), "interactions: 50 new"),
        (replace(IDLE, new_interactions=49), None),
        (replace(IDLE, new_interactions=1, seconds_since_last=600.0), "time: 600 s"),
        (replace(IDLE, new_interactions=1, seconds_since_last=599.0), None),
        (replace(IDLE, new_interactions=0, seconds_since_last=1e9), None),
        (replace(IDLE, queued_request="request 1: please"), "request 1: please"),
        (replace(IDLE, has_model=False, queued_request="request 1: please"), "request 1: please"),
        (IDLE, None),
    ],
)
def test_a_training_is_due_for_a_reason_or_not_at_all(state: TriggerState, reason: str | None) -> None:
    decision = decide_training(state, RULES)

    assert decision is None if reason is None else str(decision).startswith(reason)


PARTITION = (INTERACTIONS_RECORDED, 0)


def follow(broker: FakeBroker) -> ConsumerProgress:
    """Return the progress of a consumer that has just been given its partitions."""
    consumer = FakeConsumer(broker, FakeTrainerStore())
    progress = ConsumerProgress(consumer)
    consumer.poll(max_messages=1, timeout_seconds=0.0)
    progress.follow_assignment()
    return progress


def handle(progress: ConsumerProgress, first: int, last: int) -> None:
    """Handle the interactions from one offset to another."""
    for offset in range(first, last + 1):
        progress.add_handled(Message(*PARTITION, offset, b"C", b""), is_interaction=True)


def test_interactions_that_a_training_read_before_the_consumer_met_them_do_not_count() -> None:
    progress = follow(build_broker())
    handle(progress, 0, 1)
    progress.cover({PARTITION: 5})

    handle(progress, 2, 6)

    assert progress.count_uncovered() == 2
    assert progress.uncovered_from()[PARTITION] == 5


def test_offsets_that_a_later_training_covered_already_change_nothing() -> None:
    progress = follow(build_broker())
    handle(progress, 0, 6)
    progress.cover({PARTITION: 5})
    progress.cover({PARTITION: 3})

    assert progress.count_uncovered() == 2
    assert progress.uncovered_from()[PARTITION] == 5


def test_only_interactions_that_the_worker_has_stored_are_counted_as_readable() -> None:
    progress = follow(build_broker())
    handle(progress, 0, 6)

    assert progress.count_uncovered(before={PARTITION: 4}) == 4
    assert progress.count_uncovered(before={}) == 0


def test_memory_does_not_grow_with_the_interactions_that_wait() -> None:
    progress = follow(build_broker())
    tracemalloc.start()
    handle(progress, 0, 49_999)
    between, _ = tracemalloc.get_traced_memory()
    for offset in range(50_000, 100_000, 2):  # between them dead letters
        handle(progress, offset, offset)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert between < 10_000
    assert after < 1_000 * MOST_RUNS
    assert 75_000 <= progress.count_uncovered() < 100_000
    progress.cover({PARTITION: 99_998})
    assert progress.count_uncovered() == 1
    assert progress.count_uncovered(before={PARTITION: 99_998}) == 0


def test_a_training_covers_nothing_where_the_worker_is_behind_what_is_covered() -> None:
    """As after an operator has set the worker's offsets back: smaller offsets would be refused as those of a zombie."""
    snapshot = TrainingSnapshot(build_rows(customers=1, assets=1), {PARTITION: 4, (INTERACTIONS_RECORDED, 1): 9})

    assert covered_offsets(snapshot, {PARTITION: 7, (INTERACTIONS_RECORDED, 1): 8}) == {(INTERACTIONS_RECORDED, 1): 9}
    assert covered_offsets(snapshot, {}) == {}
