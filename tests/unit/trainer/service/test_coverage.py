"""Which interactions start a training, and which a finished training covers."""

from __future__ import annotations

from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS, WRITE_TOPICS, InteractionRecorded, encode
from tests.unit.trainer.service.trainer_world import World
from trainer.service.job import covered_offsets

COMMANDS = (MODELS_COMMANDS, 0)


def test_enough_interactions_start_one_training_that_covers_them() -> None:
    world = World()
    world.click(2)
    world.steps()
    assert world.training.orders == []

    world.click(1, first=2)
    world.steps()
    world.click(10, first=3)
    world.steps()

    (order,) = world.training.orders
    assert order.triggered_by == "interactions: 3 new"
    world.finish()
    assert sum(world.store.offsets.values()) == 3


def test_orders_count_like_interactions_and_are_covered_like_them() -> None:
    world = World()
    world.click(1)
    world.order(2)
    world.steps()

    (order,) = world.training.orders
    assert order.triggered_by == "interactions: 3 new"
    assert {topic for topic, _ in order.uncovered_from} == set(WRITE_TOPICS)
    world.finish("promoted")
    assert sum(world.store.offsets.values()) == 3
    world.steps()
    assert len(world.training.orders) == 1


def test_interactions_during_a_training_count_for_the_next_one() -> None:
    world = World()
    world.click(3)
    world.steps()
    world.click(2, first=3)
    world.steps()

    world.finish("promoted")
    world.steps()
    assert len(world.training.orders) == 1

    world.click(1, first=5)
    world.steps()
    assert world.training.orders[1].triggered_by == "interactions: 3 new"


def test_interactions_that_the_worker_stores_after_the_training_read_count_for_the_next_one() -> None:
    world = World()
    world.click(3)
    world.click(2, first=3, stored=False)
    world.steps()
    world.finish("promoted")
    assert sum(world.store.offsets.values()) == 3

    world.click(1, first=5)  # with it the worker stores the two before
    world.clock.advance(1)
    world.steps()

    assert [order.triggered_by for order in world.training.orders] == ["interactions: 3 new", "interactions: 3 new"]
    world.finish("promoted")
    assert sum(world.store.offsets.values()) == 6


def test_a_training_waits_for_interactions_that_the_worker_has_not_stored() -> None:
    world = World()
    world.click(50, stored=False)
    for _ in range(20):
        world.clock.advance(1)
        world.steps()
    assert world.training.orders == []

    world.worker_catches_up()
    world.clock.advance(1)
    world.steps()

    assert [order.triggered_by for order in world.training.orders] == ["interactions: 50 new"]


def test_interactions_that_the_worker_stored_before_the_trainer_saw_them_are_covered() -> None:
    world = World()
    world.click(3)
    world.steps()
    world.click(2, first=3)
    world.snapshot = world.store.fetch_training_rows()  # it reads two more than its trigger counted
    world.finish("promoted")
    world.steps()

    world.click(2, first=5)
    world.steps()
    assert len(world.training.orders) == 1
    world.click(1, first=7)
    world.clock.advance(1)
    world.steps()
    assert world.training.orders[1].triggered_by == "interactions: 3 new"


def test_a_restart_counts_the_interactions_since_the_last_training_again() -> None:
    world = World()
    world.click(3)
    world.steps()
    world.finish()
    world.click(2, first=3)
    world.steps()

    world.restart()
    world.steps()
    assert world.training.orders == []
    world.click(1, first=5)
    world.steps()

    assert [order.triggered_by for order in world.training.orders] == ["interactions: 3 new"]


def test_a_crash_in_the_middle_of_a_training_trains_again() -> None:
    world = World()
    world.click(3)
    world.steps()

    world.restart()
    world.steps()

    assert [order.triggered_by for order in world.training.orders] == ["interactions: 3 new"]


def test_a_rebalance_during_a_training_does_not_count_twice() -> None:
    world = World()
    world.click(3)
    world.steps()
    world.consumer.assign(world.consumer.assignment())
    world.steps()
    world.finish("promoted")

    world.click(2, first=3)
    world.steps()
    assert len(world.training.orders) == 1
    world.click(1, first=5)
    world.steps()
    assert len(world.training.orders) == 2


def test_a_failed_training_covers_nothing_and_waits_longer_each_time() -> None:
    world = World()
    world.click(3)
    world.steps()
    for wait in (30, 60):
        world.finish("failed")
        world.steps()
        begun = len(world.training.orders)
        world.clock.advance(wait - 1)
        world.steps()
        assert len(world.training.orders) == begun
        world.clock.advance(1)
        world.steps()
        assert len(world.training.orders) == begun + 1
    assert world.store.offsets == {}


def test_one_new_interaction_and_enough_time_start_a_training() -> None:
    world = World()
    world.click(1)
    world.steps()
    world.clock.advance(601)
    world.steps()

    assert world.training.orders[0].triggered_by.startswith("time: 601 s")


def test_an_offset_outside_the_log_is_gone_past_and_still_counts() -> None:
    world = World(after_interactions=1)
    world.click(4)
    partition = next(p for p in world.broker.logs if p[0] == INTERACTIONS_RECORDED and world.broker.logs[p])
    world.store.offsets[partition] = 99
    other = {p: world.broker.ends[p] for p in world.broker.logs if p != partition}
    world.store.offsets.update(other)

    world.steps(5)

    assert world.consumer.out_of_range() - world.consumer.assignment() == frozenset()
    assert world.training.orders[0].triggered_by == "interactions: 1 new"
    assert (
        covered_offsets(world.snapshot, world.training.orders[0].uncovered_from)[partition]
        == world.broker.ends[partition]
    )


def test_interactions_of_a_topic_that_was_made_anew_are_gone_past_and_still_count() -> None:
    world = World(after_interactions=1)
    world.click(4)
    partition = next(p for p in world.broker.logs if p[0] == INTERACTIONS_RECORDED and world.broker.logs[p])
    world.store.offsets.update(world.broker.ends)
    world.store.offsets[partition] = 0
    world.store.topic_ids[partition] = "the topic before"

    world.steps(5)

    assert world.training.orders[0].triggered_by == "interactions: 1 new"
    assert (
        covered_offsets(world.snapshot, world.training.orders[0].uncovered_from)[partition]
        == world.broker.ends[partition]
    )


def test_messages_that_wait_for_the_database_are_not_counted_twice_after_a_rebalance() -> None:
    world = World()
    world.steps(1)
    world.broker.append(INTERACTIONS_RECORDED, 0, key=b"x", value=b"nonsense")
    for _ in range(2):
        event = InteractionRecorded(customer_id="C1", isin="X1", type="click")
        world.broker.append(INTERACTIONS_RECORDED, 0, key=b"C1", value=encode(event))
    world.store.fail = 1
    world.steps(1)
    world.clock.advance(1)
    world.consumer.assign(world.consumer.assignment())
    world.steps()

    assert len(world.store.letters) == 1
    assert world.training.orders == []  # two of three
