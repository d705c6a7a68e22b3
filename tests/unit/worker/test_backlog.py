"""What the watch over the worker's progress sees."""

from __future__ import annotations

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.liveness import Backlog, Progress, Unfinished
from tests.unit.worker.world import World


def watched(world: World) -> Backlog:
    backlog = Backlog()
    loop = world.loop
    backlog.attach(lambda: Unfinished(loop.commits, 0, loop.unfinished()), world.consumer, world.store)
    return backlog


def test_before_the_loop_runs_nothing_is_known() -> None:
    assert Backlog()() is None


def test_messages_wait_in_the_log_and_here_until_they_are_stored() -> None:
    world = World()
    backlog = watched(world)
    world.publish_model()
    world.step()
    world.ask("C1")
    world.click("C1")
    assert backlog() == Progress(done=0, waiting=2)
    world.settle()
    assert backlog() == Progress(done=world.loop.commits, waiting=0)


def test_requests_without_a_model_and_partitions_out_of_range_are_no_backlog() -> None:
    world = World()
    backlog = watched(world)
    world.ask("C1")
    world.settle()
    assert backlog() == Progress(done=0, waiting=0)
    number = world.broker.partition_of("C1")
    world.store.tables.offsets[(INTERACTIONS_RECORDED, number)] = 7
    world.publish_model()
    world.start()
    backlog = watched(world)
    world.settle()
    assert backlog() == Progress(done=0, waiting=0)


def test_a_gap_at_the_end_of_the_log_is_no_backlog() -> None:
    world = World()
    backlog = watched(world)
    world.publish_model()
    world.broker.skip((RECOMMENDATIONS_REQUESTED, 0), 3)
    world.settle()
    assert backlog() == Progress(done=0, waiting=0)


def test_a_server_that_does_not_answer_makes_it_unknown() -> None:
    world = World()
    backlog = watched(world)
    world.settle()
    world.broker.available = False
    assert backlog() is None
    world.broker.available, world.store.available = True, False
    assert backlog() is None
