"""Requested trainings and commands in the trainer's store, real and fake: one waits, and each command counts once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, insert, text

from shared.errors import StaleOffsets
from shared.events import MODELS_COMMANDS, RetrainCancelled, RetrainRequested, content_digest
from shared.ports import Pointer, StoredOffset
from shared.postgres import tables
from shared.postgres.dead_letter_store import DeadLetterBox
from tests.integration.trainer_process import postgres_store
from tests.unit.trainer.service.trainer_fakes import build_command
from trainer.service.ports import Command, FinishedTraining, TrainerStore

COMMANDS = (MODELS_COMMANDS, 0)
DIGEST = "a" * 64


def finished(version: str) -> FinishedTraining:
    figures: dict[str, Any] = {"metrics": {}, "configuration": {}, "watermark": {}, "champion_metrics": None}
    return FinishedTraining(
        version, "promoted", "a reason", algorithm="ease", manifest_sha256=DIGEST, next_offsets={}, **figures
    )


def test_a_request_is_queued_with_its_offset_and_others_join_it_until_it_begins(store: TrainerStore) -> None:
    first, third = uuid4(), uuid4()
    assert store.queue_training("v1", command=build_command(1, first), reason="please")
    assert not store.queue_training("v2", command=build_command(2), reason="")
    assert not store.queue_training("v3", command=build_command(3, first), reason="please")
    queued = store.fetch_queued()
    assert queued is not None
    assert (queued.version, queued.triggered_by) == ("v1", f"request {first}: please")

    store.start_training("v1", triggered_by=queued.triggered_by)
    assert store.fetch_queued() is None
    assert not store.queue_training("v4", command=build_command(4, first), reason="please")
    assert store.queue_training("v5", command=build_command(5, third), reason="again")

    queued = store.fetch_queued()
    assert queued is not None
    assert queued.version == "v5"
    assert store.fetch_offsets([COMMANDS]) == {COMMANDS: StoredOffset(5)}


def test_a_command_is_known_by_what_it_said_once_it_had_its_effect(store: TrainerStore) -> None:
    retrain, activate, refuse, cancel = uuid4(), uuid4(), uuid4(), uuid4()
    assert store.fetch_command_digest(retrain) is None

    store.queue_training("v1", command=build_command(1, retrain, digest="one"), reason="")
    store.record_pointer(Pointer(1, "v1", DIGEST), command=build_command(2, activate, digest="two"))
    store.record_refusal("v9", reason="missing", command=build_command(3, refuse, digest="three"))
    store.cancel_trainings(command=build_command(4, cancel, digest="four"), reason="cancelled")
    store.queue_training("v2", command=build_command(5, retrain, digest="another"), reason="")
    store.store_offsets({COMMANDS: 6})

    digests = [store.fetch_command_digest(event_id) for event_id in (retrain, activate, refuse, cancel)]
    assert digests == ["one", "two", "three", "four"]
    assert store.fetch_offsets([COMMANDS]) == {COMMANDS: StoredOffset(6)}
    with pytest.raises(StaleOffsets):
        store.store_offsets({COMMANDS: 5})


def test_a_cancellation_ends_what_waits_and_what_runs_and_nothing_else(store: TrainerStore) -> None:
    store.start_training("done", triggered_by="x")
    store.finish_training(finished("done"))
    store.start_training("running", triggered_by="interactions: 50 new")
    store.queue_training("waiting", command=build_command(1), reason="please")

    cancelled = store.cancel_trainings(command=build_command(2), reason="cancelled on request")

    assert (cancelled.running, cancelled.queued) == (("running",), ("waiting",))
    assert store.fetch_queued() is None
    assert store.fetch_unpointed() == ["done"]
    with pytest.raises(StaleOffsets):
        store.store_progress("running", "fitting")
    with pytest.raises(StaleOffsets):
        store.finish_training(finished("running"))
    with pytest.raises(StaleOffsets):
        store.start_training("waiting", triggered_by="request")
    assert list(store.abandon_trainings(reason="stopped", retry_version="v9", counts=False)) == []
    assert store.queue_training("next", command=build_command(3), reason="once more")


def test_an_abandoned_request_joins_the_one_that_waits(store: TrainerStore) -> None:
    first = uuid4()
    store.queue_training("v1", command=build_command(1, first), reason="please")
    store.start_training("v1", triggered_by=f"request {first}: please")
    store.queue_training("v2", command=build_command(2), reason="me, too")

    assert list(store.abandon_trainings(reason="died", retry_version="v3", counts=True)) == ["v1"]

    queued = store.fetch_queued()
    assert queued is not None
    assert queued.version == "v2"
    store.start_training("v2", triggered_by="x")
    assert store.fetch_queued() is None


def test_an_abandoned_request_is_repeated_once_and_others_are_not(store: TrainerStore) -> None:
    request = uuid4()
    store.queue_training("v1", command=build_command(1, request), reason="please: now")
    store.start_training("v1", triggered_by=f"request {request}: please: now")
    assert list(store.abandon_trainings(reason="died", retry_version="v2", counts=True)) == ["v1"]
    again = store.fetch_queued()
    assert again is not None
    assert (again.version, again.triggered_by) == ("v2", f"request {request} again: please: now")

    store.start_training("v2", triggered_by=again.triggered_by)
    assert list(store.abandon_trainings(reason="died", retry_version="v3", counts=True)) == ["v2"]
    assert store.fetch_queued() is None
    store.start_training("v4", triggered_by="interactions: 50 new")
    assert list(store.abandon_trainings(reason="died", retry_version="v5", counts=True)) == ["v4"]
    assert store.fetch_queued() is None


def test_a_request_that_was_stopped_politely_does_not_use_up_its_repetition(store: TrainerStore) -> None:
    request = uuid4()
    store.queue_training("v1", command=build_command(1, request), reason="please")
    store.start_training("v1", triggered_by="please")
    store.abandon_trainings(reason="stopped", retry_version="v2", counts=False)

    queued = store.fetch_queued()
    assert queued is not None
    assert queued.triggered_by == f"request {request}: please"


@pytest.mark.parametrize("reason", ["", "now: at once", f"request {UUID(int=1)} again: x", " again: x", "a\nb"])
def test_a_reason_comes_back_unchanged_whatever_it_looks_like(store: TrainerStore, reason: str) -> None:
    request = uuid4()
    store.queue_training("v1", command=build_command(1, request), reason=reason)
    store.start_training("v1", triggered_by="x")
    store.abandon_trainings(reason="died", retry_version="v2", counts=True)

    queued = store.fetch_queued()
    assert queued is not None
    assert (queued.version, queued.request_id, queued.request_reason) == ("v2", request, reason)


def test_text_that_looks_like_the_queue_decides_nothing(store: TrainerStore) -> None:
    """What a training says of itself is for people: only columns say that it waits, or was requested."""
    store.start_training("v1", triggered_by=f"request {UUID(int=1)} again: x")
    store.store_progress("v1", "queued")
    assert store.fetch_queued() is None
    assert store.queue_training("v2", command=build_command(1, UUID(int=1)), reason="please")

    assert list(store.abandon_trainings(reason="stopped", retry_version="v3", counts=False)) == ["v1"]
    queued = store.fetch_queued()
    assert queued is not None
    assert queued.version == "v2"


def test_a_training_that_nobody_requested_is_not_queued_again(store: TrainerStore) -> None:
    store.start_training("v1", triggered_by=f"request {UUID(int=1)}: x")

    assert list(store.abandon_trainings(reason="stopped", retry_version="v2", counts=False)) == ["v1"]
    assert store.fetch_queued() is None


def test_queued_requests_are_not_abandoned(store: TrainerStore) -> None:
    store.queue_training("v1", command=build_command(1), reason="x")

    assert list(store.abandon_trainings(reason="died", retry_version="v2", counts=True)) == []
    assert store.fetch_queued() is not None


# --- what only the real database can show ---


@pytest.mark.postgres
def test_requests_that_an_older_version_queued_one_by_one_become_one(engine: Engine) -> None:
    store = postgres_store(engine)
    with engine.begin() as connection:
        for number in range(300):
            row = {"version": f"v{number:03d}", "status": "training", "progress": "queued"}
            connection.execute(insert(tables.model_versions).values(triggered_by=f"request {uuid4()}: x", **row))
    store.start_training("v000", triggered_by="x")

    store.abandon_trainings(reason="died", retry_version="w", counts=True)

    queued = store.fetch_queued()
    assert queued is not None
    assert queued.version == "v001"
    with engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM model_versions WHERE status = 'training'")).scalar_one()
        joined = text("SELECT count(*) FROM model_versions WHERE status = 'failed' AND reason = 'joined v001'")
        assert (left, connection.execute(joined).scalar_one()) == (1, 298)


@pytest.mark.postgres
def test_code_of_the_release_before_queues_and_begins_trainings_on_the_new_schema(engine: Engine) -> None:
    """As it writes them: text alone."""
    store, request = postgres_store(engine), uuid4()
    row = {
        "version": "v1",
        "status": "training",
        "progress": "queued",
        "triggered_by": f"request {request} again: a: b",
    }
    with engine.begin() as connection:
        connection.execute(insert(tables.model_versions).values(**row))
    queued = store.fetch_queued()
    assert queued is not None
    assert (queued.version, queued.request_id, queued.request_reason) == ("v1", request, "a: b")
    assert not store.queue_training("v2", command=build_command(1), reason="joins it")

    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET progress = 'started' WHERE version = 'v1'"))
    assert store.fetch_queued() is None
    assert list(store.abandon_trainings(reason="died", retry_version="v3", counts=True)) == ["v1"]
    assert store.fetch_queued() is None  # it was a repetition already


@pytest.mark.postgres
def test_the_release_before_reads_what_this_one_queues(engine: Engine) -> None:
    request = uuid4()
    postgres_store(engine).queue_training("v1", command=build_command(1, request), reason="please")

    with engine.connect() as connection:
        row = connection.execute(text("SELECT status, progress, triggered_by FROM model_versions")).one()
    assert tuple(row) == ("training", "queued", f"request {request}: please")


@pytest.mark.postgres
def test_trainers_that_queue_at_the_same_time_leave_one_that_waits(engine: Engine) -> None:
    """Groups of their own, so that their offsets have nothing in common: the queue itself keeps them apart."""
    barrier = threading.Barrier(4)

    def ask(number: int) -> bool:
        store = postgres_store(engine, f"group {number}")
        barrier.wait(30)
        return store.queue_training(f"v{number}", command=build_command(1), reason="x")

    for _ in range(10):
        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(ask, range(4))) == [False, False, False, True]
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM model_versions"))


@pytest.mark.postgres
def test_whoever_looks_at_a_dead_letter_sees_what_its_command_stands_for_already(
    engine: Engine, database_url: str
) -> None:
    event = RetrainRequested(reason="before")
    command = Command(event.event_id, "RetrainRequested", content_digest(event), {COMMANDS: 1})
    box = DeadLetterBox(database_url)
    assert box.fetch_kept(event) is None

    postgres_store(engine).queue_training("v1", command=command, reason=event.reason)

    earlier = box.fetch_kept(RetrainCancelled(event_id=event.event_id))
    assert earlier is not None
    assert earlier.content_digest == content_digest(event)
