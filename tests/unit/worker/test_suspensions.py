"""New lists leave out suspended assets and categories and take the next; a suspended model makes no list."""

from __future__ import annotations

from typing import Any

import pytest

from shared.events import CLOSE_PRICES_RECORDED
from tests.builders import build_model
from tests.unit.worker.world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def listed(world: World, action: Any = "refresh_recs", **fields: Any) -> list[str]:
    request = world.ask("C1", action, **fields)
    world.settle()
    return [item.isin for item in world.decision(request).answer.items]


def test_a_list_takes_the_next_asset_until_the_suspended_one_is_resumed(world: World) -> None:
    before = listed(world, k=3)
    world.suspend(before[0])
    world.settle()
    without = listed(world, k=3)
    assert len(without) == 3
    assert without[:2] == before[1:]
    world.suspend(before[0], suspended=False)
    world.settle()
    assert listed(world, k=3) == before


def test_a_stored_list_answers_no_request_after_a_suspension(world: World) -> None:
    before = listed(world)
    world.suspend(before[0])
    world.settle()
    assert before[0] not in listed(world, "request_recs")


def test_a_category_is_suspended_apart_from_its_assets(world: World) -> None:
    before = listed(world)
    for isin in before[:5]:
        world.change_asset(isin, asset_category="Bond")
    world.suspend("Bond", kind="category")
    world.suspend(before[0])
    world.settle()
    without = listed(world)
    assert len(without) >= 5
    assert not set(without) & set(before[:5])
    world.suspend("Bond", kind="category", suspended=False)
    world.settle()
    assert set(listed(world)) & set(before[:5]) == set(before[1:5])


def test_requests_wait_while_the_model_is_suspended_and_everything_else_goes_on(world: World) -> None:
    world.suspend(world.model.version, kind="model")
    world.settle()
    request = world.ask("C1")
    world.price()
    world.step(10)
    assert request.event_id not in world.store.tables.decisions
    assert len(world.store.tables.events_of(CLOSE_PRICES_RECORDED)) == 1
    assert world.loop.unready_reason() == "the model is suspended"
    world.suspend(world.model.version, kind="model", suspended=False)
    world.settle()
    assert world.decision(request).answer.model_version == world.model.version


def test_another_model_answers_what_waited_for_the_suspended_one(world: World) -> None:
    suspended = world.model.version
    world.suspend(suspended, kind="model")
    world.settle()
    request = world.ask("C1")
    world.step(5)
    world.publish_model(build_model(version="another"))
    world.settle()
    assert world.decision(request).answer.model_version == "another"
