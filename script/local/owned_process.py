"""A server process that belongs to one data folder: one owner at a time, and it ends with its owner."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

_PR_SET_PDEATHSIG = 1
# Below the range that Linux hands to outgoing connections: nobody takes the port while its server restarts.
_PORTS = range(20_000, 32_000)
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LocalServerError(Exception):
    """A local server cannot be had; the message says why and what to do."""


class DataFolderInUse(LocalServerError):
    """Another process that is still running owns the data folder."""


@dataclass(frozen=True)
class SystemUser:
    """The numeric identity that a server runs under."""

    name: str
    user_id: int
    group_id: int


class OwnedProcess:
    """At most one server per data folder, started, ended and found again by its pid file."""

    def __init__(self, folder: Path, *, name: str, markers: Sequence[str], stop_signal: signal.Signals) -> None:
        """`markers` are arguments that only this server's command line has (its program, its data folder)."""
        self._folder = folder
        self._name = name
        self._markers = tuple(markers)
        self._stop_signal = stop_signal
        self._lock_file: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid_file(self) -> Path:
        return self._folder / f"{self._name}.pid"

    @property
    def log_file(self) -> Path:
        return self._folder / f"{self._name}.log"

    @property
    def pid(self) -> int:
        """Raises LocalServerError when the server does not run."""
        if self._process is None or self._process.poll() is not None:
            raise LocalServerError(f"the local {self._name} does not run")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the server ended by itself or by a signal; None while it runs, and after `stop` or `kill`."""
        return None if self._process is None else self._process.poll()

    def claim(self) -> None:
        """Become the owner of the folder and end what a killed owner left running in it."""
        if self._lock_file is None:
            self._lock_file = _lock(self._folder / f"{self._name}.lock")
        pid = read_pid(self.pid_file)
        if pid is not None and pid != os.getpid() and self._is_ours(pid):
            _end(lambda: self._is_ours(pid), pid, first_signal=self._stop_signal)
        self.pid_file.unlink(missing_ok=True)

    def launch(self, command: Sequence[str], *, environment: Mapping[str, str], user: SystemUser | None = None) -> None:
        """Start the server; on Linux it gets its stop signal when this process dies, however it dies."""
        log_file = self.log_file.open("ab")
        self._log_start = log_file.tell()
        launched = threading.Event()
        failures: list[OSError] = []

        def run() -> None:
            try:
                self._process = _popen(command, environment, log_file, self._stop_signal, user)
            except OSError as error:
                failures.append(error)
            finally:
                log_file.close()
                launched.set()
            if self._process is not None:
                self._process.wait()

        # Linux sends the signal when the *thread* that forked ends: so that thread lives as long as the server.
        self._process = None
        threading.Thread(target=run, name=f"{self._name}-parent", daemon=True).start()
        launched.wait()
        if failures or self._process is None:
            raise LocalServerError(f"cannot start {command[0]}: {failures}")
        self.pid_file.write_text(f"{self._process.pid}\n")

    def stop(self, timeout_seconds: float) -> None:
        """End the server cleanly, or by SIGKILL after the timeout, and give the folder up; safe to repeat."""
        if self._process is not None and self.is_running:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._release()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL) and give the folder up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._release()

    def becomes_ready(self, is_ready: Callable[[], bool], timeout_seconds: float) -> bool:
        """Poll until the server answers; False when it ends or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while self.is_running and time.monotonic() < deadline:
            if is_ready():
                return True
            time.sleep(0.05)
        return False

    def not_ready(self) -> LocalServerError:
        """The error to raise for a server that did not become ready; it carries what the server said last."""
        reason = "did not answer in time" if self.is_running else "ended by itself"
        return LocalServerError(f"the local {self._name} {reason}; {self.log_file} says:\n{self.last_words()}")

    def last_words(self, line_count: int = 15) -> str:
        """The last lines that the server logged since it was launched."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open(errors="replace") as log_file:
            log_file.seek(self._log_start)
            return "".join(log_file.readlines()[-line_count:])

    def _is_ours(self, pid: int) -> bool:
        arguments = command_line(pid)
        return all(marker in arguments for marker in self._markers)

    def _release(self) -> None:
        self._process = None
        self.pid_file.unlink(missing_ok=True)
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None


def say(text: str) -> None:
    """News for the person at the terminal; standard output stays free for answers."""
    print(text, file=sys.stderr, flush=True)


class LocalServer(Protocol):
    """What `keep_running` watches."""

    @property
    def is_running(self) -> bool:
        """Whether the server still runs."""
        ...


def told_to_end() -> threading.Event:
    """Return what Ctrl-C and SIGTERM set from now on; before a server is started, so that none is left behind."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended


def keep_running(server: LocalServer, ended: threading.Event, *, name: str, log: str) -> int:
    """Wait until told to end and return 0; 1 when the server ends before, by itself."""
    while not ended.wait(0.5):
        if not server.is_running:
            say(f"{name} ended by itself; see {log} in its data folder")
            return 1
    return 0


def free_port(preferred: int | None = None, *, other_than: int | None = None) -> int:
    """A loopback port that nobody listens on; `preferred` if that one is free."""
    candidates = [] if preferred is None else [preferred]
    candidates += random.sample(_PORTS, 200)
    for port in candidates:
        if port != other_than and port_is_free(port):
            return port
    raise LocalServerError(f"no free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def port_answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def command_line(pid: int) -> list[str]:
    """The arguments of a running process; empty when there is none (a zombie has none)."""
    if sys.platform == "linux":
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return []
        return raw.decode(errors="replace").split("\0")[:-1]
    answer = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.split()


def die_with_parent(stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux to send this process a signal when its parent's thread ends; elsewhere it does nothing."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)


def _popen(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_file: IO[bytes],
    stop_signal: signal.Signals,
    user: SystemUser | None,
) -> subprocess.Popen[bytes]:
    parent_pid = os.getpid()

    def before_exec() -> None:
        die_with_parent(stop_signal)
        if os.getppid() != parent_pid:  # the parent died before the line above
            os._exit(1)

    return subprocess.Popen(
        command,
        env=dict(environment),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=log_file,
        stderr=log_file,
        # Ctrl-C in a terminal reaches the owner alone, who then stops its servers in order.
        start_new_session=True,
        user=None if user is None else user.user_id,
        group=None if user is None else user.group_id,
        extra_groups=None if user is None else [],
        preexec_fn=before_exec,  # safe beside threads: one resolved C function, no lock
    )


def _lock(path: Path) -> IO[str]:
    """Held until closed or until this process dies, whichever way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = path.open("a+")
    except OSError as error:
        raise LocalServerError(f"the data folder {path.parent} cannot be written: {error}") from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock_file.seek(0)
        owner = lock_file.read().strip() or "unknown"
        lock_file.close()
        raise DataFolderInUse(f"{path.parent} is in use by process {owner}; stop that one first") from error
    lock_file.truncate(0)
    lock_file.write(f"{os.getpid()}\n")
    lock_file.flush()
    return lock_file


def read_pid(path: Path) -> int | None:
    """The number that a pid file starts with; None when there is no such file or it is unfinished."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _end(is_alive: Callable[[], bool], pid: int, *, first_signal: signal.Signals) -> None:
    """End a process that is not our child: its stop signal, 10 seconds, then SIGKILL."""
    for sent, patience_seconds in ((first_signal, 10.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            if not is_alive():
                return
            time.sleep(0.05)
    raise LocalServerError(f"process {pid} does not end; end it by hand")
