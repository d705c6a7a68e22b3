"""Requests, cancellations and pauses: one training waits beside the one that runs, and each command counts once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from shared.errors import DatabaseUnavailable
from shared.events import (
    MODELS_COMMANDS,
    ModelActivated,
    ModelPinned,
    ModelUnpinned,
    RetrainCancelled,
    RetrainRequested,
)
from tests.builders import build_model
from tests.unit.trainer.service.loop_fakes import command
from tests.unit.trainer.service.trainer_fakes import build_finished
from tests.unit.trainer.service.trainer_world import World
from trainer.service.ports import Outcome

COMMANDS = (MODELS_COMMANDS, 0)


def reasons(world: World) -> list[str]:
    """Return why trainings were begun, requests by what they say."""
    return [order.triggered_by.rpartition(": ")[2] for order in world.training.orders]


def start_row(world: World) -> None:
    """Let the training under way say in its row that it runs, as its thread does."""
    order = world.training.orders[-1]
    world.store.start_training(order.version, triggered_by=order.triggered_by)


def test_three_hundred_requests_leave_two_trainings_and_one_log_line_each() -> None:
    world = World()
    command(world.broker, RetrainRequested(reason="first"))
    world.steps()
    start_row(world)
    with capture_logs() as logs:
        for number in range(299):
            command(world.broker, RetrainRequested(reason=f"number {number}"))
        world.steps(5)

    assert world.store.offsets[COMMANDS] == 300
    assert len(world.store.rows) == 1 + 2  # the served one, the one that runs, the one that waits
    assert len(world.store.commands) == 300
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == ["retrain.requested"]
    world.finish("promoted")
    world.steps()
    assert reasons(world) == ["first", "number 0"]
    start_row(world)
    world.finish("promoted")
    world.steps()
    assert len(world.training.orders) == 2


def test_a_repeated_request_that_had_joined_another_asks_for_nothing() -> None:
    world = World()
    first, joined = RetrainRequested(reason="first"), RetrainRequested(reason="joins")
    world.steps(1)
    command(world.broker, first)
    command(world.broker, joined)
    world.steps()
    start_row(world)
    world.finish("promoted")
    command(world.broker, joined)
    world.steps()

    assert reasons(world) == ["first"]
    assert world.store.offsets[COMMANDS] == 3
    assert world.store.letters == {}


@pytest.mark.parametrize("second", ["another reason", "an activation"])
def test_another_command_under_an_id_that_had_its_effect_is_a_dead_letter(second: str) -> None:
    world = World()
    world.artifacts.save_model(build_model(version="v2"))
    first = RetrainRequested(reason="first")
    command(world.broker, first)
    if second == "an activation":
        command(world.broker, ModelActivated(event_id=first.event_id, version="v2"))
    else:
        command(world.broker, RetrainRequested(event_id=first.event_id, reason=second))
    world.steps()

    assert list(world.store.letters) == [(MODELS_COMMANDS, 0, 1)]
    assert world.store.letters[(MODELS_COMMANDS, 0, 1)].startswith("EventIdReused: ")
    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.version == "v1"


def test_an_activation_that_is_repeated_later_does_not_undo_what_came_after_it() -> None:
    world = World()
    for version in ("v2", "v3"):
        world.artifacts.save_model(build_model(version=version))
    first = ModelActivated(version="v2")
    command(world.broker, first)
    command(world.broker, ModelActivated(version="v3"))
    command(world.broker, first)
    world.steps()

    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.version == "v3"
    assert world.store.offsets[COMMANDS] == 3


def test_a_cancellation_ends_the_training_that_runs_and_the_one_that_waits() -> None:
    world = World()
    command(world.broker, RetrainRequested(reason="runs"))
    world.steps()
    start_row(world)
    command(world.broker, RetrainRequested(reason="waits"))
    command(world.broker, RetrainCancelled())
    world.steps()

    (order,) = world.training.orders
    assert order.cancelled.is_set()
    rows = [row for row in world.store.rows.values() if row.version != "v1"]
    assert {(row.status, row.reason) for row in rows} == {("failed", "cancelled on request")}
    world.training.outcome = Outcome("abandoned", "cancelled on request", 1.0)
    world.steps()
    assert len(world.training.orders) == 1
    command(world.broker, RetrainRequested(reason="wanted after all"))
    world.steps()
    assert reasons(world) == ["runs", "wanted after all"]


def test_after_a_cancellation_the_same_trigger_waits_and_its_interactions_still_count() -> None:
    world = World()
    world.click(3)
    world.steps()
    start_row(world)
    command(world.broker, RetrainCancelled())
    world.steps()
    world.training.outcome = Outcome("abandoned", "cancelled on request", 1.0)
    world.steps()
    assert len(world.training.orders) == 1

    world.clock.advance(29)
    world.steps()
    assert len(world.training.orders) == 1
    world.clock.advance(1)
    world.steps()
    assert reasons(world)[1:] == ["3 new"]


def test_a_cancellation_before_the_training_wrote_its_row_reaches_it_all_the_same() -> None:
    world = World()
    world.click(3)
    world.steps()
    command(world.broker, RetrainCancelled())
    world.steps()

    assert world.training.orders[0].cancelled.is_set()


def test_a_cancellation_of_nothing_changes_nothing() -> None:
    world = World()
    command(world.broker, RetrainCancelled())
    world.steps()
    world.click(3)
    world.steps()

    assert world.store.offsets[COMMANDS] == 1
    assert reasons(world) == ["3 new"]


@pytest.mark.parametrize("kind", ["failed", "stored", "abandoned"])
def test_without_a_model_trainings_that_lead_to_none_follow_each_other_ever_more_slowly(kind: str) -> None:
    world = World(with_model=False)
    begun: list[float] = []
    while world.clock() < 3_600:
        world.steps(1)
        if world.training.is_busy():
            begun.append(world.clock())
            world.finish(kind)
        world.clock.advance(1)

    waits = [later - earlier for earlier, later in pairwise(begun)]
    assert waits[:6] == pytest.approx([30, 60, 120, 240, 480, 600], abs=2)
    assert len(begun) <= 10


def test_a_request_starts_at_once_and_does_not_shorten_the_pause_of_the_triggers() -> None:
    world = World()
    world.click(3)
    world.steps()
    for _ in range(3):
        world.finish("failed")
        command(world.broker, RetrainRequested(reason="mended"))
        world.steps()
    assert reasons(world) == ["3 new", "mended", "mended", "mended"]
    world.finish("failed")

    world.clock.advance(239)
    world.steps()
    assert len(world.training.orders) == 4
    world.clock.advance(1)
    world.steps()
    assert reasons(world)[4:] == ["3 new"]


def test_an_outcome_is_not_forgotten_when_the_database_is_away_just_then() -> None:
    world = World()
    command(world.broker, RetrainRequested(reason="first"))
    world.steps()
    start_row(world)
    command(world.broker, RetrainRequested(reason="second"))
    world.steps()
    world.store.fail = 3
    world.finish("promoted")
    for _ in range(20):
        world.clock.advance(1)
        world.steps(1)

    assert reasons(world) == ["first", "second"]


def pinned(world: World) -> set[str]:
    return {version for version, row in world.store.rows.items() if row.pinned}


def test_pins_have_their_effect_in_the_order_of_the_log_and_once_each() -> None:
    world = World()
    first = ModelPinned(version="v1")
    command(world.broker, first)
    world.steps()
    assert pinned(world) == {"v1"}

    command(world.broker, ModelUnpinned(version="v1"))
    command(world.broker, first)  # a repetition does not pin again
    world.steps()

    assert pinned(world) == set()
    assert world.store.offsets[COMMANDS] == 3
    assert world.store.letters == {}


def test_a_pin_under_the_id_of_an_activation_is_a_dead_letter() -> None:
    world = World()
    first = ModelActivated(version="v1")
    command(world.broker, first)
    command(world.broker, ModelPinned(event_id=first.event_id, version="v1"))
    world.steps()

    assert world.store.letters[(MODELS_COMMANDS, 0, 1)].startswith("EventIdReused: ")
    assert pinned(world) == set()


@pytest.mark.parametrize("version", ["never-made", "v1"])
def test_a_pin_of_what_is_not_there_has_no_effect_but_counts_as_handled(version: str) -> None:
    world = World()
    world.artifacts.models.clear()
    world.store.rows["v1"] = replace(world.store.rows["v1"], servable=False)
    with capture_logs() as logs:
        command(world.broker, ModelPinned(version=version))
        world.steps()

    assert pinned(world) == set()
    assert world.store.offsets[COMMANDS] == 1
    assert [line["version"] for line in logs if line["event"] == "model.not_pinned"] == [version]


def test_an_operator_may_activate_another_version_beside_a_pinned_one() -> None:
    world = World()
    world.artifacts.save_model(build_model(version="v2"))
    command(world.broker, ModelPinned(version="v1"))
    command(world.broker, ModelActivated(version="v2"))
    world.steps()

    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.version == "v2"
    assert pinned(world) == {"v1"}


def test_what_an_operator_removes_from_the_volume_or_puts_back_is_in_the_rows_within_half_a_minute() -> None:
    world = World()
    world.store.rows["v1"] = replace(world.store.rows["v1"], result=build_finished("v1"))
    world.steps()
    saved = world.artifacts.models.pop("v1")

    for is_there in (False, True):
        if is_there:
            world.artifacts.models["v1"] = saved
        world.clock.advance(31)
        world.steps()
        assert world.store.rows["v1"].servable is is_there


def test_a_database_that_is_away_delays_the_look_at_the_volume_and_nothing_else() -> None:
    world = World()
    world.store.rows["v1"] = replace(world.store.rows["v1"], result=build_finished("v1"))
    world.steps()
    world.artifacts.models.clear()
    record = world.store.record_servable

    def fail(_: object) -> None:
        raise DatabaseUnavailable

    world.store.record_servable = fail  # type: ignore[method-assign,assignment]
    world.clock.advance(31)
    command(world.broker, RetrainRequested(reason="meanwhile"))
    world.steps()
    assert reasons(world) == ["meanwhile"]

    world.store.record_servable = record  # type: ignore[method-assign]
    world.clock.advance(31)
    world.steps()
    assert world.store.rows["v1"].servable is False
