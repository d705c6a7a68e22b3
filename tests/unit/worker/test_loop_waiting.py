"""Requests wait for the interactions that were acknowledged before them."""

from __future__ import annotations

import pytest

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from tests.unit.worker.world import CUSTOMERS, World, seen_history


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


@pytest.mark.parametrize("delayed", [False, True])
def test_a_click_acknowledged_before_the_request_is_in_its_list(world: World, delayed: bool) -> None:
    scored = seen_history(world)
    number = world.broker.partition_of("C1")
    if delayed:
        world.broker.delayed.add((INTERACTIONS_RECORDED, number))
    isin = world.model.id_map.isins[3]
    world.click("C1", isin)
    request = world.ask("C1")
    world.step(5)
    if delayed:
        assert world.store.tables.decisions == {}
        world.broker.delayed.clear()
        world.step(3)
    assert world.decision(request)
    assert [interaction.isin for interaction in scored[0].interactions] == [isin]


def test_more_clicks_than_a_batch_all_come_before_the_request() -> None:
    world = World(batch_size=4)
    world.publish_model()
    scored = seen_history(world)
    number = world.broker.partition_of("C1")
    world.broker.delayed.add((INTERACTIONS_RECORDED, number))
    for index in range(23):
        world.click("C1", world.model.id_map.isins[index])
    requests = [world.ask("C1") for _ in range(11)]
    world.step(3)
    world.broker.delayed.clear()
    world.settle()
    assert [len(history.interactions) for history in scored] == [23, 23, 23]
    assert all(world.decision(request) for request in requests)


def test_a_request_that_came_after_the_watermark_was_asked_waits_for_its_own_clicks(world: World) -> None:
    scored = seen_history(world)
    number = world.broker.partition_of("C1")
    world.broker.delayed.add((INTERACTIONS_RECORDED, number))
    first_isin, second_isin = world.model.id_map.isins[:2]
    world.click("C1", first_isin)
    world.ask("C1")
    world.step(2)  # the barrier stands at one interaction
    world.click("C1", second_isin)
    later = world.ask("C1")
    world.step(2)
    world.broker.delayed.clear()
    world.settle()
    assert world.decision(later)
    assert {interaction.isin for interaction in scored[-1].interactions} == {first_isin, second_isin}


def test_a_gap_at_the_end_of_the_log_does_not_hold_requests_up(world: World) -> None:
    number = world.broker.partition_of("C1")
    world.click("C1")
    world.broker.skip((INTERACTIONS_RECORDED, number), 2)
    first = world.ask("C1")
    world.settle()
    assert world.decision(first)
    world.broker.skip((RECOMMENDATIONS_REQUESTED, number), 2)
    world.click("C1")
    second = world.ask("C1")
    world.settle()
    assert world.decision(second)
    offsets = world.store.tables.offsets
    assert [offsets[topic, number] for topic in (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED)] == [4, 4]


def test_clicks_that_do_not_arrive_make_the_request_wait_and_the_worker_unready(world: World) -> None:
    number = world.broker.partition_of("C1")
    world.broker.delayed.add((INTERACTIONS_RECORDED, number))
    world.click("C1")
    request = world.ask("C1")
    world.step(8, seconds=0.8)
    assert "BrokerUnavailable" in str(world.loop.unready_reason())
    assert world.store.tables.decisions == {}
    world.broker.delayed.clear()
    world.settle()
    assert world.decision(request)


def test_a_broker_that_does_not_tell_its_watermarks_is_waited_for(world: World) -> None:
    request = world.ask("C1")
    fetch = world.consumer.fetch_high_watermarks
    world.consumer.fetch_high_watermarks = lambda partitions: fetch({("no", 0)})  # type: ignore[method-assign]
    world.step(3, seconds=1.0)
    assert world.store.tables.decisions == {}
    world.consumer.fetch_high_watermarks = fetch  # type: ignore[method-assign]
    world.settle()
    assert world.decision(request)


def test_requests_whose_clicks_may_be_lost_wait_for_an_operator(world: World) -> None:
    customers = {world.broker.partition_of(customer_id): customer_id for customer_id in CUSTOMERS}
    world.click(customers[0])
    world.settle()
    world.store.tables.offsets[(INTERACTIONS_RECORDED, 0)] = 7
    world.start()
    held, answered = world.ask(customers[0]), world.ask(customers[1])
    world.settle()
    assert world.decision(answered)
    assert held.event_id not in world.store.tables.decisions


def test_requests_that_were_polled_before_their_clicks_were_lost_hold_no_other_up(world: World) -> None:
    customers = {world.broker.partition_of(customer_id): customer_id for customer_id in CUSTOMERS}
    world.broker.delayed.add((INTERACTIONS_RECORDED, 0))
    world.click(customers[0])
    held = [world.ask(customers[0]) for _ in range(15)]
    world.step(3)  # polled, and waiting for the click
    world.broker.skip((INTERACTIONS_RECORDED, 0), 20)
    world.broker.delete_before((INTERACTIONS_RECORDED, 0), 10)
    world.broker.delayed.clear()
    answered = world.ask(customers[1])
    world.settle()
    assert world.decision(answered)
    assert not {request.event_id for request in held} & world.store.tables.decisions.keys()


def test_many_requests_behind_a_lost_log_do_not_fill_the_worker(world: World) -> None:
    customers = {world.broker.partition_of(customer_id): customer_id for customer_id in CUSTOMERS}
    world.click(customers[0])
    world.settle()
    world.store.tables.offsets[(INTERACTIONS_RECORDED, 0)] = 7
    world.start()
    held = [world.ask(customers[0]) for _ in range(100)]
    world.step(20)
    answered = world.ask(customers[1])
    world.step(10)
    assert world.decision(answered)
    assert world.loop._buffer.waiting(RECOMMENDATIONS_REQUESTED) == 0
    world.store.tables.offsets[(INTERACTIONS_RECORDED, 0)] = 1  # the operator has decided
    world.start()
    world.settle()
    assert all(world.decision(request) for request in held)


def test_clicks_of_other_partitions_do_not_push_aside_those_that_a_request_waits_for() -> None:
    world = World(batch_size=4)
    scored = seen_history(world)
    customers = {world.broker.partition_of(name): name for name in CUSTOMERS}
    world.broker.delayed.add((INTERACTIONS_RECORDED, 1))
    for index in range(2):
        world.click(customers[1], world.model.id_map.isins[index])
    world.ask(customers[1])
    world.publish_model()
    world.step(2)  # the barrier stands
    for _ in range(50):
        world.click(customers[0])
    world.broker.delayed.clear()
    world.settle()
    assert [len(history.interactions) for history in scored] == [2]


def test_memory_stays_bounded_while_clicks_are_waited_for() -> None:
    world = World(batch_size=5)
    world.publish_model()
    number = world.broker.partition_of("C1")
    world.broker.delayed.add((INTERACTIONS_RECORDED, number))
    world.click("C1")
    requests = [world.ask("C1") for _ in range(300)]
    world.step(40)
    assert world.loop._buffer.waiting(RECOMMENDATIONS_REQUESTED) <= 20
    world.broker.delayed.clear()
    world.settle()
    world.settle()
    assert all(world.decision(request) for request in requests)
