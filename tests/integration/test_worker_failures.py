"""Workers as processes on the real broker and database: bugs, poison and servers that go away."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

import pytest

from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    RecommendationRequested,
    encode,
)
from shared.liveness import STALLED_EXIT_CODE
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def customer_of_partition(world: WorkerWorld) -> dict[int, str]:
    """Return one customer of each partition, by asking for a list for some."""
    requests = [world.ask(f"P{index}") for index in range(24)]
    world.answers(requests)
    return {number: name for name, number in world.rows('SELECT customer_id, "partition" FROM decisions')}


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
    # The batch failed four times, and its message once alone.
    assert worker.metric("failures_total", error="DatabaseMisused") == worker.metric("failures_total") == 5
    world.wait(worker.is_ready, "the worker is ready again")


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
    world.wait(
        lambda: {w.metric("assigned_partitions") for w in (worker, late)} == {world.all_partitions / 2}, "they share"
    )
    assert world.count("decisions") == 21
    assert world.count("dead_letters") == 0


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
