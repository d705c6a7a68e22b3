"""Which system of this clone runs now: the demo, which leaves a note in its state folder, or docker compose.

`python -m script.running_system` prints the address of the demo's database, or `compose`, for FAR-Trans/script.py.
Nobody is asked who only happens to listen on a well-known port.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from script.demo_setup import DemoRefused, state_root
from script.local.service_processes import REPOSITORY

NOTE_FILE = "running.json"
COMPOSE = "compose"
_COMPOSE_TIMEOUT_SECONDS = 20.0
_PUBLISHED = re.compile(r"(?P<host>[0-9.]+):(?P<port>[1-9][0-9]{0,4})")


@dataclass(frozen=True)
class RunningDemo:
    """What a running demo says of itself; pid and start time tell its process from a later one."""

    api_url: str
    database_url: str
    pid: int
    process_started: float


@contextmanager
def noted_demo(root: Path, *, api_url: str, database_url: str) -> Iterator[None]:
    """Leave a note about this process, which only its user can read, and remove it at the end."""
    demo = RunningDemo(api_url, database_url, os.getpid(), psutil.Process().create_time())
    note, new = root / NOTE_FILE, root / f"{NOTE_FILE}.new"
    new.unlink(missing_ok=True)
    new.touch(0o600, exist_ok=False)  # before anything secret is in it
    new.write_text(json.dumps(asdict(demo)))
    new.replace(note)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def find_demo() -> RunningDemo | None:
    """Return the running demo of this clone; None also when the note is of a process that ended, or is damaged."""
    with suppress(OSError, ValueError, TypeError, DemoRefused, psutil.Error):
        demo = RunningDemo(**json.loads((state_root() / NOTE_FILE).read_text()))
        if abs(psutil.Process(demo.pid).create_time() - demo.process_started) < 1.0:
            return demo
    return None


def find_compose_api() -> str | None:
    """Return the address at which docker compose publishes the gateway of this clone, None when it does not run."""
    published = _compose("port", "api", "8000")
    match = _PUBLISHED.fullmatch(published.strip())
    if match is None:
        return None
    host = "127.0.0.1" if match["host"] == "0.0.0.0" else match["host"]  # noqa: S104  (an answer, not a binding)
    return f"http://{host}:{match['port']}"


def has_compose_database() -> bool:
    """Return whether the PostgreSQL of this clone's docker compose runs; only its own network reaches it."""
    return bool(_compose("ps", "--quiet", "--status", "running", "postgres").strip())


def _compose(*arguments: str) -> str:
    command = ["docker", "compose", "--project-directory", str(REPOSITORY), *arguments]
    with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMPOSE_TIMEOUT_SECONDS, check=True, cwd=REPOSITORY
        )
        return done.stdout
    return ""


def main() -> int:
    """Print where the database is; the exit code is 1 when no system of this clone runs."""
    if demo := find_demo():
        print(demo.database_url)
    elif has_compose_database():
        print(COMPOSE)
    else:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
