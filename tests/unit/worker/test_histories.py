"""Histories that are kept: read once, and never used when something may have changed them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from shared.events import RECOMMENDATIONS_REQUESTED
from shared.ports import Partition
from shared.recommender.types import (
    Customer,
    CustomerHistory,
    Interaction,
    InteractionType,
    InvestmentCapacity,
    RiskLevel,
)
from tests.fakes import LateExecutor
from tests.fakes_store import FakeStore, FakeTables
from tests.unit.worker.world import CUSTOMERS, World, seen_history
from worker.histories import Histories, size_bytes

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def reads_of(world: World) -> list[Sequence[str]]:
    """Record for which customers histories are read."""
    reads: list[Sequence[str]] = []
    begin = world.store.begin

    def counting_begin() -> object:
        return Counting(begin(), reads)

    world.store.begin = counting_begin  # type: ignore[method-assign,assignment]
    return reads


class Counting:
    """A transaction that records which histories it reads."""

    def __init__(self, context: object, reads: list[Sequence[str]]) -> None:
        self._context, self._reads = context, reads

    def __enter__(self) -> object:
        transaction = self._context.__enter__()  # type: ignore[attr-defined]
        fetch = transaction.fetch_histories

        def record(customer_ids: Sequence[str]) -> object:
            self._reads.append(list(customer_ids))
            return fetch(customer_ids)

        transaction.fetch_histories = record
        return transaction

    def __exit__(self, *details: object) -> object:
        return self._context.__exit__(*details)  # type: ignore[attr-defined]


def ready_world(*, executor: LateExecutor | None = None) -> World:
    world = World()
    world.executor = executor
    world.start(batch_size=4)
    world.publish_model()
    world.settle()
    return world


def test_a_history_is_read_once() -> None:
    world = ready_world()
    reads = reads_of(world)
    for _ in range(3):
        world.ask("C1")
        world.settle()
    assert reads == [["C1"]]


@pytest.mark.parametrize(
    "change",
    [
        World.click,
        World.order,
        World.change_customer,
        lambda world: world.load(owned={"C1": {world.model.id_map.isins[3]}}, customers={}),
    ],
)
def test_whatever_changes_a_history_has_it_read_again(change: Callable[[World], object]) -> None:
    world = ready_world()
    world.ask("C1")
    world.settle()
    seen = seen_history(world)
    change(world)
    world.ask("C1")
    world.settle()
    with world.store.begin() as transaction:
        assert seen == [transaction.fetch_histories(["C1"])["C1"]]


def test_a_change_of_one_customer_has_no_other_read_again() -> None:
    world = ready_world()
    for customer_id in ("C1", "C2"):
        world.ask(customer_id)
    world.settle()
    reads = reads_of(world)
    world.click("C1")
    world.ask("C2")
    world.settle()
    assert reads == []


def test_a_new_assignment_has_everything_read_again() -> None:
    world = ready_world()
    world.ask("C1")
    world.settle()
    reads = reads_of(world)
    world.consumer.assign(world.broker.logs)
    world.ask("C1")
    world.settle()
    assert reads == [["C1"]]


def test_what_was_read_in_a_transaction_of_unknown_outcome_is_not_kept() -> None:
    world = ready_world()
    world.store.lose_next_commit_answer = True
    world.click("C1")
    world.ask("C1")
    world.settle()
    reads = reads_of(world)
    world.ask("C1")
    world.settle()
    assert reads == [["C1"]]


def test_a_worker_that_was_replaced_without_noticing_stores_no_list_from_an_old_history() -> None:
    world = ready_world()
    world.ask("C1")
    world.settle()
    frozen, consumer = world.loop, world.consumer
    world.start()
    world.step(2)
    request = world.ask("C1")
    of_request = (RECOMMENDATIONS_REQUESTED, world.broker.partition_of("C1"))
    fetch_high_watermarks = consumer.fetch_high_watermarks

    def freeze(partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The successor stores a click before this worker goes on."""
        ends = fetch_high_watermarks(partitions)
        world.broker.delayed.add(of_request)
        world.click("C1")
        world.step(2)
        assert len(world.store.tables.interactions) == 1
        return ends

    consumer.fetch_high_watermarks = freeze  # type: ignore[method-assign]
    frozen.safe_step()
    assert request.event_id not in world.store.tables.decisions
    world.broker.delayed.clear()
    seen = seen_history(world)
    world.settle()
    assert world.decision(request)
    assert [len(history.interactions) for history in seen] == [1]


def test_full_batches_are_answered_while_the_one_before_is_stored() -> None:
    executor = LateExecutor()
    world = ready_world(executor=executor)
    requests = [world.ask(CUSTOMERS[number % 8]) for number in range(12)]
    world.step(2)
    assert len(executor.futures) == 2
    assert len(world.store.tables.decisions) == 4
    world.settle()
    assert world.store.tables.decisions.keys() == {request.event_id for request in requests}


def test_a_batch_that_is_not_stored_is_stored_before_those_behind_it() -> None:
    executor = LateExecutor()
    world = ready_world(executor=executor)
    requests = [world.ask(CUSTOMERS[number % 8]) for number in range(12)]
    world.step()
    world.store.available = False
    world.step(3)
    world.store.available = True
    world.settle()
    assert world.store.tables.decisions.keys() == {request.event_id for request in requests}
    assert world.metric("dead_letters_total") == 0


def test_the_end_of_the_loop_waits_for_what_is_being_stored() -> None:
    world = ready_world(executor=LateExecutor())
    for number in range(4):
        world.ask(CUSTOMERS[number])
    stops = iter([False, True])
    world.loop.run(lambda: next(stops))
    assert len(world.store.tables.decisions) == 4


def test_more_than_the_bound_is_forgotten_the_oldest_first() -> None:
    tables = FakeTables(customers={name: Customer(name) for name in CUSTOMERS})
    one = size_bytes(CustomerHistory(Customer("C1")))
    histories = Histories(most_bytes=2 * one)
    for customer_id in ("C1", "C2", "C1", "C3"):
        with FakeStore(tables).begin() as transaction:
            histories.fetch([customer_id], transaction=transaction)
        histories.keep()
    with (
        FakeStore(tables).begin() as transaction,
        patch.object(transaction, "fetch_histories", wraps=transaction.fetch_histories) as fetch,
    ):
        histories.fetch(["C1", "C2", "C3"], transaction=transaction)
    fetch.assert_called_once_with(["C2"])
    assert len(histories) == 2


@pytest.mark.parametrize(("assets", "interactions"), [(0, 0), (5, 0), (50, 10), (3, 1_000)])
def test_the_size_of_a_history_is_about_its_memory(assets: int, interactions: int) -> None:
    def build(number: int) -> CustomerHistory:
        customer = Customer(f"customer-{number:016d}", RiskLevel.BALANCED, InvestmentCapacity.LESS_THAN_30K)
        owned = tuple(f"US{number:05d}{asset:05d}" for asset in range(assets))
        times = [DAY + timedelta(seconds=number * 1_000 + act) for act in range(interactions)]
        acts = [Interaction(f"{time:US%m%d%H%M%S}", InteractionType.CLICK, time) for time in times]
        return CustomerHistory(customer, owned, tuple(acts))

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = {history.customer.customer_id: history for history in map(build, range(100))}
        measured = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.8 * measured < sum(map(size_bytes, kept.values())) < 2 * measured
