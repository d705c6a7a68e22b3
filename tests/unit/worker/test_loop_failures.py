"""Bugs, a database that is down, other consumers: nothing is lost and nothing happens twice."""

from __future__ import annotations

import pytest

from shared.events import CUSTOMER_TOPICS, INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.recommender.pipeline import rank_assets
from tests.unit.worker.world import CUSTOMERS, World, bug_for


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def test_a_poison_message_at_the_head_goes_to_dead_letters_and_the_rest_is_answered(world: World) -> None:
    number = world.broker.partition_of("C1")
    poison = [b"not json", b"", None, b'{"customer_id": "C1"}', b"\xff\xfe"]
    for value in poison:
        world.broker.append(RECOMMENDATIONS_REQUESTED, number, key=b"C1", value=value)
        world.broker.append(INTERACTIONS_RECORDED, number, key=b"C1", value=value)
    request = world.ask("C1")
    world.settle()
    letters = world.store.tables.dead_letters
    assert len(letters) == 10
    assert {letter[0].value for letter in letters.values()} == set(poison)
    assert all(reason.startswith("ContractViolation: ") for reason in world.reasons)
    assert world.decision(request)
    assert world.metric("dead_letters_total", reason="ContractViolation") == 10


def test_an_unknown_asset_goes_to_dead_letters(world: World) -> None:
    world.click("C1", "XX0000000000")
    world.settle()
    assert world.reasons == ["UnknownAsset: XX0000000000"]
    assert world.store.tables.interactions == {}


def test_a_key_that_is_not_the_customer_goes_to_dead_letters(world: World) -> None:
    message = world.click("C1")
    world.broker.append(INTERACTIONS_RECORDED, 0, key=b"C2", value=message.value)
    world.settle()
    assert world.reasons == ["ContractViolation: the key is not the customer_id"]
    assert len(world.store.tables.interactions) == 1


def test_a_scoring_bug_takes_no_other_request_along(world: World) -> None:
    requests = {customer_id: world.ask(customer_id) for customer_id in CUSTOMERS}
    world.scorer = bug_for("C3")
    world.settle()
    assert world.reasons == ["ZeroDivisionError: a bug in scoring"]
    answered = {decision.customer_id for decision in world.store.tables.decisions.values()}
    assert answered == set(CUSTOMERS) - {"C3"}
    assert sum(world.store.tables.offsets.values()) == len(requests)
    assert world.metric("failures_total", error="ZeroDivisionError") == 5  # once, three retries, once alone


def test_a_scoring_bug_that_passes_within_three_retries_costs_nothing(world: World) -> None:
    request = world.ask("C3")
    world.scorer = bug_for("C3")
    for _ in range(3):
        world.step(seconds=30.0)
    assert world.store.tables.decisions == {}
    world.scorer = rank_assets
    world.settle()
    assert world.decision(request)
    assert world.reasons == []


def test_failures_of_the_database_do_not_count_against_a_message(world: World) -> None:
    request = world.ask("C3")
    world.store.available = False
    world.step(20, seconds=30.0)
    world.store.available = True
    world.scorer = bug_for("C3")
    for _ in range(3):
        world.step(seconds=30.0)
    world.scorer = rank_assets
    world.settle()
    assert world.decision(request)
    assert world.reasons == []


def test_a_bug_while_the_database_goes_down_loses_nothing(world: World) -> None:
    requests = {customer_id: world.ask(customer_id) for customer_id in CUSTOMERS}
    world.scorer = bug_for("C3")
    for _ in range(6):
        world.step(seconds=3.0)
    world.store.available = False
    world.settle()
    world.store.available = True
    world.settle()
    assert world.reasons == ["ZeroDivisionError: a bug in scoring"]
    assert len(world.store.tables.decisions) == len(requests) - 1


def test_a_database_that_is_down_is_waited_for_and_nothing_is_skipped(world: World) -> None:
    requests = [world.ask(customer_id) for customer_id in CUSTOMERS]
    world.store.available = False
    world.step(40, seconds=1.0)
    assert "DatabaseUnavailable" in str(world.loop.unready_reason())
    assert world.consumer.paused == world.consumer.assignment()
    world.store.available = True
    world.settle()
    assert all(world.decision(request) for request in requests)
    assert world.reasons == []
    assert world.consumer.paused == set()


def test_the_consumer_is_polled_while_the_worker_backs_off(world: World) -> None:
    world.ask("C1")
    world.store.available = False
    world.step(10, seconds=0.1)
    polls = world.consumer.polls
    world.step(10)
    assert world.consumer.polls == polls + 10


def test_a_database_that_is_down_during_the_assignment_does_not_end_the_worker() -> None:
    world = World()
    world.publish_model()
    request = world.ask("C1")
    world.store.available = False
    world.step(10, seconds=1.0)
    world.store.available = True
    world.settle()
    assert world.decision(request)


def test_a_zombie_changes_nothing_and_continues_where_the_other_is(world: World) -> None:
    world.ask("C1")
    world.settle()
    zombie = world.loop
    world.start()  # a second owner of the same partitions
    new = [world.ask("C1"), world.ask("C1")]
    world.settle()
    tables = world.store.tables
    before = dict(tables.decisions), dict(tables.offsets)
    for _ in range(5):
        zombie.safe_step()
    assert (tables.decisions, tables.offsets) == before
    assert "StaleOffsets" in str(zombie.unready_reason())
    later = world.ask("C1")
    for _ in range(60):
        world.clock.advance(1.0)
        zombie.safe_step()
    assert world.decision(later)
    assert all(world.decision(request) for request in new)


def test_messages_of_a_revoked_partition_are_dropped(world: World) -> None:
    customers = {world.broker.partition_of(name): name for name in CUSTOMERS}
    world.broker.delayed |= {(INTERACTIONS_RECORDED, 0), (INTERACTIONS_RECORDED, 1)}
    for name in customers.values():
        world.click(name)
    requests = {number: world.ask(name) for number, name in customers.items()}
    world.step(3)
    assert world.loop._buffer.waiting(RECOMMENDATIONS_REQUESTED) == 2
    world.consumer.assign([(topic, 0) for topic in CUSTOMER_TOPICS])
    world.broker.delayed.clear()
    world.settle()
    assert world.decision(requests[0])
    assert requests[1].event_id not in world.store.tables.decisions
    assert world.metric("messages_total", topic=RECOMMENDATIONS_REQUESTED, outcome="stored") == 1
    assert world.reasons == []


def test_a_partition_whose_offset_is_outside_the_log_stands_still_and_the_others_go_on(world: World) -> None:
    requests = {
        world.broker.partition_of(customer_id): (customer_id, world.ask(customer_id)) for customer_id in CUSTOMERS
    }
    world.settle()
    world.broker.ends[(RECOMMENDATIONS_REQUESTED, 0)] += 10
    world.broker.delete_before((RECOMMENDATIONS_REQUESTED, 0), 8)
    stored = world.store.tables.offsets[(RECOMMENDATIONS_REQUESTED, 0)]
    world.start()
    world.step(3)
    other = world.ask(requests[1][0])
    lost = world.ask(requests[0][0])
    world.settle()
    assert world.decision(other)
    assert lost.event_id not in world.store.tables.decisions
    assert world.store.tables.offsets[(RECOMMENDATIONS_REQUESTED, 0)] == stored
    assert "out of range" in str(world.loop.unready_reason())
    assert world.metric("offset_out_of_range") == 1
