"""Workers as processes on the real broker and database: what the design promises, seen to hold."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from confluent_kafka import Producer

from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    TRANSACTIONS_RECORDED,
    RecommendationRequested,
)
from tests.integration.worker_process import WorkerProcess, WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

EVERY_ASSET: dict[str, Any] = {"recommendation_count": 60}


class Dismissals:
    """Customers who dismiss one asset after another and ask for a list after each: none may come back."""

    def __init__(self, world: WorkerWorld, *, customers: int, rounds: int) -> None:
        self._world = world
        self._customers = [f"C{index}" for index in range(customers)]
        self._rounds = rounds
        self.requests: list[RecommendationRequested] = []
        self.dismissed: dict[str, set[str]] = {}
        # Every list of 60 names holds all tradable assets of level 1 but the dismissed ones.
        model = world.model
        suitable = [
            isin
            for index, isin in enumerate(model.id_map.isins)
            if model.tradable[index] and model.asset_risk_level[index] == 1
        ]
        self.isins, self.never_dismissed = suitable[:rounds], set(suitable[rounds:])
        assert len(self.isins) == rounds
        assert self.never_dismissed

    def play(self, *, threads: int = 4) -> None:
        """Play every customer, several at once; every event is acknowledged before the next of that customer."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._play_one, self._customers))

    def check(self) -> None:
        """Fail when any list has an asset that its customer had dismissed before they asked."""
        answers = self._world.answers(self.requests)
        stale = [
            (request.customer_id, returned)
            for request in self.requests
            if (returned := self.dismissed[str(request.event_id)] & set(answers[str(request.event_id)]))
        ]
        assert not stale, f"{len(stale)} of {len(self.requests)} lists do not know the clicks before them"
        assert all(self.never_dismissed <= set(isins) for isins in answers.values())

    def _play_one(self, customer_id: str) -> None:
        dismissed: set[str] = set()
        for isin in self.isins:
            self._world.click(customer_id, isin, "dismiss")
            dismissed.add(isin)
            request = self._world.ask(customer_id)
            self.dismissed[str(request.event_id)] = set(dismissed)
            self.requests.append(request)


def test_a_list_knows_every_click_that_was_acknowledged_before_it_was_asked_for(world: WorkerWorld) -> None:
    world.start(**EVERY_ASSET)
    dismissals = Dismissals(world, customers=24, rounds=8)
    dismissals.play()
    dismissals.check()
    assert world.count("user_interactions") == 24 * 8
    assert world.count("dead_letters") == 0


def test_a_list_knows_its_clicks_also_when_they_are_far_behind(world: WorkerWorld) -> None:
    dismissals = Dismissals(world, customers=8, rounds=8)
    for index in range(4000):
        world.click(f"B{index % 40}", world.model.id_map.isins[index % 60], acknowledged=False)
    dismissals.play()
    world.start(**EVERY_ASSET, worker_batch_size=20)
    dismissals.check()
    assert world.count("user_interactions") == 4000 + 8 * 8


def test_clicks_are_read_also_while_workers_come_crash_and_go(world: WorkerWorld) -> None:
    first, second = world.start(**EVERY_ASSET), world.start(**EVERY_ASSET)
    world.wait(
        lambda: {w.metric("assigned_partitions") for w in (first, second)} == {world.all_partitions / 2},
        "two workers share",
    )
    dismissals = Dismissals(world, customers=40, rounds=8)
    playing = threading.Thread(target=dismissals.play)
    playing.start()
    third = world.start(**EVERY_ASSET)
    time.sleep(1.0)
    first.kill()
    second.terminate()
    playing.join()
    dismissals.check()
    world.wait(lambda: third.metric("assigned_partitions") == world.all_partitions, "the last worker owns everything")
    assert world.count("user_interactions") == 40 * 8
    assert world.count("decisions") == 40 * 8
    assert world.count("dead_letters") == 0


def test_workers_of_a_group_own_the_same_partition_numbers_of_every_topic(world: WorkerWorld) -> None:
    workers = [world.start(), world.start(), world.start()]
    quarter = world.all_partitions / 4
    shares = [quarter, quarter, 2 * quarter]
    world.wait(lambda: sorted(w.metric("assigned_partitions") for w in workers) == shares, "three share")
    for worker in workers:
        owned = [line["partitions"] for line in worker.log_lines() if line["event"] == "consumer.assigned"][-1]
        assert owned[INTERACTIONS_RECORDED] == owned[TRANSACTIONS_RECORDED] == owned[RECOMMENDATIONS_REQUESTED]


def test_a_restart_continues_at_the_stored_offsets(world: WorkerWorld) -> None:
    worker = world.start()
    before = [world.ask(f"C{index}") for index in range(10)]
    world.answers(before)
    exit_code, seconds = worker.terminate()
    assert exit_code == 0
    assert seconds < 15
    between = [world.ask(f"C{index}") for index in range(10)]
    decided = world.rows("SELECT request_id, decided_at FROM decisions ORDER BY 1")
    world.start()
    world.answers(between)
    assert world.count("decisions") == 20
    ids = [str(request_id) for request_id, _ in decided]
    query = "SELECT request_id, decided_at FROM decisions WHERE request_id = ANY(%s::uuid[]) ORDER BY 1"
    assert world.rows(query, ids) == decided


def test_reading_everything_again_doubles_nothing(world: WorkerWorld) -> None:
    worker = world.start()
    requests = [world.ask(f"C{index}") for index in range(10)]
    clicks = [world.click(f"C{index}", world.model.id_map.isins[index]) for index in range(10)]
    world.answers(requests)
    world.wait(lambda: world.count("user_interactions") == len(clicks), "the clicks are kept")
    worker.kill()
    tables = ("decisions", "user_interactions", "recommendations", "dead_letters")
    before = {table: world.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables}
    world.rows("DELETE FROM consumer_offsets RETURNING 1")
    world.start()
    total = "SELECT coalesce(sum(next_offset), 0) FROM consumer_offsets"
    world.wait(lambda: world.rows(total)[0][0] == 20, "everything was read again")
    assert {table: world.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables} == before


def test_a_worker_that_is_frozen_within_its_transaction_changes_nothing_when_it_wakes_up(world: WorkerWorld) -> None:
    frozen = world.start()
    world.answers([world.ask(f"C{index}") for index in range(20)])
    with contextlib.closing(psycopg2.connect(world.database_url)) as blocker, blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE")
        requests = [world.ask(f"C{index}") for index in range(20)]
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            f" AND application_name = 'recommender-{world.group}'"
        )
        world.wait(lambda: world.rows(waiting), "a batch is in the hands of the worker")
        frozen.process.send_signal(signal.SIGSTOP)
    failures = frozen_failures(frozen)
    successor = world.start(ready=False)
    world.wait(lambda: successor.metric("assigned_partitions") == world.all_partitions, "the successor owns everything")
    requests += [world.ask(f"C{index}") for index in range(20)]
    newest = {request.customer_id: str(request.event_id) for request in requests}
    world.answers(requests)
    before = world.rows("SELECT * FROM decisions ORDER BY request_id")
    frozen.process.send_signal(signal.SIGCONT)
    world.wait(lambda: frozen_failures(frozen) > failures, "the transaction of the woken worker fails")
    world.wait(
        lambda: frozen.metric("assigned_partitions") == world.all_partitions / 2, "the woken worker is a member again"
    )
    assert world.rows("SELECT * FROM decisions ORDER BY request_id") == before
    assert world.count("decisions") == 60
    assert {
        name: str(request) for name, request in world.rows("SELECT customer_id, request_id FROM recommendations")
    } == newest
    order = 'SELECT count(*) FROM decisions a JOIN decisions b USING (customer_id, "partition")'
    assert world.rows(f"{order} WHERE a.event_offset < b.event_offset AND a.decided_at > b.decided_at")[0][0] == 0


def frozen_failures(worker: WorkerProcess) -> int:
    """Return how many failures of the loop the worker has logged."""
    return sum(1 for line in worker.log_lines() if line["event"] == "worker.failed")


def test_an_open_transaction_of_some_producer_hides_no_click_and_holds_up_no_request(world: WorkerWorld) -> None:
    worker = world.start(**EVERY_ASSET)
    [first] = [isin for isins in world.answers([world.ask("C1")]).values() for isin in isins[:1]]
    other = Producer({"bootstrap.servers": world.bootstrap_servers, "transactional.id": world.topic_prefix})
    other.init_transactions(30)
    other.begin_transaction()
    partition = world.rows("SELECT partition FROM decisions")[0][0]
    for topic in (INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED):
        other.produce(world.topic_prefix + topic, b"in an open transaction", "C1", partition=partition)
    other.flush(30)
    world.click("C1", first, "dismiss")
    [isins] = world.answers([world.ask("C1")]).values()
    assert first not in isins
    assert worker.is_ready()
    other.abort_transaction(30)
    assert world.answers([world.ask("C1")])
