"""Workers as processes on the real broker and database: what the design promises, seen to hold."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from confluent_kafka import Producer

from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    RecommendationRequested,
    encode,
)
from shared.liveness import STALLED_EXIT_CODE
from shared.recommender.pipeline import recommend
from shared.recommender.types import Customer, CustomerHistory, Interaction, InteractionWeights
from tests.builders import build_model
from tests.integration.worker_process import WorkerProcess, WorkerWorld, worker_world

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


def serves(worker: WorkerProcess, sequence: int) -> bool:
    """Return whether the worker serves the pointer of this sequence."""
    return worker.metric("model_sequence") == sequence


def customer_of_partition(world: WorkerWorld) -> dict[int, str]:
    """Return one customer of each partition, by asking for a list for some."""
    requests = [world.ask(f"P{index}") for index in range(24)]
    world.answers(requests)
    return {number: name for name, number in world.rows('SELECT customer_id, "partition" FROM decisions')}


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
    world.wait(lambda: {w.metric("assigned_partitions") for w in (first, second)} == {4.0}, "two workers share")
    dismissals = Dismissals(world, customers=40, rounds=8)
    playing = threading.Thread(target=dismissals.play)
    playing.start()
    third = world.start(**EVERY_ASSET)
    time.sleep(1.0)
    first.kill()
    second.terminate()
    playing.join()
    dismissals.check()
    world.wait(lambda: third.metric("assigned_partitions") == 8.0, "the last worker owns everything")
    assert world.count("user_interactions") == 40 * 8
    assert world.count("decisions") == 40 * 8
    assert world.count("dead_letters") == 0


def test_workers_of_a_group_own_the_same_partition_numbers_of_both_topics(world: WorkerWorld) -> None:
    workers = [world.start(), world.start(), world.start()]
    world.wait(lambda: sorted(w.metric("assigned_partitions") for w in workers) == [2.0, 2.0, 4.0], "three share")
    for worker in workers:
        owned = [line["partitions"] for line in worker.log_lines() if line["event"] == "consumer.assigned"][-1]
        assert owned[INTERACTIONS_RECORDED] == owned[RECOMMENDATIONS_REQUESTED]


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
            " AND application_name = 'recommender-worker'"
        )
        world.wait(lambda: world.rows(waiting), "a batch is in the hands of the worker")
        frozen.process.send_signal(signal.SIGSTOP)
    failures = frozen_failures(frozen)
    successor = world.start(ready=False)
    world.wait(lambda: successor.metric("assigned_partitions") == 8.0, "the successor owns everything")
    requests += [world.ask(f"C{index}") for index in range(20)]
    newest = {request.customer_id: str(request.event_id) for request in requests}
    world.answers(requests)
    before = world.rows("SELECT * FROM decisions ORDER BY request_id")
    frozen.process.send_signal(signal.SIGCONT)
    world.wait(lambda: frozen_failures(frozen) > failures, "the transaction of the woken worker fails")
    world.wait(lambda: frozen.metric("assigned_partitions") == 4.0, "the woken worker is a member again")
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


_WORKER_WITH_A_WRONG_STATEMENT = """
from worker import queries

queries.CUSTOMERS = "SELECT customer_id, risk_level, investment_capacity FRM latest_customers"
from worker.__main__ import main

raise SystemExit(main())
"""


def test_a_wrong_statement_is_a_bug_whose_messages_become_dead_letters_after_three_retries(world: WorkerWorld) -> None:
    worker = world.start(program=_WORKER_WITH_A_WRONG_STATEMENT)
    world.ask("C1")
    click = world.click("C2", world.model.id_map.isins[0])
    world.wait(lambda: world.count("dead_letters") == 1, "the request is a dead letter")
    world.wait(lambda: world.count("user_interactions") == 1, "the click has its effect")
    assert world.rows("SELECT topic, reason FROM dead_letters")[0][0] == RECOMMENDATIONS_REQUESTED
    assert world.rows("SELECT reason FROM dead_letters")[0][0].startswith("DatabaseMisused: the database: syntax error")
    assert world.rows("SELECT event_id::text FROM user_interactions") == [(str(click.event_id),)]
    failures = [line for line in worker.log_lines() if line["event"] == "worker.failed"]
    assert {(line["error_type"], line["level"]) for line in failures} == {("DatabaseMisused", "error")}
    assert [line["decision"] for line in failures] == ["BackOff"] * 3 + ["ToDeadLetter"]
    world.wait(worker.is_ready, "the worker is ready again")


def test_the_environment_of_a_worker_does_not_change_the_interaction_weights_of_its_model(world: WorkerWorld) -> None:
    model = build_model(version="v2", assets=60, interaction_weights=InteractionWeights(click=0.9, half_life_days=20.0))
    world.publish_model(model)
    worker = world.start(
        interaction_weight_click=0, interaction_weight_view=1, interaction_half_life_days=1, recommendation_count=10
    )
    world.wait(lambda: worker.metric("model_sequence") == 2, "the model is served")
    isins = model.id_map.isins[:3]
    clicks = [world.click("C1", isin, occurred_at=datetime.now(UTC) - timedelta(days=5)) for isin in isins]
    [served] = world.answers([world.ask("C1")]).values()
    history = CustomerHistory(
        Customer("C1"), interactions=tuple(Interaction(one.isin, one.type, one.occurred_at) for one in clicks)
    )
    [evaluated] = recommend(model, [history], k=10, now=datetime.now(UTC))
    assert served == [asset.isin for asset in evaluated.assets]
    assert world.rows("SELECT basis FROM decisions") == [("history",)]


def test_poison_at_the_head_of_every_partition_holds_nothing_up(world: WorkerWorld) -> None:
    poison: list[bytes | None] = [b"not json", None, b"{}", b"\xff\x00\xfe", b"[" * 100_000]
    for topic in (INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED):
        for number in range(world.partitions):
            for value in poison:
                world.send(topic, key="C1", value=value, partition=number)
    stranger = encode(RecommendationRequested(customer_id="C2", action="refresh_recs"))
    world.send(RECOMMENDATIONS_REQUESTED, key="C1", value=stranger, partition=0)
    world.click("C1", "XX0000000000")
    world.start()
    requests = [world.ask(f"C{index}") for index in range(20)]
    world.answers(requests)
    expected = len(poison) * world.partitions * 2 + 2
    world.wait(lambda: world.count("dead_letters") == expected, "all poison is a dead letter")
    [row] = world.rows("SELECT topic, key, value, reason FROM dead_letters WHERE reason LIKE 'UnknownAsset%%'")
    assert (row[0], bytes(row[1]), row[3]) == (INTERACTIONS_RECORDED, b"C1", "UnknownAsset: XX0000000000")
    kept = {None if value is None else bytes(value) for (value,) in world.rows("SELECT value FROM dead_letters")}
    assert set(poison) <= kept


def test_a_reused_idempotency_key_with_another_body_is_a_dead_letter(world: WorkerWorld) -> None:
    world.start()
    event_id = uuid4()
    isin = world.model.id_map.isins[0]
    for fingerprint in ("a", "a", "b"):
        world.click("C1", isin, event_id=event_id, fingerprint=fingerprint)
        world.ask("C1", event_id=event_id, fingerprint=fingerprint)
    world.wait(lambda: world.count("dead_letters") == 2, "both second bodies are dead letters")
    assert world.count("user_interactions") == world.count("decisions") == 1


def test_a_database_that_goes_away_for_seconds_loses_nothing(world: WorkerWorld) -> None:
    worker = world.start()
    world.answers([world.ask("C1")])
    with world.database_outage():
        requests = [world.ask(f"C{index}") for index in range(20)]
        world.wait(lambda: "DatabaseUnavailable" in worker.unready_reason(), "the worker says why")
        late = world.start(ready=False)  # its partitions come while the database is down
        world.wait(lambda: late.unready_reason() not in ("", "nothing answers"), "the other does, too")
        time.sleep(3.0)
        assert worker.get("/health/live")[0] == late.get("/health/live")[0] == 200
    world.answers(requests)
    world.wait(worker.is_ready, "the worker is ready again")
    world.wait(late.is_ready, "the other, too")
    world.wait(lambda: {w.metric("assigned_partitions") for w in (worker, late)} == {4.0}, "they share")
    assert world.count("decisions") == 21
    assert world.count("dead_letters") == 0


def test_models_are_swapped_while_requests_are_answered(world: WorkerWorld) -> None:
    worker = world.start()
    requests: list[RecommendationRequested] = []
    done = threading.Event()

    def ask_without_end() -> None:
        while not done.is_set():
            requests.append(world.ask(f"C{len(requests) % 20}"))
            time.sleep(0.005)

    asking = threading.Thread(target=ask_without_end)
    asking.start()
    for seed in range(1, 5):
        world.publish_model(build_model(seed=seed, assets=60))
        world.wait(partial(serves, worker, seed + 1), f"model {seed} is served")
    world.artifacts.activate("v3-60")  # a rollback
    world.wait(partial(serves, worker, 6), "the rollback is served")
    last = world.ask("C1")
    done.set()
    asking.join()
    world.answers(requests)
    versions = {version for (version,) in world.rows("SELECT DISTINCT model_version FROM decisions")}
    assert {f"v{seed}-60" for seed in (1, 2, 3, 4)} <= versions
    world.answers([last])
    assert world.rows("SELECT model_version FROM decisions WHERE request_id = %s", str(last.event_id)) == [("v3-60",)]
    assert world.count("decisions") == len(requests) + 1
    assert world.count("dead_letters") == 0
    assert worker.metric("failures_total") == 0


def test_a_damaged_artifact_is_refused_and_the_old_model_serves_on(world: WorkerWorld) -> None:
    worker = world.start()
    broken = build_model(seed=2, assets=60)
    digest = world.artifacts.save_model(broken)
    arrays = world.artifacts.models_dir / "versions" / broken.version / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-10] + b"0123456789")
    pointer = {"sequence": 2, "version": broken.version, "manifest_sha256": digest}
    (world.artifacts.models_dir / "CURRENT").write_text(json.dumps(pointer))
    world.wait(lambda: worker.metric("model_swaps_total", outcome="failed") >= 1, "the artifact is refused")
    request = world.ask("C1")
    world.answers([request])
    assert world.rows("SELECT model_version FROM decisions") == [(world.model.version,)]
    assert worker.is_ready()
    refused = [line["version"] for line in worker.log_lines() if line["event"] == "model.refused"]
    assert refused == [broken.version]


def test_a_worker_without_a_model_keeps_clicks_and_answers_later(
    kafka_bootstrap_servers: str, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    with worker_world(
        bootstrap_servers=kafka_bootstrap_servers, database_url=database_url, topic_prefix=topic_prefix, folder=tmp_path
    ) as world:
        worker = world.start(ready=False)
        requests = [world.ask(f"C{index}") for index in range(20)]
        world.click("C1", world.model.id_map.isins[0])
        world.wait(lambda: world.count("user_interactions") == 1, "the click is kept")
        world.wait(lambda: worker.unready_reason() == "no model yet", "the worker says why")
        assert world.count("decisions") == 0
        world.publish_model()
        world.answers(requests)
        world.wait(worker.is_ready, "the worker is ready")


def test_an_offset_outside_the_log_stops_that_partition_alone(world: WorkerWorld) -> None:
    worker = world.start()
    customers = customer_of_partition(world)
    worker.kill()
    world.rows(
        'UPDATE consumer_offsets SET next_offset = 1000000 WHERE topic = %s AND "partition" = 0 RETURNING 1',
        RECOMMENDATIONS_REQUESTED,
    )
    worker = world.start(ready=False)
    held = world.ask(customers[0])
    world.answers([world.ask(customers[number]) for number in (1, 2, 3)])
    world.wait(lambda: worker.metric("offset_out_of_range") == 1, "the alarm is raised")
    assert "out of range" in worker.unready_reason()
    assert world.rows("SELECT 1 FROM decisions WHERE request_id = %s", str(held.event_id)) == []
    alarms = [line for line in worker.log_lines() if line["event"] == "consumer.offset_out_of_range"]
    assert len(alarms) == 1
    stored = 'SELECT next_offset FROM consumer_offsets WHERE topic = %s AND "partition" = 0'
    assert world.rows(stored, RECOMMENDATIONS_REQUESTED) == [(1000000,)]


# A worker that keeps its membership and reads, and stores nothing: as a wrong state of the loop makes it.
_STUCK_WORKER = """
import shared.liveness, worker.loop
from worker.__main__ import main

def stuck(*_, **__):
    raise KeyError("stuck")

shared.liveness.EXIT_AFTER_SECONDS = 3.0
worker.loop.handle_batch = worker.loop.narrow = stuck
raise SystemExit(main())
"""


def test_a_worker_that_stores_nothing_says_so_ends_and_its_successor_goes_on(world: WorkerWorld) -> None:
    stuck = world.start(program=_STUCK_WORKER, stall_seconds=4)
    assert stuck.get("/health/live")[0] == 200
    click, request = world.click("C1", world.model.id_map.isins[0]), world.ask("C1")
    world.wait(lambda: stuck.get("/health/live")[0] == 503, "the stuck worker is not live")
    assert "messages wait and nothing was stored for 4 s" in stuck.get("/health/live")[1]
    assert stuck.metric("stalled") == 1
    assert stuck.process.wait(timeout=60) == STALLED_EXIT_CODE
    assert "service.stalled" in {line["event"] for line in stuck.log_lines()}
    world.start()
    assert world.answers([request])
    assert world.rows("SELECT event_id::text FROM user_interactions") == [(str(click.event_id),)]


def test_a_worker_with_nothing_to_do_or_without_its_servers_stays_live(world: WorkerWorld) -> None:
    worker = world.start(stall_seconds=1.5)
    with world.database_outage():
        world.ask("C1")
        world.wait(lambda: "DatabaseUnavailable" in worker.unready_reason(), "the outage is met")
        checked = worker.metric("failures_total")
        world.wait(lambda: worker.metric("failures_total") > checked + 4, "the outage lasts longer than a stall")
        assert worker.get("/health/live")[0] == 200
    world.wait(lambda: world.count("decisions") == 1, "the request is answered")
    world.wait(lambda: worker.get("/health/live")[0] == 200, "the worker is live")
    assert worker.process.poll() is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fingerprint", "a\x00b"),
        ("occurred_at", "0001-01-01T05:00:00+05:30"),
        ("occurred_at", "9999-12-31T23:59:59Z"),
        ("customer_id", "E1/C4"),
        ("weights", {"collaborative": 1e308, "content": 1e308}),
    ],
)
def test_a_request_that_looks_valid_alone_in_its_batch_stops_nobody(world: WorkerWorld, field: str, value: Any) -> None:
    worker = world.start()
    bad = {**json.loads(encode(RecommendationRequested(customer_id="C1", action="refresh_recs"))), field: value}
    world.send(RECOMMENDATIONS_REQUESTED, key=str(bad["customer_id"]), value=json.dumps(bad).encode())
    world.wait(lambda: world.count("dead_letters") == 1, "the letter is kept")
    assert world.answers([world.ask(f"C{index}") for index in range(8)])
    assert world.rows("SELECT reason FROM dead_letters")[0][0].startswith("ContractViolation: ")
    assert worker.unready_reason() == ""


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
