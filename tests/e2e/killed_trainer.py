"""A trainer that kills itself (SIGKILL) at a named step of a publication: python -m tests.e2e.killed_trainer

Reads one step a line from standard input ("none" for no death), trains once in a fork of itself, and prints how that
ended: the negative number of a signal, else the exit code. A fork, so that everything is imported only once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.artifacts import publication as artifacts
from shared.artifacts.publication import FileArtifacts
from trainer.__main__ import main
from trainer.service.model_registry import ModelRegistry
from trainer.service.store import PostgresTrainerStore

Condition = Callable[..., bool]


def die() -> None:
    """End this process as a crash of the machine's kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, when: Condition = lambda *_, **__: True) -> None:
    """Die in place of a call."""
    original = getattr(owner, name)

    def replaced(*args: Any, **options: Any) -> Any:
        if when(*args, **options):
            die()
        return original(*args, **options)

    setattr(owner, name, replaced)


def after(owner: Any, name: str, when: Condition = lambda *_, **__: True) -> None:
    """Die right after a call."""
    original = getattr(owner, name)

    def replaced(*args: Any, **options: Any) -> Any:
        answer = original(*args, **options)
        if when(*args, **options):
            die()
        return answer

    setattr(owner, name, replaced)


def is_file(name: str) -> Condition:
    """Return a condition on a call whose first argument is a path."""
    return lambda path, *_: bool(path.name == name)


def goes_to(beginning: str) -> Condition:
    """Return a condition on `path.rename(target)`."""
    return lambda _, target: Path(target).name.startswith(beginning)


# In the order of a publication; between any two of them the trainer can be killed.
STEPS: dict[str, Callable[[], None]] = {
    "nothing is written": lambda: before(FileArtifacts, "save_model"),
    "the arrays are written": lambda: after(artifacts, "write_file", is_file("arrays.npz")),
    "the manifest is written": lambda: after(artifacts, "write_file", is_file("manifest.json")),
    "the files are synced": lambda: before(FileArtifacts, "_publish"),
    "the version has its name": lambda: after(Path, "rename", goes_to("2")),
    "the version is saved": lambda: after(FileArtifacts, "save_model"),
    "the result is not recorded": lambda: before(PostgresTrainerStore, "finish_training"),
    "the result is recorded": lambda: after(PostgresTrainerStore, "finish_training"),
    "the new pointer is beside the old": lambda: before(Path, "replace"),
    "the pointer is replaced": lambda: after(Path, "replace"),
    "the pointer is synced": lambda: before(FileArtifacts, "_prune"),
    "an old version is half removed": lambda: after(Path, "rename", goes_to(".tmp-")),
    "the pointer is not recorded": lambda: before(PostgresTrainerStore, "record_pointer"),
    "the pointer is recorded": lambda: after(PostgresTrainerStore, "record_pointer"),
    "the announcement is not sent": lambda: before(ModelRegistry, "publish_pending"),
    "the announcement is sent": lambda: after(ModelRegistry, "publish_pending"),
    "none": lambda: None,
}


def train_and_die(step: str) -> int:
    """Train once in a child process; return how it ended."""
    child = os.fork()
    if child == 0:
        STEPS[step]()
        os._exit(main(["--once", "--force"]))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for line in sys.stdin:
        print(train_and_die(line.strip()), flush=True)
