"""Where the demo keeps its things: one folder per clone and user, in it one per data set, outside the repository."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from script.local.owned_process import LocalServerError
from shared.far_trans import schema as far_trans

REPOSITORY = Path(__file__).resolve().parent.parent
SYNTHETIC_SCALE = 0.02
SYNTHETIC_SEED = 7
_APPLICATION = "far-trans-recommender"
_GENERATOR = ("FAR-Trans/synthesize.py", "shared/far_trans/synthetic/*.py", "shared/far_trans/schema.py")


class DemoRefused(LocalServerError):
    """The demo cannot start like this; the message says what to do."""


@dataclass(frozen=True)
class DataSet:
    """What the demo loads. `scale` is set for synthetic data, which `folder` may not hold yet."""

    label: str
    folder: Path
    state: Path
    scale: float | None = None

    @property
    def is_there(self) -> bool:
        return self.folder.is_dir()

    @property
    def is_loaded(self) -> bool:
        return (self.state / "loaded.json").exists()

    def mark_loaded(self) -> None:
        """Remember that database and topics of this state folder hold this data set."""
        (self.state / "loaded.json").write_text(json.dumps({"data": self.label}) + "\n")


def state_root() -> Path:
    """DEMO_STATE_DIR, else a folder of this clone and user where the system keeps such things."""
    clone = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:10]
    given = os.environ.get("DEMO_STATE_DIR")
    if given:
        candidates = [Path(given).expanduser().absolute()]
    else:
        fallback = Path(tempfile.gettempdir()) / f"{_APPLICATION}-{os.getuid()}"
        candidates = [folder / f"demo-{clone}" for folder in (_usual_folder(), fallback)]
    for candidate in candidates:
        if _is_usable(candidate):
            return candidate
    raise DemoRefused(
        f"None of these folders can be written: {', '.join(map(str, candidates))}. Set DEMO_STATE_DIR to one that can."
    )


@contextlib.contextmanager
def sole_demo(root: Path) -> Iterator[Callable[[str], None]]:
    """Hold the folder for as long as this demo lives; raises DemoRefused when another one holds it.

    What is yielded leaves word for whoever finds the folder taken.
    """
    with (root / "demo.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoRefused(
                f"A demo of this clone is running already: {_owner(lock)}. Stop it with Ctrl-C."
            ) from error

        def announce(text: str) -> None:
            lock.truncate(0)
            lock.write(f"process {os.getpid()}, {text}")
            lock.flush()

        announce("about to start")
        yield announce


def choose_data(given: Path | None, *, scale: float, root: Path, servers: tuple[str, ...] = ()) -> DataSet:
    """The folder that was given, else the files in FAR-Trans/, else synthetic data; raises DemoRefused.

    `servers` are Kafka and Postgres addresses that are not the demo's own: they get a state folder of their own.
    """
    if given is not None:
        missing = missing_files(given)
        if missing:
            raise DemoRefused(f"{given} does not hold FAR-Trans data: {', '.join(missing)} missing.")
        return _from_files(given.resolve(), root=root, servers=servers)
    beside = REPOSITORY / "FAR-Trans"
    if not missing_files(beside):
        return _from_files(beside, root=root, servers=servers)
    sources = sorted(path for pattern in _GENERATOR for path in REPOSITORY.glob(pattern))
    fingerprint = _digest(str(SYNTHETIC_SEED), *(path.read_text() for path in sources))
    return DataSet(
        label=f"synthetic data at scale {scale:g} (seed {SYNTHETIC_SEED})",
        folder=root / f"generated-{scale:g}-{fingerprint}",
        state=root / f"synthetic-{_digest(str(scale), *servers)}-{fingerprint}",
        scale=scale,
    )


def missing_files(folder: Path) -> list[str]:
    """Return the names of the files that a load cannot do without and that are not there."""
    return [
        table.file_name for table in far_trans.TABLES if not table.optional and not (folder / table.file_name).is_file()
    ]


def forget(root: Path) -> None:
    """Remove all that earlier demos of this clone left; the lock stays."""
    for path in root.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def forget_older_states(data: DataSet, *, root: Path) -> None:
    """Remove what belongs to an earlier content of the same data folder, or to an earlier generator."""
    for current in {data.state, data.folder}:
        prefix = current.name.rsplit("-", 1)[0] + "-"
        for path in root.iterdir():
            if path.is_dir() and path.name.startswith(prefix) and path.name != current.name:
                shutil.rmtree(path, ignore_errors=True)


def _from_files(folder: Path, *, root: Path, servers: tuple[str, ...]) -> DataSet:
    facts = [
        f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in (folder / table.file_name for table in far_trans.TABLES)
        if path.is_file()
    ]
    name = f"files-{_digest(str(folder), *servers)}-{_digest(*facts)}"
    return DataSet(label=f"the files in {folder}", folder=folder, state=root / name)


def _usual_folder() -> Path:
    given = os.environ.get("XDG_STATE_HOME")
    if given:
        return Path(given) / _APPLICATION
    if os.geteuid() == 0:
        # PostgreSQL runs as another user there, who cannot enter root's home.
        return Path("/var/lib") / _APPLICATION
    return Path("~/.local/state").expanduser() / _APPLICATION


def _is_usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.stat().st_uid == os.geteuid()
    except (OSError, RuntimeError):
        return False


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "it has just started"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
