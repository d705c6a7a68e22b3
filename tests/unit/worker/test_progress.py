"""The progress of the loop, as the stall watch reads it."""

from __future__ import annotations

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.liveness import Progress
from tests.unit.worker.world import World


def test_messages_wait_in_the_log_and_here_until_they_are_stored() -> None:
    world = World()
    world.publish_model()
    world.step()
    world.ask("C1")
    world.click("C1")
    assert world.loop.progress() == Progress(done=0, waiting=2)
    world.settle()
    assert world.loop.progress() == Progress(done=world.loop.commits, waiting=0)


def test_requests_without_a_model_and_partitions_out_of_range_do_not_count() -> None:
    world = World()
    world.ask("C1")
    world.settle()
    assert world.loop.progress() == Progress(done=0, waiting=0)
    number = world.broker.partition_of("C1")
    world.store.tables.offsets[(INTERACTIONS_RECORDED, number)] = 7
    world.publish_model()
    world.start()
    world.settle()
    assert world.loop.progress() == Progress(done=0, waiting=0)


def test_a_gap_at_the_end_of_the_log_does_not_count() -> None:
    world = World()
    world.publish_model()
    world.broker.skip((RECOMMENDATIONS_REQUESTED, 0), 3)
    world.settle()
    assert world.loop.progress() == Progress(done=0, waiting=0)


def test_a_server_that_does_not_answer_makes_it_unknown() -> None:
    world = World()
    world.settle()
    world.broker.available = False
    assert world.loop.progress() is None
    world.broker.available, world.store.available = True, False
    assert world.loop.progress() is None
