"""make growth: parts of one small size, and a report with its plots."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from script.local.service_processes import REPOSITORY

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]
PARTS = ("load", "read", "data", "fit edlae", "model", "serve")


def test_every_kind_of_part_is_measured(tmp_path: Path) -> None:
    report = tmp_path / "growth.json"
    options = [option for part in PARTS for option in ("--part", part)]
    command = [sys.executable, "script/growth.py", "--scale", "0.01", "--assets", "150", *options]

    answer = subprocess.run([*command, "--report", str(report)], cwd=REPOSITORY, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    [size] = json.loads(report.read_text())["sizes"]
    assert tuple(size["parts"]) == PARTS
    for name, figures in size["parts"].items():
        assert figures.get("seconds", 1) > 0, (name, figures)
        assert "failed" not in figures, (name, figures)
    assert report.with_suffix(".png").stat().st_size > 0
