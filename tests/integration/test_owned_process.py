"""A server belongs to one folder and one owner, and ends with that owner, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from script.local.owned_process import (
    DataFolderInUse,
    LocalServerError,
    OwnedProcess,
    command_line,
    free_port,
    port_is_free,
    read_pid,
    run_to_end,
)

_SLEEP = "import time; time.sleep(60)"
_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
_OWNER = """
import sys, time
from pathlib import Path
from tests.integration.test_owned_process import sleeper
process = sleeper(Path(sys.argv[1]))
process.claim()
process.launch(sys.argv[2:], environment={})
print(process.pid, flush=True)
time.sleep(60)
"""


def sleeper(folder: Path) -> OwnedProcess:
    return OwnedProcess(folder, name="sleeper", markers=("-c", str(folder)), stop_timeout_seconds=0.3)


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[OwnedProcess]:
    process = sleeper(tmp_path)
    yield process
    process.kill()


def test_second_owner_is_refused_while_the_first_one_lives(owned: OwnedProcess, tmp_path: Path) -> None:
    owned.claim()
    with pytest.raises(DataFolderInUse, match=f"in use by process {os.getpid()}"):
        sleeper(tmp_path).claim()
    owned.stop()
    second = sleeper(tmp_path)
    second.claim()
    second.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_server_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OWNER, str(tmp_path), *_command(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        server_pid = int(owner.stdout.readline())
        assert str(tmp_path) in command_line(server_pid)
        owner.kill()
    assert _comes_true(lambda: str(tmp_path) not in command_line(server_pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_command_that_prepares_a_folder_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    """Else an orphan would go on writing into the folder that the next owner prepares."""
    program = "import sys; from script.local.owned_process import run_to_end; run_to_end(sys.argv[1:], environment={})"
    announce = f"import os, pathlib; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()) + ' ');"
    with subprocess.Popen([sys.executable, "-c", program, *_command(tmp_path, announce + _SLEEP)]) as owner:
        assert _comes_true(lambda: read_pid(tmp_path / "pid") is not None)
        command_pid = read_pid(tmp_path / "pid") or 0
        assert str(tmp_path) in command_line(command_pid)
        owner.kill()
    assert _comes_true(lambda: command_line(command_pid) == [])


def test_command_that_does_not_end_in_time_is_named() -> None:
    with pytest.raises(LocalServerError, match=r"python.* did not end within 0 s"):
        run_to_end([sys.executable, "-c", _SLEEP], environment={}, timeout_seconds=0.1)


def test_server_outlives_the_thread_that_started_it(owned: OwnedProcess, tmp_path: Path) -> None:
    owned.claim()
    starter = threading.Thread(target=lambda: owned.launch(_command(tmp_path), environment={}))
    starter.start()
    starter.join()
    time.sleep(0.3)
    assert owned.is_running


def test_server_that_a_killed_owner_left_is_ended_by_the_next_owner(owned: OwnedProcess, tmp_path: Path) -> None:
    with subprocess.Popen(_command(tmp_path)) as left_over:
        owned.pid_file.write_text(f"{left_over.pid}\n")
        reaper = threading.Thread(target=left_over.wait)
        reaper.start()
        owned.claim()
        reaper.join(5.0)
        assert left_over.returncode == -signal.SIGTERM
    assert read_pid(owned.pid_file) is None


def test_strange_process_under_a_recycled_number_is_left_alone(owned: OwnedProcess, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _SLEEP, "another folder"]) as stranger:
        owned.pid_file.write_text(f"{stranger.pid}\n")
        owned.claim()
        time.sleep(0.1)
        assert stranger.poll() is None
        stranger.kill()


def test_server_that_ignores_the_stop_signal_is_killed_after_the_timeout(owned: OwnedProcess, tmp_path: Path) -> None:
    owned.claim()
    owned.launch(_command(tmp_path, _STUBBORN), environment={})
    assert _comes_true(lambda: owned.log_tail() == "1\n")
    pid = owned.pid
    began = time.monotonic()
    owned.stop()
    assert 0.3 <= time.monotonic() - began < 3.0
    assert command_line(pid) == []
    with pytest.raises(LocalServerError, match="does not run"):
        _ = owned.pid


def test_server_that_ends_by_itself_is_reported_with_its_last_words(owned: OwnedProcess, tmp_path: Path) -> None:
    owned.log_file.write_text("words of an earlier run\n")
    owned.claim()
    owned.launch(_command(tmp_path, "raise SystemExit('no space left')"), environment={})
    with pytest.raises(LocalServerError) as failed:
        owned.wait_until_ready(lambda: False, 10.0)
    message = str(failed.value)
    assert "ended by itself" in message
    assert "no space left" in message
    assert "earlier run" not in message


def test_server_that_another_thread_stopped_while_it_started_is_not_launched(
    owned: OwnedProcess, tmp_path: Path
) -> None:
    owned.begin_start()
    owned.claim()
    owned.stop()
    with pytest.raises(LocalServerError, match="stopped while it started"):
        owned.launch(_command(tmp_path), environment={})
    assert not owned.is_running
    assert not owned.pid_file.exists()

    owned.begin_start()
    owned.claim()
    owned.launch(_command(tmp_path), environment={})
    assert owned.is_running


@pytest.mark.parametrize("repetition", range(5))
def test_two_threads_may_stop_a_server_at_the_same_time(owned: OwnedProcess, tmp_path: Path, repetition: int) -> None:
    owned.claim()
    owned.launch(_command(tmp_path), environment={})
    both = threading.Barrier(2)

    def stop(_: int) -> None:
        both.wait()
        owned.stop()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(stop, range(2))) == [None, None]
    assert not owned.is_running


def test_missing_program_is_named(owned: OwnedProcess) -> None:
    owned.claim()
    with pytest.raises(LocalServerError, match="/no/such/program"):
        owned.launch(["/no/such/program"], environment={})


def test_preferred_port_is_taken_only_when_free() -> None:
    port = free_port()
    assert free_port(port) == port
    assert free_port(port, other_than=port) != port
    with _listener(port):
        assert not port_is_free(port)
        assert free_port(port) != port


def _command(folder: Path, program: str = _SLEEP) -> list[str]:
    return [sys.executable, "-c", program, str(folder)]


def _listener(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def _comes_true(condition: Callable[[], bool], timeout_seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False
