"""Named points inside a service at which it is killed or frozen: the campaign arms one, the service meets it.

Arming is a file of the point's name in a folder that both know, so that a point is armed while the service runs and
exactly one process meets it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

Action = Literal["kill", "stop"]

# Each with the service that passes it, in the order in which one transaction or one publication passes them.
POINTS: dict[str, str] = {
    "worker.before_transaction": "worker",
    "worker.offsets_locked": "worker",
    "worker.before_commit": "worker",
    "worker.after_commit": "worker",
    "api.before_publish": "api",
    "api.after_acknowledgement": "api",
    "artifact.leftovers_removed": "trainer",
    "artifact.file_written": "trainer",
    "artifact.temporary_written": "trainer",
    "artifact.version_renamed": "trainer",
    "artifact.version_published": "trainer",
    "artifact.training_recorded": "trainer",
    "artifact.pointer_written": "trainer",
    "artifact.pointer_replaced": "trainer",
    "artifact.pointer_published": "trainer",
    "artifact.versions_pruned": "trainer",
}
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class ArmedPoints:
    """The campaign's side of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        return self._folder

    def arm(self, point: str, action: Action) -> None:
        """Let the next process that passes `point` kill or stop itself there."""
        if point not in POINTS:
            raise ValueError(f"there is no point {point}")
        (self._folder / f"{point}.met").unlink(missing_ok=True)
        unfinished = self._folder / f"{point}.unfinished"
        unfinished.write_text(action)
        unfinished.rename(self._folder / point)

    def disarm(self, point: str) -> None:
        """Let nobody meet it any more; safe to repeat."""
        (self._folder / point).unlink(missing_ok=True)

    def met_by(self, point: str) -> int | None:
        """Return the process that met the point since it was armed last; None while nobody has."""
        try:
            return int((self._folder / f"{point}.met").read_text())
        except (OSError, ValueError):
            return None


def pass_point(folder: Path, point: str) -> None:
    """The service's side: do what the point is armed for, if it is armed."""
    armed = folder / point
    if not os.path.exists(armed):  # noqa: PTH110  (passed thousands of times: no object is built)
        return
    mine = folder / f"{point}.{os.getpid()}"
    try:
        armed.rename(mine)
    except OSError:  # another process was quicker
        return
    action = mine.read_text()
    mine.write_text(str(os.getpid()))
    mine.rename(folder / f"{point}.met")
    os.kill(os.getpid(), _SIGNALS[action])
