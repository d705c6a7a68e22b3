"""Named failpoints inside a service at which it is killed or frozen: the campaign arms one, the service reaches it.

Production code has no hooks: a failpoint wraps a public function in memory. Arming is a file of the failpoint's name in
a folder that both processes know, so a failpoint is armed while the service runs, and exactly one process obeys it.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from shared.artifacts import publication
from shared.artifacts.format import ARRAYS_FILE, MANIFEST_FILE
from shared.artifacts.publication import FileArtifacts
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.producer import KafkaEventPublisher
from trainer.service.model_registry import ModelRegistry
from trainer.service.store import PostgresTrainerStore
from worker.store import PostgresWorkerStore, PostgresWorkerTransaction

Action = Literal["kill", "stop"]
Put = Callable[[Any, str, object], None]
Condition = Callable[..., bool]
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class Failpoint:
    """A place before or after a call of a public function, when `condition` holds for the arguments of the call."""

    service: str
    when: Literal["before", "after"]
    owner: Any
    function: str
    condition: Condition = lambda *_, **__: True
    in_campaign: bool = True  # False: only in the test that kills a trainer at each step


def _file(*names: str) -> Condition:
    return lambda path, *_: path.name in names


def _begins(prefix: str) -> Condition:
    return lambda path, *_: path.name.startswith(prefix)


def _is_models_folder(path: Path) -> bool:
    return (path / "versions").is_dir()


def _is_removed(_: Path, target: Path) -> bool:
    return Path(target).name.startswith(".tmp-")


# In the order in which one transaction, one call and one publication reach them.
FAILPOINTS: dict[str, Failpoint] = {
    "worker.before_transaction": Failpoint("worker", "before", PostgresWorkerStore, "begin"),
    "worker.offsets_locked": Failpoint("worker", "after", PostgresWorkerTransaction, "lock_offsets"),
    "worker.before_commit": Failpoint("worker", "after", PostgresWorkerTransaction, "store_offsets"),
    "worker.after_commit": Failpoint("worker", "before", KafkaEventConsumer, "commit"),
    "api.before_publish": Failpoint("api", "before", KafkaEventPublisher, "publish"),
    "api.after_acknowledgement": Failpoint("api", "after", KafkaEventPublisher, "publish"),
    "artifact.not_begun": Failpoint("trainer", "before", FileArtifacts, "save_model", in_campaign=False),
    "artifact.leftovers_removed": Failpoint("trainer", "before", publication, "write_file", _file(ARRAYS_FILE)),
    "artifact.file_written": Failpoint("trainer", "after", publication, "write_file", _file(ARRAYS_FILE)),
    "artifact.manifest_written": Failpoint(
        "trainer", "after", publication, "write_file", _file(MANIFEST_FILE), in_campaign=False
    ),
    "artifact.temporary_written": Failpoint("trainer", "after", publication, "sync_directory", _begins(".tmp-")),
    "artifact.version_renamed": Failpoint("trainer", "before", publication, "sync_directory", _file("versions")),
    "artifact.version_published": Failpoint("trainer", "after", FileArtifacts, "save_model"),
    "artifact.training_unrecorded": Failpoint(
        "trainer", "before", PostgresTrainerStore, "finish_training", in_campaign=False
    ),
    "artifact.training_recorded": Failpoint("trainer", "after", PostgresTrainerStore, "finish_training"),
    "artifact.pointer_written": Failpoint("trainer", "after", publication, "write_file", _file(".tmp-CURRENT")),
    "artifact.pointer_replaced": Failpoint("trainer", "before", publication, "sync_directory", _is_models_folder),
    "artifact.pointer_published": Failpoint("trainer", "after", publication, "sync_directory", _is_models_folder),
    "artifact.version_half_removed": Failpoint("trainer", "after", Path, "rename", _is_removed, in_campaign=False),
    "artifact.versions_pruned": Failpoint("trainer", "after", FileArtifacts, "activate"),
    "artifact.pointer_unrecorded": Failpoint(
        "trainer", "before", PostgresTrainerStore, "record_pointer", in_campaign=False
    ),
    "artifact.pointer_recorded": Failpoint(
        "trainer", "after", PostgresTrainerStore, "record_pointer", in_campaign=False
    ),
    "artifact.unannounced": Failpoint("trainer", "before", ModelRegistry, "publish_pending", in_campaign=False),
    "artifact.announced": Failpoint("trainer", "after", ModelRegistry, "publish_pending", in_campaign=False),
}
CAMPAIGN = tuple(name for name, failpoint in FAILPOINTS.items() if failpoint.in_campaign)
_REACHED = ".reached"


class ArmedFailpoints:
    """The campaign's side of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arm(self, name: str, action: Action) -> None:
        """Let the next process that reaches the failpoint kill or stop itself there."""
        if name not in FAILPOINTS:
            raise ValueError(f"there is no failpoint {name}")
        (self.folder / f"{name}.met").unlink(missing_ok=True)
        unfinished = self.folder / f"{name}.unfinished"
        unfinished.write_text(action)
        unfinished.rename(self.folder / name)

    def disarm(self, name: str) -> None:
        """Let no process obey it any more; safe to repeat."""
        (self.folder / name).unlink(missing_ok=True)

    def met_by(self, name: str) -> int | None:
        """Return the process that obeyed the failpoint since it was armed last; None while none has."""
        try:
            return int((self.folder / f"{name}.met").read_text())
        except (OSError, ValueError):
            return None

    def reached(self) -> list[str]:
        """Return the failpoints that some service reached, armed or not."""
        return sorted(path.name.removesuffix(_REACHED) for path in self.folder.glob(f"*{_REACHED}"))


class ReachedFailpoints:
    """The service's side of the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] = set()

    def reach(self, name: str) -> None:
        """Do what the failpoint is armed for, if it is armed."""
        if name not in self._known:
            self._known.add(name)
            (self._folder / f"{name}{_REACHED}").touch()
        armed = self._folder / name
        if not os.path.exists(armed):  # noqa: PTH110  (called thousands of times: no object is built)
            return
        mine = self._folder / f"{name}.{os.getpid()}"
        try:
            armed.rename(mine)
        except OSError:  # another process was quicker
            return
        action = mine.read_text()
        mine.write_text(str(os.getpid()))
        mine.rename(self._folder / f"{name}.met")
        os.kill(os.getpid(), _SIGNALS[action])


def put(owner: Any, name: str, replacement: object) -> None:
    """Replace an attribute; raises AttributeError for a name that production code no longer has."""
    getattr(owner, name)
    setattr(owner, name, replacement)


def set_failpoints(names: Iterable[str], reach: Callable[[str], None], *, put: Put = put) -> None:
    """Wrap the functions of these failpoints: a call that comes to one calls `reach` with its name."""
    for name in names:
        failpoint = FAILPOINTS[name]
        original = getattr(failpoint.owner, failpoint.function)
        wrap = _wrap_coroutine if inspect.iscoroutinefunction(original) else _wrap
        put(failpoint.owner, failpoint.function, wrap(original, name, failpoint, reach))


def _wrap(original: Any, name: str, failpoint: Failpoint, reach: Callable[[str], None]) -> Any:
    @wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        applies = failpoint.condition(*arguments, **named)
        if applies and failpoint.when == "before":
            reach(name)
        answer = original(*arguments, **named)
        if applies and failpoint.when == "after":
            reach(name)
        return answer

    return wrapped


def _wrap_coroutine(original: Any, name: str, failpoint: Failpoint, reach: Callable[[str], None]) -> Any:
    @wraps(original)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if failpoint.when == "before":
            reach(name)
        answer = await original(*arguments, **named)
        if failpoint.when == "after":
            reach(name)
        return answer

    return wrapped
