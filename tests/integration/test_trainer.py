"""The trainer as a process, on the real broker and database."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from script.local.service_processes import ServiceEnvironment
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS, ModelActivated, RetrainRequested
from shared.recommender.configuration import ALGORITHMS, build_configuration
from tests.integration.trainer_process import REPOSITORY, System, eventually, load, stop_code

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_from_the_first_model_over_clicks_and_requests_to_a_rollback(system: System) -> None:
    trainer = system.trainer(KEPT_VERSIONS="3")  # the one with nothing new does not count

    (first,) = eventually(lambda: system.rows("active"))
    assert first["status"] == "promoted"
    assert first["triggered_by"] == "no model yet"
    assert first["metrics"]["selection"]["candidates"].keys() == {
        name for name in ALGORITHMS if build_configuration(name).is_available()
    }
    assert 0 < first["metrics"]["ndcg_at_10"] <= 1
    assert system.pointer() == {"sequence": 1, "version": first["version"], "manifest_sha256": first["manifest_sha256"]}
    assert trainer.answers("/health/ready")
    assert trainer.answers("/health/live")

    system.click(49)
    time.sleep(1.0)
    assert len(system.rows()) == 1
    system.click(1, first=49)
    second = eventually(lambda: system.rows("active AND sequence = 2"))[0]
    assert second["triggered_by"] == "interactions: 50 new"
    assert sum(second["watermark"]["interaction_offsets"].values()) == 50
    assert second["champion_metrics"]["ndcg_at_10"] == pytest.approx(first["metrics"]["ndcg_at_10"])
    stored = system.query(
        f"SELECT * FROM consumer_offsets WHERE topic = '{INTERACTIONS_RECORDED}' AND consumer_group = 'trainer'"
    )
    assert sum(row["next_offset"] for row in stored) == 50

    system.command(RetrainRequested(reason="with nothing new"))
    (same,) = eventually(lambda: system.rows("triggered_by LIKE 'request %: with nothing new' AND status = 'stored'"))
    assert same["reason"] == f"nothing changed: {second['version']} has the same data and configuration"
    assert system.pointer()["version"] == second["version"]

    system.click(1, first=50)
    request = RetrainRequested(reason="an operator's wish")
    system.command(request)
    third = eventually(lambda: system.rows("active AND sequence = 3"))[0]
    assert third["triggered_by"] == f"request {request.event_id}: an operator's wish"
    # A version that is replaced before its announcement is not announced.
    eventually(lambda: system.announced()[-1:] == [(third["version"], 3)])

    system.command(ModelActivated(version="never-made"))
    system.command(ModelActivated(version=first["version"]))
    eventually(lambda: system.pointer()["version"] == first["version"])
    (active,) = eventually(lambda: system.rows("active AND sequence = 4"))
    assert active["version"] == first["version"]
    expected = [(first["version"], 1), (second["version"], 2), (third["version"], 3), (first["version"], 4)]
    eventually(lambda: system.announced() == expected)
    assert stop_code(trainer) == 0


def test_interactions_that_the_worker_has_not_stored_are_not_covered(system: System) -> None:
    system.trainer()
    eventually(lambda: system.rows("active"))
    system.click(50)
    system.click(30, first=50, stored=False)
    eventually(lambda: system.rows("active AND sequence = 2"))

    stored = f"SELECT sum(next_offset) FROM consumer_offsets WHERE topic = '{INTERACTIONS_RECORDED}'"
    assert system.query(f"{stored} AND consumer_group = 'trainer'") == [{"sum": 50}]
    system.click(20, first=80)  # with them the worker stores the 30 before

    third = eventually(lambda: system.rows("active AND sequence = 3"))[0]
    assert third["triggered_by"] == "interactions: 50 new"
    assert system.query(f"{stored} AND consumer_group = 'trainer'") == [{"sum": 100}]


def test_a_killed_trainer_counts_from_where_the_last_training_ended_and_mends_its_rows(system: System) -> None:
    trainer = system.trainer()
    eventually(lambda: system.rows("active"))
    system.click(30)
    time.sleep(1.0)
    trainer.kill()
    # As if it had died in the middle of a training.
    system.execute(
        "INSERT INTO model_versions (version, status, triggered_by, progress) "
        "VALUES ('20000101T000000Z-dead', 'training', 'no model yet', 'reading')"
    )

    system.trainer()
    system.click(20, first=30)

    eventually(lambda: system.rows("triggered_by = 'interactions: 50 new' AND status = 'promoted'"))
    (dead,) = system.rows("version = '20000101T000000Z-dead'")
    assert (dead["status"], dead["reason"]) == ("failed", "the trainer ended before it was done")


def test_sigterm_in_the_middle_of_a_training_ends_it_cleanly(system: System) -> None:
    trainer = system.trainer()
    eventually(lambda: system.rows("active"))
    system.click(1)
    system.command(RetrainRequested(reason="long"))
    eventually(lambda: system.rows("status = 'training' AND progress <> 'queued'"))

    began = time.monotonic()
    assert stop_code(trainer) == 0
    assert time.monotonic() - began < 15

    assert system.rows("status = 'training' AND progress <> 'queued'") == []
    sequence = system.pointer()["sequence"]
    system.trainer()
    eventually(lambda: system.rows("triggered_by LIKE 'request%: long' AND status = 'promoted'"))
    eventually(lambda: system.rows(f"active AND sequence = {max(2, sequence)}"))


def test_a_second_trainer_stands_by_and_takes_over(system: System) -> None:
    first = system.trainer()
    eventually(lambda: system.rows("active"))
    second = system.trainer()
    eventually(lambda: second.answers("/health/ready"))
    eventually(lambda: "trainer.standing_by" in second.log_file.read_text())
    system.click(50)
    eventually(lambda: system.rows("active AND sequence = 2"))
    assert "training.started" not in second.log_file.read_text()

    first.kill()
    system.click(50, first=50)

    eventually(lambda: system.rows("active AND sequence = 3"))
    assert "training.started" in second.log_file.read_text()


def test_poison_is_dead_lettered_once_and_does_not_stop_the_trainer(system: System) -> None:
    system.trainer()
    eventually(lambda: system.rows("active"))
    raw = system.publisher._producer
    raw.produce(system.prefix + INTERACTIONS_RECORDED, b"\xff\x00", b"C1")
    raw.produce(system.prefix + MODELS_COMMANDS, b'{"event_type": "RetrainRequested", "reason": 7}', b"hybrid")
    raw.flush(10)
    system.click(50)

    eventually(lambda: system.rows("active AND sequence = 2"))
    letters = system.query("SELECT topic, consumer_group FROM dead_letters ORDER BY topic")
    assert [tuple(row.values()) for row in letters] == [
        (INTERACTIONS_RECORDED, "trainer"),
        (MODELS_COMMANDS, "trainer"),
    ]


def test_data_that_arrives_late_is_waited_for(empty_system: System, reference_folder: Path) -> None:
    trainer = empty_system.trainer()
    eventually(lambda: "training.not_enough_data" in trainer.log_file.read_text())
    assert empty_system.rows() == []

    load(empty_system, reference_folder)
    empty_system.command(RetrainRequested(reason="now there is data"))

    eventually(lambda: empty_system.rows("active"))
    assert trainer.log_file.read_text().count("training.not_enough_data") == 1


def test_once_trains_a_first_model_and_exits(system: System) -> None:
    def once(*options: str) -> int:
        surroundings = ServiceEnvironment(system.bootstrap_servers, system.database_url, system.models, system.prefix)
        command = [sys.executable, "-m", "trainer", "--once", *options]
        return subprocess.run(command, env=surroundings.variables(), cwd=REPOSITORY, capture_output=True).returncode

    assert once() == 0
    (row,) = system.rows()
    assert (row["active"], row["sequence"]) == (True, 1)
    assert once("--force") == 0
    assert system.pointer()["sequence"] == 1  # the data are the same
    system.click(1)
    assert once("--force") == 0
    assert system.pointer()["sequence"] == 2


def test_interactions_kept_by_the_worker_are_in_the_model(system: System) -> None:
    moment = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    system.execute(
        "INSERT INTO user_interactions "
        "(event_id, customer_id, isin, interaction_type, occurred_at, partition, event_offset) "
        f"SELECT gen_random_uuid(), 'a new customer', isin, 'click', '{moment}', 0, 0 "
        "FROM (SELECT DISTINCT isin FROM asset_information ORDER BY isin LIMIT 3) AS three"
    )
    system.trainer()

    (row,) = eventually(lambda: system.rows("active"))

    assert row["watermark"]["interactions"] == 3
    manifest = json.loads((system.models / "versions" / row["version"] / "manifest.json").read_text())
    assert manifest["metadata"]["watermark"]["interactions"] == 3
