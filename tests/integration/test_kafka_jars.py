"""Jars come into the cache once, and nothing that differs from the lock file is ever put on the class path."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from jgo.env import EnvironmentBuilder

from script.local import kafka as local_kafka
from script.local import kafka_jars
from script.local.kafka_jars import (
    COORDINATES,
    JarLock,
    KafkaJarsRefused,
    KafkaJarsUnavailable,
    ensure_jars,
    read_lock,
    write_lock,
)

_JARS = {"broker-1.0.jar": b"the broker", "logging-1.0.jar": b"the logging"}
_LOCK = JarLock(("g:broker:1.0",), {name: hashlib.sha256(content).hexdigest() for name, content in _JARS.items()})


class FakeRepository:
    """Delivers jars as a resolver would, and counts how often it is asked."""

    def __init__(self, jars: dict[str, bytes]) -> None:
        self.jars = jars
        self.asked = 0

    def __call__(self, coordinates: Sequence[str], scratch: Path) -> list[Path]:
        self.asked += 1
        for name, content in self.jars.items():
            (scratch / name).write_bytes(content)
        return [scratch / name for name in self.jars]


def without_network(coordinates: Sequence[str], scratch: Path) -> list[Path]:
    raise ConnectionError("Network is unreachable")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAFKA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_jars_are_fetched_once_and_leave_nothing_else_in_the_cache(cache: Path) -> None:
    repository = FakeRepository({**_JARS, "not-locked-1.0.jar": b"?"})
    expected = [cache / name for name in _JARS]
    assert ensure_jars(resolve=repository, lock=_LOCK) == expected
    assert ensure_jars(resolve=repository, lock=_LOCK) == expected
    assert repository.asked == 1
    assert sorted(path.name for path in cache.iterdir()) == sorted(_JARS)


def test_tampered_jar_in_the_cache_is_named_and_fetched_again(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_jars(resolve=FakeRepository(_JARS), lock=_LOCK)
    # Same length and same time of change: only its content tells.
    jar = cache / "broker-1.0.jar"
    times = jar.stat()
    jar.write_bytes(b"the brokeR")
    os.utime(jar, ns=(times.st_atime_ns, times.st_mtime_ns))
    capsys.readouterr()
    repository = FakeRepository(_JARS)
    ensure_jars(resolve=repository, lock=_LOCK)
    assert repository.asked == 1
    assert jar.read_bytes() == _JARS["broker-1.0.jar"]
    said = capsys.readouterr().err
    assert "broker-1.0.jar" in said
    assert "logging-1.0.jar" not in said


def test_jar_that_is_still_different_after_one_fetch_is_refused(cache: Path) -> None:
    repository = FakeRepository({**_JARS, "broker-1.0.jar": b"another broker"})
    with pytest.raises(KafkaJarsRefused, match=r"broker-1\.0\.jar.*KAFKA_BOOTSTRAP_SERVERS"):
        ensure_jars(resolve=repository, lock=_LOCK)
    assert repository.asked == 1
    assert not (cache / "broker-1.0.jar").exists()


def test_no_broker_is_started_from_refused_jars(cache: Path, tmp_path: Path) -> None:
    kafka = local_kafka.LocalKafka(tmp_path / "data", resolve=FakeRepository(_JARS))
    with pytest.raises(KafkaJarsRefused):
        kafka.start()
    assert not kafka.is_running
    assert not (tmp_path / "data").exists()


def test_without_network_and_cache_the_message_names_the_way_out(cache: Path) -> None:
    with pytest.raises(KafkaJarsUnavailable, match=r"Network is unreachable.*KAFKA_BOOTSTRAP_SERVERS"):
        ensure_jars(resolve=without_network, lock=_LOCK)


@pytest.mark.parametrize("command", ["fetch", "run", "lock"])
def test_command_exits_with_2_when_the_jars_cannot_be_had(
    command: str,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(kafka_jars, "resolve_with_jgo", without_network)
    folder = ["--data-dir", str(tmp_path / "data")] if command == "run" else []
    assert local_kafka.main([command, *folder]) == 2
    assert "KAFKA_BOOTSTRAP_SERVERS" in capsys.readouterr().err


def test_real_resolver_without_a_network_is_a_clear_message_and_writes_nowhere(tmp_path: Path) -> None:
    """jgo itself, with every way out closed."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "KAFKA_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "script.local.kafka", "fetch"]
    answer = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 2, answer.stderr
    assert "KAFKA_BOOTSTRAP_SERVERS" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "Warning" not in answer.stderr
    assert [*home.iterdir(), *work.iterdir(), *(tmp_path / "cache").iterdir()] == []


def test_real_resolver_downloads_into_the_scratch_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Path] = []

    def from_endpoint(builder: EnvironmentBuilder, endpoint: str) -> SimpleNamespace:
        assert endpoint == "g:a:1+g:b:2"
        used.extend([builder.context.repo_cache, builder.cache_dir])
        return SimpleNamespace(path=tmp_path)

    monkeypatch.setattr(EnvironmentBuilder, "from_endpoint", from_endpoint)
    kafka_jars.resolve_with_jgo(["g:a:1", "g:b:2"], tmp_path)
    assert len(used) == 2
    assert all(path.is_relative_to(tmp_path) for path in used)


def test_cache_folder_that_cannot_be_written_is_replaced_by_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("KAFKA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    jars = ensure_jars(resolve=FakeRepository(_JARS), lock=_LOCK)
    assert jars[0].is_relative_to(tmp_path)
    assert stat.S_IMODE(jars[0].parent.stat().st_mode) == 0o700
    assert f"{tmp_path / 'file'}" in capsys.readouterr().err


def test_no_writable_folder_at_all_is_a_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KAFKA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(KafkaJarsUnavailable, match="KAFKA_CACHE_DIR"):
        ensure_jars(resolve=FakeRepository(_JARS), lock=_LOCK)


def test_lock_file_that_is_written_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "kafka.lock.toml"
    written = write_lock(path, resolve=FakeRepository(_JARS))
    assert read_lock(path) == written
    assert dict(written.sha256_by_name) == dict(_LOCK.sha256_by_name)


def test_committed_lock_file_is_of_the_coordinates_in_use_and_names_no_host() -> None:
    lock = read_lock()
    assert lock.coordinates == COORDINATES
    assert "kafka_2.13-4.3.1.jar" in lock.sha256_by_name
    assert all(len(digest) == 64 for digest in lock.sha256_by_name.values())
    assert "://" not in kafka_jars.LOCK_PATH.read_text()
