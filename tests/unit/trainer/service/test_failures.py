"""Whatever a message holds and whatever a step raises: the trainer goes on, other messages have their effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from sqlalchemy.exc import DataError
from structlog.testing import capture_logs

from shared.errors import (
    ArtifactInvalid,
    BrokerUnavailable,
    DatabaseMisused,
    DatabaseUnavailable,
    StaleOffsets,
    describe_error,
)
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS, ModelActivated, RetrainRequested
from shared.liveness import Progress
from tests.builders import build_model, written
from tests.unit.trainer.service.loop_fakes import command
from tests.unit.trainer.service.trainer_fakes import FakeRow
from tests.unit.trainer.service.trainer_world import World

COMMANDS = (MODELS_COMMANDS, 0)
BUGS = [
    ValueError("a NUL: \x00"),
    KeyError(("models.commands.v1", 0)),
    DataError("INSERT", {}, Exception("\x00")),
    DatabaseMisused("the database: syntax error"),
]
TRANSIENT = [DatabaseUnavailable(), BrokerUnavailable(), StaleOffsets()]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect what is logged: drawing a traceback takes longer than a test."""
    with capture_logs() as lines:
        yield lines


def failing(error: Exception, *, times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation that raises so often before it works."""
    left = [error] * times

    def operation(*arguments: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return then(*arguments, **named)

    return operation


def waiting(world: World) -> int:
    """Return how many messages wait for the loop."""
    backlog = world.loop.backlog()
    assert backlog is not None
    return backlog.waiting


def let_pass(world: World, seconds: float = 60.0) -> None:
    """Make steps while so much time passes."""
    for _ in range(int(seconds * 10)):
        world.steps(1)
        world.clock.advance(0.1)


def activate(world: World, version: str) -> None:
    """Keep an artifact and ask that it be served."""
    world.artifacts.save_model(build_model(version=version))
    world.store.rows[version] = FakeRow(version, "x", status="stored", progress="done")
    command(world.broker, ModelActivated(version=version))


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_command_that_raises_a_bug_is_one_dead_letter_and_its_neighbours_have_their_effect(
    error: Exception, logs: list[MutableMapping[str, Any]]
) -> None:
    world = World()
    activate(world, "v2")
    command(world.broker, RetrainRequested(reason="guilty"))
    activate(world, "v3")
    queue = world.store.queue_training = failing(error, times=99, then=world.store.queue_training)  # type: ignore[method-assign]

    let_pass(world, 5)

    assert queue is world.store.queue_training
    reason = world.store.letters[(MODELS_COMMANDS, 0, 1)]
    assert reason == describe_error(error)
    assert reason.startswith(f"{type(error).__name__}: ")
    assert "\x00" not in reason
    assert world.store.offsets[COMMANDS] == 3
    assert world.artifacts.pointer is not None
    assert (world.artifacts.pointer.version, world.artifacts.pointer.sequence) == ("v3", 3)
    assert world.loop.backlog() == Progress(done=3, waiting=0)
    assert len([line for line in written(logs) if line.get("exc_info")]) == 1


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_bug_that_goes_away_within_three_retries_costs_nothing(error: Exception) -> None:
    world = World()
    command(world.broker, RetrainRequested(reason="unlucky"))
    world.store.queue_training = failing(error, times=3, then=world.store.queue_training)  # type: ignore[method-assign]

    let_pass(world, 5)

    assert world.store.letters == {}
    assert [order.triggered_by.partition(": ")[2] for order in world.training.orders] == ["unlucky"]


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_a_transient_error_is_waited_out_however_often_it_comes(error: Exception) -> None:
    world = World()
    command(world.broker, RetrainRequested(reason="patient"))
    world.store.queue_training = failing(error, times=12, then=world.store.queue_training)  # type: ignore[method-assign]

    let_pass(world, 300)

    assert world.store.letters == {}
    assert world.store.offsets[COMMANDS] == 1
    assert len(world.training.orders) == 1


@pytest.mark.parametrize("error", [*BUGS, *TRANSIENT], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "step", ["take_outcome", "start", "is_busy", "fetch_queued", "has_assets", "publish", "fetch_command_digest"]
)
def test_a_failure_of_any_step_holds_up_no_other_and_ends_nothing(step: str, error: Exception) -> None:
    world = World()
    owner: Any = next(one for one in (world.training, world.store, world.announcements) if hasattr(one, step))
    setattr(owner, step, failing(error, times=2, then=getattr(owner, step)))
    activate(world, "v2")
    command(world.broker, RetrainRequested(reason="please"))

    let_pass(world, 5)

    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.version == "v2"
    assert world.store.offsets[COMMANDS] == 2
    assert [order.triggered_by.partition(": ")[2] for order in world.training.orders] == ["please"]
    assert world.store.letters == {}
    world.finish("promoted")
    world.clock.advance(60)
    world.steps()
    assert not world.training.is_busy()


def test_commands_are_handled_while_another_step_fails_for_good(logs: list[MutableMapping[str, Any]]) -> None:
    world = World()
    world.training.take_outcome = failing(KeyError("bug"), times=10**6, then=lambda: None)  # type: ignore[method-assign]

    let_pass(world, 60)
    activate(world, "v2")
    world.steps()

    assert world.store.offsets[COMMANDS] == 1
    waits = [line["retry_in_seconds"] for line in logs if line.get("task") == "outcome"]
    assert waits == pytest.approx([0.1 * 2**number for number in range(10)])
    assert len([line for line in written(logs) if line.get("exc_info")]) == 1


def test_a_dead_letter_that_cannot_be_kept_now_is_kept_later() -> None:
    world = World()
    world.broker.append(MODELS_COMMANDS, 0, key=b"x", value=b"[]")
    activate(world, "v2")
    keep = world.store.insert_dead_letter
    world.store.insert_dead_letter = failing(DatabaseUnavailable(), times=5, then=keep)  # type: ignore[method-assign]

    let_pass(world, 30)

    assert world.store.letters[(MODELS_COMMANDS, 0, 0)].startswith("ContractViolation: ")
    assert world.store.offsets[COMMANDS] == 2


def test_a_trainer_whose_offsets_were_overtaken_reads_again_from_the_stored_ones() -> None:
    world = World()
    world.steps(1)
    activate(world, "v2")
    activate(world, "v3")
    world.store.offsets[COMMANDS] = 2  # somebody else handled both meanwhile

    let_pass(world, 5)

    assert world.store.offsets[COMMANDS] == 2
    assert waiting(world) == 0
    activate(world, "v4")
    let_pass(world, 5)
    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.version == "v4"


def test_a_bug_of_the_consumer_is_for_whoever_can_open_another_one() -> None:
    world = World()
    world.consumer.poll = failing(KeyError("bug"), times=1, then=world.consumer.poll)  # type: ignore[method-assign]

    with pytest.raises(KeyError):
        world.loop.step()


def test_a_broker_that_is_away_while_polling_is_waited_for() -> None:
    world = World()
    world.consumer.poll = failing(BrokerUnavailable(), times=5, then=world.consumer.poll)  # type: ignore[method-assign]
    command(world.broker, RetrainRequested(reason="please"))

    let_pass(world, 10)

    assert world.store.offsets[COMMANDS] == 1


def test_a_partition_that_is_assigned_while_messages_wait_is_not_read_either() -> None:
    world = World()
    world.steps(1)
    command(world.broker, RetrainRequested())
    world.store.fail = 10**6
    world.steps(20)
    world.consumer.assign(world.consumer.assignment())
    world.store.fail = 0
    world.steps(1)
    world.store.fail = 10**6
    world.steps(2)

    assert world.consumer.paused == world.consumer.assignment()


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ValueError("a\x00b"), "ValueError: a\\x00b"),
        (ValueError("\ud800"), "ValueError: \\ud800"),
        (RuntimeError("x" * 5_000), "RuntimeError: " + "x" * 1_986),
        (RuntimeError("\x00" * 5_000), ("RuntimeError: " + "\\x00" * 1_000)[:2_000]),
    ],
)
def test_an_error_is_described_by_its_class_in_text_that_a_database_takes(error: Exception, described: str) -> None:
    assert describe_error(error) == described
    described.encode()


def test_interactions_that_cannot_be_read_are_dead_letters_by_class_and_the_rest_counts() -> None:
    world = World()
    for value in (b"\xff", b"{}", b'{"event_type": "InteractionRecorded", "customer_id": "\\u0000"}'):
        world.broker.append(INTERACTIONS_RECORDED, 0, key=b"C", value=value)
    world.click(3)

    world.steps()

    assert {reason.partition(":")[0] for reason in world.store.letters.values()} == {"ContractViolation"}
    assert len(world.store.letters) == 3
    assert [order.triggered_by for order in world.training.orders] == ["interactions: 3 new"]


def test_a_pointer_file_that_cannot_be_read_is_one_log_line_until_something_changes(
    logs: list[MutableMapping[str, Any]],
) -> None:
    world = World()
    world.store.training_rows = None  # no asset: no training, and the question comes again at every step
    read = world.artifacts.read_pointer
    for reason in ("damaged", "damaged", "of another format"):
        world.artifacts.read_pointer = failing(ArtifactInvalid(reason), times=20, then=read)  # type: ignore[method-assign]
        world.steps(8)

    errors = [line["error"] for line in written(logs) if line["event"] == "pointer.invalid"]
    assert errors == ["damaged", "of another format"]


def test_a_pause_that_ends_while_the_consumer_is_paused_leaves_nothing_paused() -> None:
    """The clock moves within a step, too: at one of these speeds the pause ends between two looks at it."""
    for ticks in range(1, 60):
        world = World()
        world.steps()
        world.store.queue_training = failing(  # type: ignore[method-assign]
            ValueError("a bug"), times=3, then=world.store.queue_training
        )
        original = world.consumer.pause

        def pause(partitions: Any, *, world: World = world, original: Any = original) -> None:
            original(partitions)
            world.clock.advance(0.11)  # longer than the first pause

        world.consumer.pause = pause  # type: ignore[method-assign]
        command(world.broker, RetrainRequested())
        for _ in range(60):
            world.steps(1)
            world.clock.advance(ticks / 100)

        command(world.broker, RetrainRequested(reason="later"))
        world.steps(3)
        assert world.consumer.paused == set(), ticks
        assert waiting(world) == 0
