"""make growth: what gateway, workers and the database cost, with real processes at one small size."""

from __future__ import annotations

from pathlib import Path

import pytest

from script.growing.measurements import measure
from script.growing.running import measure_consumer_group
from shared.far_trans.synthetic import synthesize

pytestmark = [pytest.mark.postgres, pytest.mark.kafka, pytest.mark.timeout(900)]
PARTS = ("load", "data", "model", "answer", "months")
CUSTOMERS = 300


# The parts run in this process, and not each in one of its own as `make growth` runs them (test_growth): most of the
# time would be that of their imports.
def test_gateway_workers_and_look_ups_are_measured(
    kafka_bootstrap_servers: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    folder = tmp_path / "0.01-150"
    folder.mkdir()
    synthesize(folder, 0.01, assets=150)

    figures = {part: measure(part, folder) for part in PARTS}
    # A group on the broker of all tests: one more would take a quarter of the time.
    figures["workers"] = measure_consumer_group(folder, bootstrap_servers=kafka_bootstrap_servers)

    for part, found in figures.items():
        # A POST does not use the database, and a small burst may take it less than the unit of its CPU times.
        assert all(figure > 0 or "database" in name for name, figure in found.items()), (part, found)
    assert figures["answer"]["lists"] == figures["workers"]["requests"] == CUSTOMERS
