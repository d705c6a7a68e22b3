"""What the loop does with commands, outcomes and a database that is away."""

from __future__ import annotations

import pytest

from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS, ModelActivated, ModelPublished, RetrainRequested
from tests.builders import build_model
from tests.unit.trainer.service.loop_fakes import command
from tests.unit.trainer.service.trainer_fakes import FakeRow
from tests.unit.trainer.service.trainer_world import ROWS, World

COMMANDS = (MODELS_COMMANDS, 0)


def test_a_served_model_that_cannot_be_loaded_any_more_counts_as_none() -> None:
    world = World()
    world.artifacts.damaged.add("v1")
    world.registry.reconcile()

    world.steps()

    assert [order.triggered_by for order in world.training.orders] == ["no model yet"]


def test_without_a_model_a_training_begins_at_once() -> None:
    world = World(with_model=False)

    world.steps()

    assert [order.triggered_by for order in world.training.orders] == ["no model yet"]


def test_a_request_is_kept_before_its_offset_and_trained_once() -> None:
    world = World()
    event = RetrainRequested(reason="please")
    command(world.broker, event)
    world.steps()
    command(world.broker, event)  # the gateway's retry
    world.steps()
    world.finish("promoted")
    world.steps()

    (order,) = world.training.orders
    assert order.triggered_by == f"request {event.event_id}: please"
    assert order.version in world.store.rows
    assert world.store.offsets[COMMANDS] == 2


def test_impressions_start_no_training() -> None:
    world = World()
    world.click(50, kind="impression")
    world.steps()
    assert world.training.orders == []

    world.click(3, first=50)
    world.steps()
    assert [order.triggered_by for order in world.training.orders] == ["interactions: 3 new"]


def test_a_request_that_waits_survives_a_restart() -> None:
    world = World()
    world.click(3)
    world.steps()
    command(world.broker, RetrainRequested(reason="please"))
    world.steps()
    assert len(world.training.orders) == 1

    world.restart()
    world.steps()

    assert world.training.orders[0].triggered_by.endswith("please")


def test_activation_moves_the_pointer_while_a_training_runs() -> None:
    world = World()
    world.artifacts.save_model(build_model(version="v2"))
    world.store.rows["v2"] = FakeRow("v2", "x", status="stored")
    world.click(3)
    world.steps()
    assert world.training.is_busy()

    command(world.broker, ModelActivated(version="v2"))
    world.steps()

    assert world.artifacts.pointer is not None
    assert (world.artifacts.pointer.version, world.artifacts.pointer.sequence) == ("v2", 2)
    assert [v for v, row in world.store.rows.items() if row.active] == ["v2"]
    assert world.store.rows["v2"].sequence == 2
    published = [event for event in world.announcements.events if isinstance(event, ModelPublished)]
    assert [(event.version, event.sequence) for event in published] == [("v2", 2)]


@pytest.mark.parametrize("version", ["v0", "gone"])
def test_a_version_that_cannot_be_served_is_refused_and_the_command_is_consumed(version: str) -> None:
    world = World()
    world.store.rows["v0"] = FakeRow("v0", "x", status="stored")

    command(world.broker, ModelActivated(version=version))
    world.steps()

    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.version == "v1"
    assert world.store.offsets[COMMANDS] == 1
    assert "could not be activated" in (world.store.rows["v0"].reason or "") or version == "gone"


def test_an_activation_that_is_repeated_after_a_crash_changes_nothing() -> None:
    world = World()
    world.artifacts.save_model(build_model(version="v2"))
    world.store.rows["v2"] = FakeRow("v2", "x", status="stored")
    command(world.broker, ModelActivated(version="v2"))
    world.steps()
    del world.store.offsets[COMMANDS]

    world.restart()
    world.steps()

    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.sequence == 2


def test_poison_is_kept_aside_and_what_follows_is_handled() -> None:
    world = World()
    world.broker.append(INTERACTIONS_RECORDED, 0, key=b"x", value=b"\x00nonsense")
    world.broker.append(INTERACTIONS_RECORDED, 1, key=b"x", value=None)
    world.broker.append(MODELS_COMMANDS, 0, key=b"x", value=b"[]")
    world.artifacts.save_model(build_model(version="v2"))
    command(world.broker, ModelActivated(version="v2"))
    world.click(3)
    world.steps()

    assert sorted(world.store.letters) == [
        (INTERACTIONS_RECORDED, 0, 0),
        (INTERACTIONS_RECORDED, 1, 0),
        (MODELS_COMMANDS, 0, 0),
    ]
    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.version == "v2"
    assert world.training.orders[0].triggered_by == "interactions: 3 new"


def test_a_database_that_is_away_pauses_the_loop_and_skips_nothing() -> None:
    world = World()
    world.steps(1)
    world.artifacts.save_model(build_model(version="v2"))
    command(world.broker, ModelActivated(version="v2"))
    world.store.fail = 3
    polls = world.consumer.polls

    for _ in range(20):
        world.steps(1)
        world.clock.advance(0.1)

    assert world.store.fail == 0
    assert world.consumer.polls == polls + 20
    assert world.store.offsets[COMMANDS] == 1
    assert world.consumer.paused == set()
    assert world.store.rows["v1"].active is False


def test_a_busy_release_lets_the_command_wait() -> None:
    world = World()
    world.artifacts.save_model(build_model(version="v2"))
    world.steps(1)
    command(world.broker, ModelActivated(version="v2"))
    with world.registry.exclusively():
        world.steps(1)
        assert COMMANDS not in world.store.offsets
    world.clock.advance(1)
    world.steps()

    assert world.store.offsets[COMMANDS] == 1


def test_without_assets_no_row_is_written_and_the_database_is_asked_again_later() -> None:
    world = World(with_model=False)
    world.store.training_rows = None
    world.steps()
    assert world.store.rows == {}

    world.store.training_rows = ROWS
    world.steps()
    assert world.training.orders == []
    world.clock.advance(30)
    world.steps()

    assert len(world.training.orders) == 1


def test_commands_of_a_topic_that_was_made_anew_are_read_from_its_start() -> None:
    world = World()
    requests = [RetrainRequested(reason=reason) for reason in ("first", "second")]
    for request in requests:
        command(world.broker, request)
    world.store.offsets[COMMANDS] = 1
    world.store.topic_ids[COMMANDS] = "the topic before"

    world.steps(5)

    assert any(f"request {requests[0].event_id}" in row.triggered_by for row in world.store.rows.values())
    assert world.store.offsets[COMMANDS] == 2
    assert world.store.topic_ids[COMMANDS] == world.broker.topic_ids()[MODELS_COMMANDS]
    assert world.consumer.out_of_range() == frozenset()


def test_an_announcement_that_the_broker_refuses_is_repeated_later() -> None:
    world = World()
    world.announcements.broken = True
    world.artifacts.save_model(build_model(version="v2"))
    command(world.broker, ModelActivated(version="v2"))
    world.steps()
    assert world.announcements.events == []

    world.announcements.broken = False
    world.steps()
    assert world.announcements.events == []
    world.clock.advance(30)
    world.steps()

    assert len(world.announcements.events) == 1


def test_a_request_is_tried_at_once_even_after_a_failure() -> None:
    world = World()
    world.click(3)
    world.steps()
    world.finish("failed")
    command(world.broker, RetrainRequested(reason="mended"))
    world.steps()

    assert world.training.orders[-1].triggered_by.endswith("mended")
