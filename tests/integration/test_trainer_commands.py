"""Commands from the real gateway to a real trainer: bounded work, cancellation, messages that break the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from shared.events import MODELS_COMMANDS, ModelActivated, RetrainRequested, encode
from tests.integration.gateway_process import GatewayProcess, gateway_process
from tests.integration.trainer_process import System, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

REQUESTED = "triggered_by LIKE 'request %'"


@pytest.fixture
def gateway(system: System) -> Iterator[GatewayProcess]:
    with gateway_process(
        bootstrap_servers=system.bootstrap_servers, database_url=system.database_url, topic_prefix=system.prefix
    ) as gateway:
        gateway.wait_until_ready()
        yield gateway


@contextmanager
def trainings_held(system: System) -> Iterator[None]:
    """Let a training wait where it reads, as long as this lasts."""
    connection = psycopg2.connect(system.database_url)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE close_prices IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        connection.close()


def handled_commands(system: System) -> int:
    rows = system.query(f"SELECT next_offset FROM consumer_offsets WHERE topic = '{MODELS_COMMANDS}'")
    return int(rows[0]["next_offset"]) if rows else 0


def test_a_retrain_button_pressed_300_times_leaves_at_most_two_trainings(
    system: System, gateway: GatewayProcess
) -> None:
    trainer = system.trainer()
    eventually(lambda: system.rows("active"))
    with trainings_held(system):
        for _ in range(300):
            assert gateway.http.post("/models/retrain", json={"reason": "pressed"}).json() == {"status": "ok"}
        eventually(lambda: handled_commands(system) == 300)
        assert len(system.rows("status = 'training'")) <= 2

    eventually(lambda: not system.rows("status = 'training'"), seconds=120)

    assert 1 <= len(system.rows(REQUESTED)) <= 2
    assert {row["status"] for row in system.rows(REQUESTED)} <= {"promoted", "stored"}
    assert len(system.query("SELECT event_id FROM model_commands")) == 300
    log = trainer.log_file.read_text()
    assert log.count("retrain.requested") <= 2
    assert log.count("retrain.joined") == 0  # debug


def test_a_cancellation_ends_what_runs_and_what_waits_and_a_new_request_starts_at_once(
    system: System, gateway: GatewayProcess
) -> None:
    system.trainer()
    (first,) = eventually(lambda: system.rows("active"))
    with trainings_held(system):
        gateway.http.post("/models/retrain", json={"reason": "runs"})
        eventually(lambda: system.rows("progress = 'reading' AND status = 'training'"))
        gateway.http.post("/models/retrain", json={"reason": "waits"})
        eventually(lambda: system.rows("progress = 'queued' AND status = 'training'"))

        answer = gateway.http.delete("/models/retrain")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        eventually(lambda: not system.rows("status = 'training'"))
        gateway.http.post("/models/retrain", json={"reason": "after all"})
        eventually(lambda: handled_commands(system) == 4)

    eventually(lambda: system.rows("triggered_by LIKE 'request %: after all' AND status IN ('promoted', 'stored')"))
    ended = system.rows(f"{REQUESTED} AND status = 'failed'")
    assert {(row["triggered_by"].rpartition(": ")[2], row["reason"]) for row in ended} == {
        ("runs", "cancelled on request"),
        ("waits", "cancelled on request"),
    }
    assert len(system.rows()) == 1 + 3
    assert system.rows(f"version = '{first['version']}' AND status = 'promoted'")


def hostile_commands() -> list[bytes]:
    """Return messages that look valid and are not, or not to everybody."""
    good: dict[str, Any] = json.loads(encode(RetrainRequested(reason="good")))
    changes: list[dict[str, Any]] = [
        *({"reason": reason} for reason in ("a\x00b", "x" * 201, "\u2028", 7, None, ["x"], {"x": "\x00"})),
        *({"event_id": event_id} for event_id in ("", "x", "\x00", 7, None, "0" * 10_000)),
        *(
            {"occurred_at": moment}
            for moment in ("0001-01-01T05:00:00+05:30", "9999-12-31T23:59:59Z", "now", -1e300, 1e18)
        ),
        *({"schema_version": version} for version in (0, 2, 10**30, "1", None, 1.5)),
        *({"event_type": name} for name in ("RecommendationRequested", "\x00", "", None)),
        *({"fingerprint": text} for text in ("", "\x00", " ", "x" * 65)),
        *({"event_type": "ModelActivated", "version": name} for name in ("", "../x", "a\x00", ".", "x" * 65, None)),
    ]
    values = [json.dumps({**good, "event_id": str(uuid4()), **change}).encode() for change in changes]
    raw = [b"", b"\x00", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 60_000, b'"' + b"x" * 60_000 + b'"']
    return values + raw


def test_whatever_a_command_holds_the_trainer_lives_and_the_good_ones_have_their_effect(system: System) -> None:
    trainer = system.trainer()
    (first,) = eventually(lambda: system.rows("active"))
    reused = RetrainRequested(reason="before")
    hostile = hostile_commands()
    raw = system.publisher._producer
    raw.produce(system.prefix + MODELS_COMMANDS, encode(reused), b"hybrid")
    for value in hostile:
        raw.produce(system.prefix + MODELS_COMMANDS, value, b"hybrid")
    other = RetrainRequested(event_id=reused.event_id, reason="other content")
    raw.produce(system.prefix + MODELS_COMMANDS, encode(other), b"hybrid")
    raw.flush(10)
    system.command(ModelActivated(version="never-made"))

    eventually(lambda: handled_commands(system) == len(hostile) + 3)
    eventually(lambda: system.rows(f"triggered_by = 'request {reused.event_id}: before' AND status <> 'training'"))

    reasons = [row["reason"] for row in system.query("SELECT reason FROM dead_letters ORDER BY event_offset")]
    assert len(reasons) == len(hostile) + 1
    assert {reason.partition(":")[0] for reason in reasons[:-1]} == {"ContractViolation"}
    assert reasons[-1].startswith("EventIdReused: ")
    assert trainer.is_running
    assert trainer.answers("/health/ready")
    assert len(system.rows()) == 2
    assert first["version"] in {row["version"] for row in system.rows()}
