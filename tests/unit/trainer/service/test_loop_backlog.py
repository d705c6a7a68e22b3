"""The work that waits for the trainer's loop, as the liveness check sees it."""

from __future__ import annotations

from shared.errors import DatabaseUnavailable
from shared.events import RetrainRequested
from shared.liveness import Progress
from tests.unit.trainer.service.loop_fakes import command
from tests.unit.trainer.service.trainer_world import World


def test_commands_wait_in_the_log_until_they_are_handled() -> None:
    world = World()
    world.steps()
    command(world.broker, RetrainRequested())
    assert world.loop.backlog() == Progress(done=0, waiting=1)
    world.steps()
    assert world.loop.backlog() == Progress(done=1, waiting=0)


def test_a_command_that_was_polled_and_cannot_be_handled_waits() -> None:
    world = World()
    world.steps()
    command(world.broker, RetrainRequested())

    def refuse(*_: object, **__: object) -> bool:
        raise DatabaseUnavailable

    world.store.queue_training = refuse  # type: ignore[method-assign]
    world.steps()
    assert world.loop.backlog() == Progress(done=0, waiting=1)


def test_interactions_in_the_log_are_no_backlog_of_commands() -> None:
    world = World()
    world.steps()
    world.click(3)
    assert world.loop.backlog() == Progress(done=0, waiting=0)


def test_a_server_that_does_not_answer_makes_it_unknown() -> None:
    world = World()
    world.steps()
    world.broker.available = False
    assert world.loop.backlog() is None
