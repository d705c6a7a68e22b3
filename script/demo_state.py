"""Where the demo keeps its files: one folder per clone and user, in it one per data set, outside the repository."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from script.local.owned_process import DataFolderInUse, LocalServerError, note_owner, take_lock
from shared.far_trans.schema import TABLES

REPOSITORY = Path(__file__).resolve().parent.parent
SYNTHETIC_SCALE = 0.02
SYNTHETIC_SEED = 7
_APPLICATION = "far-trans-recommender"
_GENERATOR = ("FAR-Trans/synthesize.py", "shared/far_trans/synthetic/*.py", "shared/far_trans/schema.py")


class DemoRefused(LocalServerError):
    """The demo cannot start like this; the message says what to do."""


@dataclass(frozen=True)
class DataSet:
    """What the demo loads; `scale` is set for synthetic data, which `folder` may not hold yet."""

    label: str
    folder: Path
    state: Path
    scale: float | None = None

    @property
    def loaded_mark(self) -> Path:
        """The file that exists once database and topics of this state folder hold this data set."""
        return self.state / "loaded.json"


def state_root() -> Path:
    """Return DEMO_STATE_DIR, else a folder for this clone and user; raises DemoRefused when none is writable."""
    if given := os.environ.get("DEMO_STATE_DIR"):
        candidates = [Path(given).expanduser().absolute()]
    else:
        temporary = Path(tempfile.gettempdir()) / f"{_APPLICATION}-{os.getuid()}"
        clone = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:10]
        candidates = [folder / f"demo-{clone}" for folder in (_state_home() / _APPLICATION, temporary)]
    for candidate in candidates:
        with contextlib.suppress(OSError, RuntimeError):
            candidate.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=candidate):
                if candidate.stat().st_uid == os.geteuid():
                    return candidate
    raise DemoRefused(
        f"None of these folders can be written: {', '.join(map(str, candidates))}. Set DEMO_STATE_DIR to one that can."
    )


@contextlib.contextmanager
def sole_demo(root: Path) -> Iterator[Callable[[str], None]]:
    """Lock the state folder; raises DemoRefused, with the text that the other demo announced, when it is locked."""
    try:
        lock = take_lock(root / "demo.lock")
    except DataFolderInUse as error:
        text = f"A demo of this clone is running already: process {error.owner}. Stop it with Ctrl-C."
        raise DemoRefused(text) from error
    with lock:
        yield lambda text: note_owner(lock, f", {text}")


def choose_data(given: Path | None, *, scale: float, root: Path, servers: tuple[str, ...] = ()) -> DataSet:
    """Return the given folder, else the files in FAR-Trans/, else synthetic data; raises DemoRefused.

    `servers` are addresses of Kafka and Postgres that the demo does not start: each pair has its own state folder.
    """
    folder = REPOSITORY / "FAR-Trans" if given is None else given.resolve()
    missing = missing_files(folder)
    if given is not None and missing:
        raise DemoRefused(f"{given} does not hold FAR-Trans data: {', '.join(missing)} missing.")
    if not missing:
        stats = [(name, (folder / name).stat()) for name in _file_names() if (folder / name).is_file()]
        content = _digest(*(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats))
        return DataSet(f"the files in {folder}", folder, root / f"files-{_digest(str(folder), *servers)}-{content}")
    sources = sorted(path for pattern in _GENERATOR for path in REPOSITORY.glob(pattern))
    generator = _digest(str(SYNTHETIC_SEED), *(path.read_text() for path in sources))
    label = f"synthetic data at scale {scale:g} (seed {SYNTHETIC_SEED})"
    folder = root / f"generated-{scale:g}-{generator}"
    return DataSet(label, folder, root / f"synthetic-{_digest(str(scale), *servers)}-{generator}", scale)


def missing_files(folder: Path) -> list[str]:
    """Return the names of required files that the folder does not have."""
    return [name for name in _file_names(required=True) if not (folder / name).is_file()]


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


def _file_names(*, required: bool = False) -> list[str]:
    return [table.file_name for table in TABLES if not (required and table.optional)]


def _state_home() -> Path:
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given)
    # As root PostgreSQL runs as another user, who cannot enter root's home.
    return Path("/var/lib") if os.geteuid() == 0 else Path(os.path.expanduser("~/.local/state"))  # noqa: PTH111


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
