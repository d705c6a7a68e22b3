"""make bench: a quick run measures every leg, and no leg is far below its target (ratios with wide bounds only)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from script.local.service_processes import REPOSITORY

pytestmark = [pytest.mark.postgres, pytest.mark.kafka, pytest.mark.timeout(600)]

# A tenth of the target: a shared machine changes a ratio by some tens of percent, a lost index or batch by far more.
LEAST_SHARE_OF_TARGET = 0.1


def list_databases(url: str) -> set[str]:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'")
            return {name for (name,) in cursor.fetchall()}
    finally:
        connection.close()


@pytest.mark.parametrize("legs", [("gateway", "reads"), ("worker", "latency"), ("training", "load")])
def test_no_leg_is_far_below_its_target(
    legs: tuple[str, ...], tmp_path: Path, postgres_admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_admin_url)
    file = tmp_path / "speed.json"
    options = [option for leg in legs for option in ("--leg", leg)]
    command = [sys.executable, "script/bench.py", "--quick", "--report", str(file), *options]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    report = json.loads(file.read_text())
    measured = {row["name"]: row for row in report["legs"]}
    assert measured
    for name, row in measured.items():
        assert row["ours"] > 0, name
        assert row["limit"] > 0, name
        if row["target"] is not None:
            assert row["ratio"] >= LEAST_SHARE_OF_TARGET * row["target"], row
    assert file.with_suffix(".png").stat().st_size > 0
    assert list_databases(postgres_admin_url) == set()
