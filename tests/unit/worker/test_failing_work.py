"""Whatever fails: the loop lives, bad messages become dead letters, all others have their effects."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest

from shared.errors import LONGEST_DESCRIPTION
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.recommender.model import Model
from shared.recommender.pipeline import TopAssets, rank_assets
from shared.recommender.types import CustomerHistory
from tests.unit.worker.world import CUSTOMERS, World, bug_for


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def test_a_bug_of_a_request_alone_in_its_batch_is_a_dead_letter_and_the_others_are_served(world: World) -> None:
    world.scorer = bug_for("C3")
    world.ask("C3")
    world.settle()
    assert world.reasons == ["ZeroDivisionError: a bug in scoring"]
    later = [world.ask(customer_id) for customer_id in CUSTOMERS if customer_id != "C3"]
    clicks = [world.click(customer_id) for customer_id in CUSTOMERS]
    world.settle()
    assert all(world.decision(request) for request in later)
    assert len(world.store.tables.interactions) == len(clicks)
    assert world.loop.unready_reason() is None


def test_two_bugs_in_a_row_with_interactions_waiting_leave_the_state_of_a_batch_that_went_well(world: World) -> None:
    number = world.broker.partition_of("C3")
    same = next(name for name in CUSTOMERS if name != "C3" and world.broker.partition_of(name) == number)
    world.scorer = bug_for("C3")
    world.click(same)
    world.ask("C3")
    world.ask("C3")
    answered = world.ask(same)
    world.step(2)
    world.click(same)
    world.settle()
    assert world.reasons == ["ZeroDivisionError: a bug in scoring"] * 2
    assert world.decision(answered)
    assert len(world.store.tables.interactions) == 2
    offsets = {(RECOMMENDATIONS_REQUESTED, number): 3, (INTERACTIONS_RECORDED, number): 2}
    assert {partition: offset for partition, offset in world.store.tables.offsets.items() if offset} == offsets


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_rebalance_between_the_retries_of_a_bug_loses_nothing(world: World, steps: int) -> None:
    requests = {customer_id: world.ask(customer_id) for customer_id in CUSTOMERS}
    world.scorer = bug_for("C3")
    world.step(steps, seconds=1.0)
    world.consumer.assign(world.broker.logs.keys())
    world.settle()
    assert world.reasons == ["ZeroDivisionError: a bug in scoring"]
    assert len(world.store.tables.decisions) == len(requests) - 1


def test_a_batch_of_which_nearly_all_fail_costs_about_one_attempt_a_message() -> None:
    world = World(batch_size=500)
    world.publish_model()
    world.step()
    attempts = []

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        attempts.append(len(histories))
        if any(history.customer.customer_id.startswith("bad") for history in histories):
            raise ZeroDivisionError("a bug in scoring")
        return rank_assets(model, histories, **options)

    world.scorer = scorer
    good = []
    for index in range(2000):
        world.ask(f"bad{index}")
        if index % 20 == 0:
            good.append(world.ask(f"good{index}"))
    world.settle()
    assert all(world.decision(request) for request in good)
    assert len(world.reasons) == 2000
    assert len(attempts) < 1.5 * 2100


def test_one_bad_message_among_many_costs_a_logarithm_of_attempts() -> None:
    world = World(batch_size=512)
    world.publish_model()
    world.step()
    requests = [world.ask(f"D{index}") for index in range(400)]
    attempts = []

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        attempts.append(len(histories))
        return bug_for("D200")(model, histories, **options)

    world.scorer = scorer
    world.settle()
    assert len(world.store.tables.decisions) == len(requests) - 1
    assert len(attempts) < 4 + 2 * 9 + 5


def test_narrowing_that_takes_long_is_stored_in_several_transactions(world: World) -> None:
    requests = {customer_id: world.ask(customer_id) for customer_id in CUSTOMERS}

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        world.clock.advance(3.0)
        return bug_for("C3")(model, histories, **options)

    world.scorer = scorer
    before = world.loop.commits
    world.settle()
    assert world.reasons == ["ZeroDivisionError: a bug in scoring"]
    assert len(world.store.tables.decisions) == len(requests) - 1
    assert world.loop.commits - before > 2


def test_a_bug_in_storing_is_a_dead_letter_too(world: World) -> None:
    world.store.broken_for = {"C3"}
    clicks = [world.click(customer_id) for customer_id in CUSTOMERS]
    requests = [world.ask(customer_id) for customer_id in CUSTOMERS]
    world.settle()
    assert world.reasons == ["ValueError: C3 cannot be stored"] * 2
    assert len(world.store.tables.interactions) == len(clicks) - 1
    assert len(world.store.tables.decisions) == len(requests) - 1


def test_a_bug_outside_of_any_batch_is_mended_by_reading_everything_again(world: World) -> None:
    request = world.ask("C1")
    fetch, broken = world.consumer.fetch_high_watermarks, [True]

    def fetch_or_fail(partitions: Any) -> Any:
        if broken[0]:
            raise KeyError("a bug in the loop's own state")
        return fetch(partitions)

    world.consumer.fetch_high_watermarks = fetch_or_fail  # type: ignore[method-assign]
    generation = world.consumer.generation
    world.settle()
    assert world.consumer.generation > generation
    broken[0] = False
    world.settle()
    assert world.decision(request)
    assert world.reasons == []


def test_a_failure_of_the_remedy_does_not_end_the_worker(world: World) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a bug in the adapter")

    world.ask("C1")
    world.consumer.fetch_high_watermarks = broken  # type: ignore[method-assign,assignment]
    world.consumer.rewind = broken  # type: ignore[method-assign]
    world.settle()
    assert world.store.tables.decisions == {}


def test_requests_of_a_partition_whose_interactions_are_not_assigned_hold_no_other_up(world: World) -> None:
    customers = {world.broker.partition_of(name): name for name in CUSTOMERS}
    owned = set(world.broker.logs) - {(INTERACTIONS_RECORDED, 0)}
    world.consumer.assign(owned)
    held = [world.ask(customers[0]) for _ in range(40)]
    answered = world.ask(customers[1])
    world.settle()
    assert world.decision(answered)
    assert not {request.event_id for request in held} & world.store.tables.decisions.keys()
    world.consumer.assign(world.broker.logs)
    world.settle()
    assert all(world.decision(request) for request in held)


def test_the_log_says_the_reason_that_is_stored_bounded_and_printable(
    world: World, logged: list[MutableMapping[str, Any]]
) -> None:
    def fail(*_: object, **__: object) -> TopAssets:
        raise RuntimeError("\x1b[31m" + "x" * 5_000)

    world.scorer = fail
    world.ask("C3")
    world.settle()

    [line] = [line for line in logged if line["event"] == "message.dead_letter"]
    assert [line["reason"]] == world.reasons
    assert "\x1b" not in line["reason"]
    assert len(line["reason"]) <= LONGEST_DESCRIPTION
