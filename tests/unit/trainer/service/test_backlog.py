"""What the watch over the trainer's progress sees."""

from __future__ import annotations

from shared.errors import DatabaseUnavailable
from shared.events import RetrainRequested
from shared.liveness import Backlog, Progress
from tests.unit.trainer.service.trainer_fakes import command
from tests.unit.trainer.service.trainer_world import World
from trainer.service.leadership import unfinished_commands


def watched(world: World) -> Backlog:
    backlog = Backlog()
    backlog.attach(lambda: unfinished_commands(world.loop, world.consumer), world.consumer, world.store)
    return backlog


def test_nothing_is_known_of_a_trainer_that_does_not_lead() -> None:
    backlog = watched(World())
    backlog.detach()
    assert backlog() is None


def test_commands_wait_in_the_log_until_they_are_handled() -> None:
    world = World()
    world.steps()
    backlog = watched(world)
    command(world.broker, RetrainRequested())
    assert backlog() == Progress(done=0, waiting=1)
    world.steps()
    assert backlog() == Progress(done=1, waiting=0)


def test_a_command_that_was_polled_and_cannot_be_handled_waits() -> None:
    world = World()
    world.steps()
    backlog = watched(world)
    command(world.broker, RetrainRequested())

    def refuse(*_: object, **__: object) -> bool:
        raise DatabaseUnavailable

    world.store.queue_training = refuse  # type: ignore[method-assign]
    world.steps()
    assert backlog() == Progress(done=0, waiting=1)


def test_interactions_in_the_log_are_no_backlog_of_commands() -> None:
    world = World()
    world.steps()
    backlog = watched(world)
    world.click(3)
    assert backlog() == Progress(done=0, waiting=0)


def test_a_server_that_does_not_answer_makes_it_unknown() -> None:
    world = World()
    world.steps()
    backlog = watched(world)
    world.broker.available = False
    assert backlog() is None
