"""Files on the models volume: bounded reads that follow no links, writes that survive a power cut, one writer."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ArtifactInvalid, ArtifactMissing

# Readers may run under another uid, and the process's umask must not lock them out.
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755

_LOCK_POLL_SECONDS = 0.05


def read_file(path: Path, *, largest: int, expected_size: int | None = None) -> bytes:
    """Return the content of a regular file, its size known to be right before anything is read.

    Raises ArtifactMissing when there is none, ArtifactInvalid for a link, a device, or another size.
    """
    try:
        # Not blocking: a pipe in a file's place would hang the reader for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ArtifactMissing(f"{path.name} does not exist") from error
    except (OSError, ValueError) as error:
        raise ArtifactInvalid(f"{path.name} cannot be opened: {error}") from error
    try:
        return _read_regular(descriptor, path.name, largest=largest, expected_size=expected_size)
    except (OSError, MemoryError) as error:
        raise ArtifactInvalid(f"{path.name} cannot be read: {error}") from error
    finally:
        os.close(descriptor)


def check_directory(path: Path) -> None:
    """Raise ArtifactMissing when there is no such directory, ArtifactInvalid when it is something else."""
    try:
        status = path.lstat()
    except FileNotFoundError as error:
        raise ArtifactMissing(f"{path.name} does not exist") from error
    except (OSError, ValueError) as error:
        raise ArtifactInvalid(f"{path.name} cannot be looked at: {error}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise ArtifactInvalid(f"{path.name} is not a directory")


def make_directory(path: Path) -> None:
    """Create a directory that every uid can read; one that exists is left as it is."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(DIRECTORY_MODE)
        sync_directory(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and return when its content is on the disk."""
    with path.open("xb") as file:
        os.fchmod(file.fileno(), FILE_MODE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_if_there(path: Path) -> None:
    """Remove a file, a link or a whole directory; nothing to remove is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def exclusive_lock(path: Path, *, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock of the volume's one writer; the kernel frees it if the process dies. Raises ArtifactInvalid."""
    deadline = time.monotonic() + timeout_seconds
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise ArtifactInvalid(f"another process has been writing for {timeout_seconds} s") from error
                time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _read_regular(descriptor: int, name: str, *, largest: int, expected_size: int | None) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactInvalid(f"{name} is not a regular file")
    if status.st_size > largest:
        raise ArtifactInvalid(f"{name} has {status.st_size} bytes, more than {largest}")
    if expected_size is not None and status.st_size != expected_size:
        raise ArtifactInvalid(f"{name} has {status.st_size} bytes, not {expected_size}")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(status.st_size)
