"""The loop on fakes: nothing lost, nothing twice, requests after the clicks that came before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend
from shared.recommender.types import CustomerHistory, Ranking
from tests.builders import build_model
from tests.unit.worker.world import CUSTOMERS, World, bug_for


def seen_history(world: World) -> list[CustomerHistory]:
    """Record every history that is scored."""
    seen: list[CustomerHistory] = []

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> list[Ranking]:
        seen.extend(histories)
        return recommend(model, histories, **options)

    world.scorer = scorer
    return seen


@pytest.fixture
def world() -> World:
    world = World()
    world.publish_model()
    world.step()
    return world


def test_a_request_becomes_a_decision_and_a_list(world: World) -> None:
    request = world.ask("C1")
    world.step(2)
    assert world.decision(request).answered_from == "scored"
    stored = world.store.tables.lists["C1"]
    assert stored.request_id == request.event_id
    assert [item.rank for item in stored.answer.items] == list(range(1, 11))


def test_offsets_are_stored_with_the_effects_and_told_to_kafka(world: World) -> None:
    world.ask("C1")
    world.click("C1")
    world.settle()
    number = world.broker.partition_of("C1")
    expected = {(RECOMMENDATIONS_REQUESTED, number): 1, (INTERACTIONS_RECORDED, number): 1}
    assert world.store.tables.offsets == expected
    assert world.consumer.committed == expected


def test_a_crash_after_the_commit_repeats_nothing(world: World) -> None:
    world.click("C1")
    world.ask("C1")
    world.consumer.commit = lambda offsets: (_ for _ in ()).throw(SystemExit)  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        world.step(5)
    before = dict(world.store.tables.decisions), dict(world.store.tables.interactions)
    scored = seen_history(world)
    world.start()
    world.settle()
    assert (world.store.tables.decisions, world.store.tables.interactions) == before
    assert scored == []


def test_the_same_messages_again_double_nothing(world: World) -> None:
    for customer_id in CUSTOMERS:
        world.click(customer_id)
        world.ask(customer_id)
    world.settle()
    tables = world.store.tables
    before = dict(tables.decisions), dict(tables.interactions), dict(tables.lists)
    tables.offsets.clear()
    world.start()
    scored = seen_history(world)
    world.settle()
    assert scored == []
    assert (tables.decisions, tables.interactions, tables.lists) == before
    assert tables.dead_letters == {}
    assert sum(tables.offsets.values()) == 16


def test_a_commit_whose_answer_was_lost_has_its_effect_once(world: World) -> None:
    world.click("C1")
    request = world.ask("C1")
    world.store.lose_next_commit_answer = True
    world.settle()
    assert len(world.store.tables.interactions) == 1
    assert world.decision(request)
    assert world.loop.unready_reason() is None


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
    assert world.store.tables.offsets == {(RECOMMENDATIONS_REQUESTED, number): 4, (INTERACTIONS_RECORDED, number): 4}


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


def test_without_a_model_clicks_are_kept_and_requests_wait() -> None:
    world = World()
    requests = [world.ask(customer_id) for customer_id in CUSTOMERS]
    world.click("C1")
    world.settle()
    assert len(world.store.tables.interactions) == 1
    assert world.store.tables.decisions == {}
    assert world.loop.unready_reason() == "no model yet"
    world.publish_model()
    world.settle()
    assert all(world.decision(request) for request in requests)
    assert world.loop.unready_reason() is None


def test_without_a_model_memory_stays_bounded() -> None:
    world = World(batch_size=5)
    requests = [world.ask(CUSTOMERS[index % 8]) for index in range(200)]
    world.settle()
    assert world.loop._buffer.waiting(RECOMMENDATIONS_REQUESTED) <= 10
    world.publish_model()
    world.settle()
    world.settle()
    assert all(world.decision(request) for request in requests)


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
    world.scorer = recommend
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
    world.scorer = recommend
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
    world.consumer.assign([(RECOMMENDATIONS_REQUESTED, 0), (INTERACTIONS_RECORDED, 0)])
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


def test_a_new_model_is_served_between_batches_without_a_failed_request(world: World) -> None:
    versions = []
    for seed in range(1, 6):
        requests = [world.ask(customer_id) for customer_id in CUSTOMERS]
        world.publish_model(build_model(seed=seed, assets=30))
        world.settle()
        versions += [world.decision(request).answer.model_version for request in requests]
    assert versions[-1] == "v5-30"
    assert len(set(versions)) == 5
    assert world.metric("failures_total", error="ZeroDivisionError") == 0


def test_a_damaged_model_keeps_the_old_one_serving(world: World) -> None:
    world.artifacts.damaged.add("v9-30")
    world.publish_model(build_model(seed=9, assets=30))
    request = world.ask("C1")
    world.settle()
    assert world.decision(request).answer.model_version == world.model.version
    assert world.metric("model_swaps_total", outcome="failed") >= 1


def test_a_model_whose_loading_has_a_bug_keeps_the_old_one_serving(world: World) -> None:
    world.artifacts.load_model = lambda pointer: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    world.publish_model(build_model(seed=9, assets=30))
    request = world.ask("C1")
    world.settle()
    assert world.decision(request).answer.model_version == world.model.version


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


def test_the_stored_list_answers_only_while_nothing_newer_contradicts_it(world: World) -> None:
    first = world.ask("C1")
    world.settle()
    again = world.ask("C1", "request_recs")
    world.settle()
    assert world.decision(again).answered_from == "stored"
    assert world.decision(again).answer.items == world.decision(first).answer.items
    assert world.store.tables.lists["C1"].request_id == again.event_id  # so that a client sees the answer to it
    world.click("C1")
    clicked = world.ask("C1", "request_recs")
    world.settle()
    assert world.decision(clicked).answered_from == "scored"


def test_an_event_id_with_another_fingerprint_goes_to_dead_letters(world: World) -> None:
    event_id = uuid4()
    world.click("C1", event_id=event_id, fingerprint="a")
    world.click("C1", event_id=event_id, fingerprint="a")
    world.click("C1", event_id=event_id, fingerprint="b")
    world.ask("C1", event_id=event_id, fingerprint="a")
    world.ask("C1", event_id=event_id, fingerprint="b")
    world.settle()
    world.click("C1", event_id=event_id, fingerprint="c")
    world.ask("C1", event_id=event_id, fingerprint="c")
    world.settle()
    assert world.reasons == ["IdempotencyKeyReused: Idempotency key reused with another body."] * 4
    assert len(world.store.tables.interactions) == len(world.store.tables.decisions) == 1


def test_a_loop_that_is_told_to_stop_is_unready_and_ends(world: World) -> None:
    world.loop.run(lambda: True)
    assert world.loop.unready_reason() == "stopping"


def test_topics_that_are_not_read_as_they_should_be_make_the_worker_unready(world: World) -> None:
    assert world.loop.unready_reason() is None
    world.consumer.problem = lambda: "partition 12 is read by nobody"  # type: ignore[method-assign]
    assert world.loop.unready_reason() == "partition 12 is read by nobody"
