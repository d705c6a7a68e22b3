"""Fault campaigns as a user runs them: a short one is clean, and without any one guard it is red for that reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from script.local.service_processes import REPOSITORY
from tests.chaos.failpoints import CAMPAIGN
from tests.servers import servers_required, temporary_folder

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(600)]

SEED = "20240229"
_CANNOT_BEGIN = 3
_RED = 1
# Every kind that fits into two minutes: the others differ in length, or in the step at which somebody dies.
SHORT = (
    "poison_heads",
    "kill_at_worker.before_commit",
    "deliver_twice",
    "one_key_at_once",
    "kill_at_worker.after_commit",
    "kill_api_while_broker_is_frozen",
    "close_connections",
    "stop_postgres_at_once",
    "deadlock",
    "poison_stream",
    "fuzz_1_percent",
    "zombie",
    "serialization_failure",
    "kill_broker",
    "fuzz_50_percent",
    "dated_ahead",
    "bugs_in_handling",
    "kill_at_artifact.pointer_written",
    "damaged_artifact",
    "full_database_disk",
    "kill_all",
    "far_behind",
    "offset_out_of_range",
)


def run_campaign(folder: Path, faults: Sequence[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Run `python -m tests.chaos` to its end; return exit code and report. Skips where no server can be had."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "tests.chaos", "--seed", SEED, "--brief", "--report", str(report)]
    with temporary_folder("campaign") as place:
        place.chmod(0o711)  # as root: for the user of the database server
        command += ["--folder", str(place), "--faults", ",".join(faults), *options]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=580, check=False)
    output = done.stdout + done.stderr
    print(output)
    if done.returncode == _CANNOT_BEGIN and not servers_required():
        pytest.skip(output.strip().splitlines()[-1])
    assert report.exists(), output
    return done.returncode, json.loads(report.read_text())


def test_a_short_campaign_with_every_kind_of_fault_is_clean(tmp_path: Path) -> None:
    code, report = run_campaign(tmp_path, SHORT, "--events", "3000")

    assert (report["L"]["missing"], report["D"]["count"], report["O"]["count"], report["S"]["count"]) == (0, 0, 0, 0)
    assert report["violations"] == []
    assert code == 0
    assert report["events"]["acknowledged"] >= 3000
    assert {*report["faults"], *report["skipped"]} == set(SHORT)
    assert set(report["failpoints"]) == set(CAMPAIGN)
    assert report["recovery_seconds"]["kill worker"]["p95"] <= 20
    assert report["fuzzed"]["messages"] >= 100
    assert min(report["fuzzed"][verdict] for verdict in ("accepted", "refused", "repetitions")) > 0
    assert report["notes"]["bugs in handling"]["marked messages"] >= 300


def test_without_deduplication_events_have_two_effects(tmp_path: Path) -> None:
    code, report = run_campaign(tmp_path, ["deliver_twice"], "--events", "200", "--without", "deduplication")

    assert code == _RED
    assert report["D"]["count"] > 0


def test_without_the_offset_comparison_a_zombie_sets_offsets_back(tmp_path: Path) -> None:
    code, report = run_campaign(tmp_path, ["zombie"], "--events", "200", "--without", "offset-comparison")

    assert code == _RED
    assert report["O"]["count"] > 0


def test_without_waiting_for_the_delivery_report_acknowledged_events_are_lost(tmp_path: Path) -> None:
    faults = ["kill_api_while_broker_is_frozen"]
    code, report = run_campaign(
        tmp_path, faults, "--events", "200", "--without", "delivery-report", "--effect-timeout", "5"
    )

    assert code == _RED
    assert report["L"]["missing"] > 0


def test_without_the_checksum_a_damaged_artifact_makes_lists(tmp_path: Path) -> None:
    code, report = run_campaign(tmp_path, ["damaged_artifact"], "--events", "200", "--without", "checksum")

    assert code == _RED
    assert any("damaged artifacts" in violation for violation in report["violations"])


def test_without_isolation_one_failing_message_stops_everybody(tmp_path: Path) -> None:
    faults, options = ["bugs_in_handling"], ("--without", "isolation", "--effect-timeout", "5")
    code, report = run_campaign(tmp_path, faults, "--events", "600", *options)

    assert code == _RED
    assert any("bugs in handling, alone" in violation for violation in report["violations"])
    assert report["L"]["missing"] > 0


def test_without_the_bounds_of_the_contract_events_that_nobody_can_use_are_kept(tmp_path: Path) -> None:
    faults, options = ["fuzz_50_percent"], ("--without", "contract-bounds", "--effect-timeout", "5")
    code, report = run_campaign(tmp_path, faults, "--events", "50", *options)

    assert code == _RED
    assert report["fuzzed"]["let_through"]["count"] > 0
    assert any("occurred_at" in example for example in report["fuzzed"]["let_through"]["first"])


def test_without_the_comparison_of_contents_a_reused_event_id_makes_an_event_vanish(tmp_path: Path) -> None:
    faults, options = ["fuzz_50_percent"], ("--without", "content-comparison", "--effect-timeout", "5")
    code, report = run_campaign(tmp_path, faults, "--events", "50", *options)

    assert code == _RED
    assert any("event_id: other content" in example for example in report["fuzzed"]["let_through"]["first"])


def test_without_the_logs_order_a_click_dated_ahead_outlives_a_dismissal(tmp_path: Path) -> None:
    faults, options = ["dated_ahead"], ("--without", "log-order", "--effect-timeout", "5")
    code, report = run_campaign(tmp_path, faults, "--events", "50", *options)

    assert code == _RED
    assert report["O"]["count"] > 0


def test_without_its_guard_the_trainer_ends_at_a_command_that_fails(tmp_path: Path) -> None:
    faults, options = ["bugs_in_handling"], ("--without", "trainer-guard", "--effect-timeout", "5")
    code, report = run_campaign(tmp_path, faults, "--events", "50", *options)

    assert code == _RED
    assert "bugs in handling: the trainer ended or was started again" in report["violations"]
