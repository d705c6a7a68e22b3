"""Lists hold what today's catalogue has and allows, whatever the model says, and are as long as they can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.recommender.types import RiskLevel
from tests.builders import build_customer, build_model
from tests.fakes_store import display_of
from tests.unit.worker.world import World

EVERYTHING = np.ones(30, dtype=np.bool_)


@pytest.fixture
def world() -> World:
    world = World()
    world.model = build_model(assets=30, tradable=EVERYTHING)
    world.publish_model()
    world.step()
    return world


def load(world: World, table: str = "asset_information") -> None:
    """Tell that a table was loaded; the worker notices at its next look."""
    world.store.tables.snapshots[table] = world.store.tick()
    world.clock.advance(1.0)


def list_of(world: World, customer_id: str = "C1", action: str = "refresh_recs", **fields: Any) -> list[str]:
    request = world.ask(customer_id, action, **fields)
    world.settle()
    assert world.reasons == []
    return [item.isin for item in world.decision(request).answer.items]


def test_assets_that_left_the_catalogue_make_room_for_the_next_best(world: World) -> None:
    first = list_of(world)
    for isin in first:
        del world.store.tables.displays[isin]
    load(world)
    second = list_of(world)
    assert (len(first), len(second)) == (10, 10)
    assert not set(first) & set(second)


def test_the_list_is_shorter_only_when_there_are_fewer_candidates(world: World) -> None:
    kept = set(list_of(world)[:3])
    for isin in world.store.tables.displays.keys() - kept:
        del world.store.tables.displays[isin]
    load(world)
    assert set(list_of(world)) == kept


def test_an_empty_catalogue_gives_an_empty_list_and_no_error(world: World) -> None:
    world.store.tables.displays.clear()
    load(world)
    assert list_of(world) == []


def test_a_model_that_calls_every_asset_harmless_makes_nothing_suitable(world: World) -> None:
    isins = world.model.id_map.isins
    lying = build_model(seed=9, assets=30, tradable=EVERYTHING, asset_risk_level=np.ones(30, dtype=np.int8))
    world.publish_model(lying)
    world.step()
    world.store.tables.customers["C1"] = build_customer("C1", RiskLevel.CONSERVATIVE)
    bond = display_of(isins[4], assetcategory="Bond", asset_sub_category="Government")
    world.store.tables.displays[isins[4]] = bond
    load(world)
    assert list_of(world) == [isins[4]]


def test_a_category_that_changed_counts_after_the_load_without_a_training(world: World) -> None:
    world.store.tables.customers["C1"] = build_customer("C1", RiskLevel.INCOME)
    for isin in world.model.id_map.isins:
        world.store.tables.displays[isin] = display_of(isin, assetcategory="Bond")
    load(world)
    first = list_of(world)
    world.store.tables.displays[first[0]] = display_of(first[0], assetcategory="Stock")
    load(world)
    assert first[0] not in list_of(world, action="request_recs")


def test_assets_that_the_model_does_not_know_disturb_nothing(world: World) -> None:
    first = list_of(world)
    world.store.tables.displays["NEW"] = display_of("NEW")
    load(world)
    assert list_of(world) == first


def test_a_customer_whose_risk_level_changed_is_not_answered_from_the_list_made_before(world: World) -> None:
    assert len(list_of(world)) == 10
    world.store.tables.customers["C1"] = build_customer("C1", RiskLevel.CONSERVATIVE)
    load(world, "customer_information")
    assert list_of(world, action="request_recs") == []


def test_a_list_made_before_the_worker_noticed_a_load_does_not_answer_afterwards(world: World) -> None:
    first = list_of(world)
    del world.store.tables.displays[first[0]]
    world.store.tables.snapshots["asset_information"] = world.store.tick()  # no time has passed since the last look
    unnoticed = world.ask("C1")
    world.step(3)
    assert [item.isin for item in world.decision(unnoticed).answer.items] == first
    world.settle()
    assert first[0] not in list_of(world, action="request_recs")
