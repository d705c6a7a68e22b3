"""The loop on fakes: effects once, models swapped, readiness."""

from __future__ import annotations

from uuid import uuid4

import pytest

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from tests.builders import build_model
from tests.unit.worker.world import CUSTOMERS, World, seen_history


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
    assert {partition: offset for partition, offset in world.store.tables.offsets.items() if offset} == expected
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
    world.settle()
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
