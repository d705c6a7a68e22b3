"""A parallel session runs the tests of a file that starts servers in one process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.scheduling import group_of

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = """
import time
import pytest

@pytest.mark.parametrize("number", range(6))
def test_number(number):
    time.sleep(0.05)  # the other process has time to take one, if it may
"""


def run_session(folder: Path, *files: str) -> dict[str, set[str]]:
    """Run a session of two processes, distributed as `make test` does, and return the processes of each file."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    (options,) = re.findall(r"-n \$\(PROCESSES\) (--dist \S+ \S+)", (REPOSITORY / "Makefile").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "tests.scheduling", "-n", "2", *options.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    processes: dict[str, set[str]] = defaultdict(set)
    for process, file in re.findall(r"^\[(gw\d)\] .*PASSED (\S+?)::", done.stdout, flags=re.MULTILINE):
        processes[file].add(process)
    return processes


def test_the_tests_of_a_file_that_starts_servers_run_in_one_process(tmp_path: Path) -> None:
    names = ("integration/test_one.py", "integration/test_two.py", "e2e/test_three.py", "chaos/test_campaign.py")
    files = tuple(f"checks/{name}" for name in names)

    processes = run_session(tmp_path, *files)

    assert set(processes) == set(files)
    assert all(len(used) == 1 for used in processes.values()), processes


def test_the_tests_of_a_file_that_shares_nothing_are_spread(tmp_path: Path) -> None:
    processes = run_session(tmp_path, "checks/slow/test_one.py")

    assert processes == {"checks/slow/test_one.py": {"gw0", "gw1"}}


def test_parameters_of_a_test_do_not_change_its_group() -> None:
    assert group_of("tests/integration/ports/test_a.py::test_b[unit/x::y]") == "tests/integration/ports/test_a.py"
    assert group_of("tests/unit/test_a.py::test_b[1]") != group_of("tests/unit/test_a.py::test_b[2]")
