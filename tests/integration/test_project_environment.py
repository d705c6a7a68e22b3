"""A script that is called with any Python finds the environment of the project, or says what to type."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "script/generate_interactions.py",
    "script/demo.py",
    "script/dead_letters.py",
    "script/offsets.py",
    "script/bench.py",
    "FAR-Trans/script.py",
    "FAR-Trans/download.py",
    "FAR-Trans/synthesize.py",
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose path has a space, without an environment."""
    folder = tmp_path / "a clone"
    for name in ("script", "FAR-Trans"):
        ignored = shutil.ignore_patterns("*.csv", "__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    return folder


def call(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call a script with a Python that has no packages."""
    return subprocess.run([sys.executable, "-S", *arguments], cwd=clone, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_without_the_packages_is_left_for_the_environment_with_one_line(clone: Path, script: str) -> None:
    (clone / ".venv").symlink_to(sys.prefix, target_is_directory=True)

    done = call(clone, script, "--help")

    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().startswith("usage: ")
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"continuing with {clone / '.venv' / 'bin' / 'python'}")


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_an_environment_the_message_says_what_to_type(clone: Path, script: str) -> None:
    done = call(clone, script, "--help")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"The environment of the project is not set up. Type: make -C '{clone}' setup\n"


def test_arguments_arrive_as_they_were_typed(clone: Path) -> None:
    (clone / ".venv").symlink_to(sys.prefix, target_is_directory=True)

    done = call(clone, "script/generate_interactions.py", "a b; $(exit)", "Technology")

    assert done.returncode == 2
    assert "'a b; $(exit)' cannot name a customer" in done.stderr


def test_an_environment_that_lacks_the_packages_itself_does_not_call_itself_for_ever(clone: Path) -> None:
    program = clone / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    program.chmod(0o755)
    (clone / "enter.py").write_text(
        "import runpy, sys\n"
        f"sys.prefix = {str(clone / '.venv')!r}\n"
        "runpy.run_path('script/project_environment.py')['enter']('no_such_package')\n"
    )

    done = call(clone, "enter.py")

    assert done.returncode == 2
    assert done.stderr == f"The environment of the project is not complete. Type: make -C '{clone}' setup\n"


def test_a_python_with_the_packages_stays(clone: Path) -> None:
    done = subprocess.run(
        [sys.executable, "FAR-Trans/synthesize.py", "--help"], cwd=clone, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_installation_says_each_step_before_it_begins(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-n", f"VENV={tmp_path / 'new'}", "setup"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    lines = done.stdout.splitlines()
    slow = {"-m venv": "1 of 4", "--require-hashes": "2 of 4", "-e .": "3 of 4", "kafka fetch": "4 of 4"}
    for command, step in slow.items():
        (said,) = (number for number, line in enumerate(lines) if step in line)
        assert said < next(number for number, line in enumerate(lines) if command in line)
