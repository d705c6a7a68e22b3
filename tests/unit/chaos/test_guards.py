"""Guards that are taken out: without them the code does the wrong thing that the campaign has to see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from shared import events
from shared.errors import ContractViolation, DatabaseUnavailable
from shared.kafka.producer import KafkaEventPublisher
from shared.recommender import pipeline
from shared.recommender.types import Customer, CustomerHistory
from tests.builders import build_model
from tests.chaos import guards
from tests.chaos.bugs import BUG_REASON, FAILS_IN_SCORING, set_bugs
from tests.chaos.fuzzed_events import Fuzzer
from trainer.service.store import PostgresTrainerStore
from worker import queries as worker_queries
from worker.store import PostgresWorkerTransaction

NOW = datetime.now(UTC)


def test_without_the_contract_refused_events_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fuzzer = Fuzzer(1, isins=("GRS434003000", "US0378331005"), largest_bytes=20_000, now=lambda: NOW)
    refused = [each for each in islice(iter(fuzzer.customer_event, None), 2000) if each.refused_by == "reader"]
    guards.accept_any_content(put=monkeypatch.setattr)

    read = set()
    for each in refused:
        try:
            event = events.decode(each.topic, each.value, logged_at=NOW)
        except ContractViolation:
            continue
        read.add((each.field, each.change))
        assert isinstance(event, events.Event)

    assert {
        ("occurred_at", "year 1"),
        ("occurred_at", "more than a day ahead"),
        ("fingerprint", "NUL"),
        ("customer_id", "control character"),
        ("weights", "too large"),
    } <= read


def test_without_the_comparison_of_contents_a_reused_id_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(PostgresWorkerTransaction, "insert_dead_letters", lambda _, letters: kept.extend(letters))
    guards.drop_reused_ids(put=monkeypatch.setattr)

    transaction: Any = PostgresWorkerTransaction.__new__(PostgresWorkerTransaction)
    transaction.insert_dead_letters([("a", "EventIdReused: of another"), ("b", "UnknownAsset: X")])

    assert kept == [("b", "UnknownAsset: X")]


def test_without_the_logs_order_interactions_are_read_by_the_senders_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    guards.order_by_the_senders_clock(put=monkeypatch.setattr)

    ordering = [line for line in worker_queries.INTERACTIONS.splitlines() if "ORDER BY" in line]
    assert ordering
    assert all("occurred_at" in line and "sequence" not in line for line in ordering)


@pytest.mark.parametrize(
    ("error", "ends"), [(RuntimeError("a bug"), SystemExit), (DatabaseUnavailable("away"), DatabaseUnavailable)]
)
def test_without_the_trainers_guard_an_unknown_error_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, error: Exception, ends: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(PostgresTrainerStore, "queue_training", fail)
    guards.end_on_unknown_errors(put=monkeypatch.setattr)
    store: Any = PostgresTrainerStore.__new__(PostgresTrainerStore)

    with pytest.raises(ends):
        store.queue_training("version", reason="any")


def test_scoring_fails_for_marked_customers_and_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    set_bugs(put=monkeypatch.setattr)
    good = CustomerHistory(Customer("C1"), (), ())
    marked = CustomerHistory(Customer(f"{FAILS_IN_SCORING}1"), (), ())

    assert len(pipeline.recommend(build_model(assets=20), [good], k=3, now=NOW)) == 1
    with pytest.raises(RuntimeError, match="marked"):
        pipeline.recommend(build_model(assets=20), [good, marked], k=3, now=NOW)


def test_a_marked_command_fails_before_it_has_any_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[str] = []
    monkeypatch.setattr(PostgresTrainerStore, "queue_training", lambda _, version, **__: queued.append(version))
    set_bugs(put=monkeypatch.setattr)
    store: Any = PostgresTrainerStore.__new__(PostgresTrainerStore)

    store.queue_training("good", reason="requested")
    with pytest.raises(RuntimeError, match="marked"):
        store.queue_training("bad", reason=f"{BUG_REASON}1")

    assert queued == ["good"]


@pytest.mark.parametrize("remove", guards.TAKE_OUT.values())
def test_a_guard_that_is_removed_exists(remove: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[object] = []

    def put(owner: Any, name: str, replacement: object) -> None:
        assert replacement is not getattr(owner, name)
        replaced.append(replacement)
        monkeypatch.setattr(owner, name, replacement)

    remove(put=put)

    assert replaced


def test_without_waiting_for_the_delivery_report_an_event_is_published_before_the_broker_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acknowledged: list[str] = []

    async def run() -> None:
        broker = asyncio.Event()

        async def publish(_: object, topic: str, **__: object) -> None:
            await broker.wait()
            acknowledged.append(topic)

        monkeypatch.setattr(KafkaEventPublisher, "publish", publish)
        guards.answer_before_the_acknowledgement(put=monkeypatch.setattr)
        publisher: Any = KafkaEventPublisher({"delivery.timeout.ms": 1000})
        await publisher.publish("topic", key="C1", event=None)
        assert acknowledged == []
        broker.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert acknowledged == ["topic"]
