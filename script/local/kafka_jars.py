"""Kafka's published jars: fetched once into a cache, checked against kafka.lock.toml at every start."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from script.local.owned_process import LocalServerError
from script.terminal import say

LOCK_PATH = Path(__file__).with_name("kafka.lock.toml")
COORDINATES = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")
_KAFKA_VERSION = COORDINATES[0].rsplit(":", 1)[1]
_APPLICATION = "far-trans-recommender"

Resolver = Callable[[Sequence[str], Path], list[Path]]


class KafkaJarsUnavailable(LocalServerError):
    """The jars are not in the cache and cannot be fetched."""


class KafkaJarsRefused(LocalServerError):
    """Jars differ from the lock file, also after they were fetched again."""


@dataclass(frozen=True)
class JarLock:
    """The Maven coordinates, and the jars that they resolve to."""

    coordinates: tuple[str, ...]
    sha256_by_name: Mapping[str, str]

    def wrong_jars(self, folder: Path) -> list[str]:
        """Return the names of jars that are missing or differ; all 44 MB are hashed every time (0.15 s)."""
        return [name for name, digest in self.sha256_by_name.items() if _sha256(folder / name) != digest]


def ensure_jars(*, resolve: Resolver | None = None, lock: JarLock | None = None) -> list[Path]:
    """Return the class path with every jar checked; fetches at most once, and never returns a jar that differs."""
    lock = lock or read_lock()
    folder = cache_folder()
    if wrong := lock.wrong_jars(folder):
        if any((folder / name).exists() for name in lock.sha256_by_name):
            say(f"fetching Kafka {_KAFKA_VERSION} again: missing or different in {folder}: {', '.join(wrong)}")
        else:
            say(f"fetching Kafka {_KAFKA_VERSION} into {folder} (about 45 MB, once)")
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
            for jar in _resolve(resolve, lock.coordinates, Path(scratch)):
                if jar.name in wrong:
                    jar.replace(folder / jar.name)
    if still_wrong := lock.wrong_jars(folder):
        for name in still_wrong:
            (folder / name).unlink(missing_ok=True)
        raise KafkaJarsRefused(
            f"refused, because they differ from {LOCK_PATH.name}: {', '.join(still_wrong)}. "
            "Nothing was started; set KAFKA_BOOTSTRAP_SERVERS to use a broker that runs already."
        )
    return [folder / name for name in lock.sha256_by_name]


def read_lock(path: Path = LOCK_PATH) -> JarLock:
    content = tomllib.loads(path.read_text())
    return JarLock(tuple(content["coordinates"]), content["sha256"])


def write_lock(path: Path = LOCK_PATH, *, resolve: Resolver | None = None) -> JarLock:
    """Resolve the coordinates and write the result, which must be reviewed before it is committed."""
    with tempfile.TemporaryDirectory(prefix="kafka-lock-") as scratch:
        jars = _resolve(resolve, COORDINATES, Path(scratch))
        lock = JarLock(COORDINATES, {jar.name: _sha256(jar) for jar in sorted(jars, key=lambda jar: jar.name)})
    lines = ["# Kafka's class path for local use. Recompute: python -m script.local.kafka lock", "coordinates = ["]
    lines += [f'    "{coordinate}",' for coordinate in lock.coordinates]
    lines += ["]", "", "[sha256]"]
    lines += [f'"{name}" = "{digest}"' for name, digest in lock.sha256_by_name.items()]
    path.write_text("\n".join(lines) + "\n")
    return lock


def cache_folder() -> Path:
    """Return KAFKA_CACHE_DIR, else the user's cache, else (when that is not writable) a private temporary folder."""
    # Without HOME the path stays relative to "~" and cannot be used.
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    given = os.environ.get("KAFKA_CACHE_DIR")
    wanted = Path(given).absolute() if given else Path(caches) / _APPLICATION / f"kafka-{_KAFKA_VERSION}"
    if _is_usable(wanted):
        return wanted
    fallback = Path(tempfile.gettempdir()) / f"{_APPLICATION}-{os.getuid()}" / f"kafka-{_KAFKA_VERSION}"
    say(f"the cache folder {wanted} cannot be written; using {fallback}")
    if not _is_usable(fallback) or fallback.parent.stat().st_uid != os.getuid():
        raise KafkaJarsUnavailable(
            f"neither {wanted} nor {fallback} can be written. Set KAFKA_CACHE_DIR to a folder that can, "
            "or KAFKA_BOOTSTRAP_SERVERS to use a broker that runs already."
        )
    return fallback


def resolve_with_jgo(coordinates: Sequence[str], scratch: Path) -> list[Path]:
    """Download the jars and their dependencies into `scratch`; nothing is written anywhere else."""
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext

    logging.getLogger("jgo").setLevel(logging.ERROR)
    context = MavenContext(repo_cache=scratch / "repository", timeout=30)
    builder = EnvironmentBuilder(context=context, cache_dir=scratch / "jgo", link_strategy=LinkStrategy.COPY)
    environment = builder.from_endpoint("+".join(coordinates))
    return sorted(environment.path.rglob("*.jar"))


def _resolve(resolve: Resolver | None, coordinates: Sequence[str], scratch: Path) -> list[Path]:
    try:
        return (resolve or resolve_with_jgo)(coordinates, scratch)
    # SyntaxError: the XML parser raises it when a portal answers instead of the repository.
    except (OSError, RuntimeError, ValueError, SyntaxError) as error:
        raise KafkaJarsUnavailable(
            f"Kafka's jars are not in the cache and cannot be fetched ({type(error).__name__}: {error}). "
            "Try again with a network, or set KAFKA_BOOTSTRAP_SERVERS to use a broker that runs already."
        ) from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as jar:
            return hashlib.file_digest(jar, "sha256").hexdigest()
    except OSError:
        return "missing"


def _is_usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
