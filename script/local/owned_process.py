"""A process that belongs to one data folder: the folder has one owner, and the process ends with its owner."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

_PR_SET_PDEATHSIG = 1
# Below the range of outgoing connections on Linux, so that no connection takes the port while its server restarts.
_PORTS = range(20_000, 32_000)
SystemUser = pwd.struct_passwd  # whom a process runs as
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LocalServerError(Exception):
    """A local server cannot be started or used; the message says why and what to do."""


class DataFolderInUse(LocalServerError):
    """Another running process owns the data folder."""

    def __init__(self, folder: Path, owner: str) -> None:
        super().__init__(f"{folder} is in use by process {owner}; stop that one first")
        self.owner = owner


class OwnedProcess:
    """At most one process per folder and name, started, ended and found again by its pid file."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        markers: Sequence[str],
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout_seconds: float = 15.0,
    ) -> None:
        """`markers` are arguments that only the command line of this process has (its program, its folder)."""
        self.folder = folder
        self.name = name
        self.pid_file = folder / f"{name}.pid"
        self.log_file = folder / f"{name}.log"
        self._markers = tuple(markers)
        self._stop_signal = stop_signal
        self._stop_timeout_seconds = stop_timeout_seconds
        self._lock_file: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._state = threading.Lock()  # one thread may stop the process while another one starts it
        self._stopped = False

    @property
    def pid(self) -> int:
        """Raises LocalServerError when the process does not run."""
        process = self._process
        if process is None or process.poll() is not None:
            raise LocalServerError(f"the local {self.name} does not run")
        return process.pid

    @property
    def is_running(self) -> bool:
        process = self._process  # another thread may forget it meanwhile
        return process is not None and process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that ended by itself; None while it runs, and after `stop` or `kill`."""
        process = self._process
        return None if process is None else process.poll()

    def begin_start(self) -> None:
        """Allow a launch; a `stop` from now on forbids it again."""
        self._stopped = False

    def claim(self) -> None:
        """Become the owner of the folder, and end the process that a killed owner left running in it."""
        if self._lock_file is None:
            self._lock_file = take_lock(self.folder / f"{self.name}.lock")
        pid = read_pid(self.pid_file)
        if pid is not None and pid != os.getpid() and self._is_ours(pid):
            self._end_left_over(pid)
        self.pid_file.unlink(missing_ok=True)

    def launch(self, command: Sequence[str], *, environment: Mapping[str, str], user: SystemUser | None = None) -> None:
        """Start the process; on Linux it gets its stop signal when this process dies, however it dies."""
        log_file = self.log_file.open("ab")
        self._log_start = log_file.tell()
        launched = threading.Event()
        failures: list[Exception] = []
        options = {**_isolated(environment, user, self._stop_signal), "stdout": log_file, "stderr": log_file}

        def run() -> None:
            try:
                with self._state:
                    if self._stopped:
                        raise LocalServerError("it was stopped while it started")
                    self._process = process = subprocess.Popen(command, **options)
                    unfinished = self.pid_file.with_suffix(".unfinished")
                    unfinished.write_text(f"{process.pid}\n")
                    unfinished.replace(self.pid_file)
            except (OSError, LocalServerError) as error:
                failures.append(error)
                return
            finally:
                log_file.close()
                launched.set()
            process.wait()

        # Linux sends the signal when the *thread* that forked ends, so that thread must live as long as the process.
        threading.Thread(target=run, name=f"{self.name}-parent", daemon=True).start()
        launched.wait()
        if failures:
            raise LocalServerError(f"cannot start {command[0]}: {failures}")

    def stop(self) -> None:
        """End the process cleanly, or by SIGKILL after the timeout, and release the folder; safe to repeat."""
        with self._state:
            self._stopped, process = True, self._process
        if process is not None and process.poll() is None:
            process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._stop_timeout_seconds)
        self.kill()

    def kill(self) -> None:
        """End the process by SIGKILL, as a crash would, and release the folder; safe to repeat."""
        with self._state:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._process = None
            self.pid_file.unlink(missing_ok=True)
            if self._lock_file is not None:
                self._lock_file.close()
                self._lock_file = None

    def wait_until_ready(self, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Poll until the process is ready; raises LocalServerError, with the end of its log, when it does not."""
        in_time = comes_true(lambda: not self.is_running or is_ready(), timeout_seconds)
        if not (in_time and self.is_running):
            reason = "did not answer in time" if self.is_running else "ended by itself"
            raise LocalServerError(f"the local {self.name} {reason}; {self.log_file} says:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the last lines that the process has logged since it was launched."""
        return read_tail(self.log_file, start=self._log_start)

    def _is_ours(self, pid: int) -> bool:
        return set(self._markers) <= set(command_line(pid))

    def _end_left_over(self, pid: int) -> None:
        """End a process that is not our child: its stop signal, 10 seconds, then SIGKILL."""
        for sent, timeout_seconds in ((self._stop_signal, 10.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
            if comes_true(lambda: not self._is_ours(pid), timeout_seconds):
                return
        raise LocalServerError(f"process {pid} does not end; end it by hand")


def run_to_end(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    user: SystemUser | None = None,
    timeout_seconds: float = 120.0,
    cwd: Path = Path("/"),
    output: IO[bytes] | int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run a command that prepares a server's folder or its data; on Linux it is killed when this process dies."""
    options = {**_isolated(environment, user, signal.SIGKILL), "cwd": cwd, "stdout": output, "stderr": output}
    try:
        return subprocess.run(command, text=True, check=False, timeout=timeout_seconds, **options)
    except subprocess.TimeoutExpired as error:
        raise LocalServerError(f"{command[0]} did not end within {timeout_seconds:.0f} s") from error


def read_tail(path: Path, *, start: int = 0) -> str:
    """Return the last 15 lines from `start` on; nothing when there is no such file."""
    try:
        with path.open(errors="replace") as log_file:
            log_file.seek(start)
            return "".join(deque(log_file, maxlen=15))
    except FileNotFoundError:
        return ""


def comes_true(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Poll until the condition holds; False when the time is over."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_port(preferred: int | None = None, *, other_than: int | None = None) -> int:
    """Return a loopback port that no process listens on; `preferred` if that one is free."""
    for port in (preferred, *random.sample(_PORTS, 200)):
        if port is not None and port != other_than and port_is_free(port):
            return port
    raise LocalServerError(f"no free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def command_line(pid: int) -> list[str]:
    """Return the arguments of a running process; empty for a zombie and when there is no such process."""
    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.Error:
        return []


def read_pid(path: Path) -> int | None:
    """Return the number that a pid file starts with; None when there is no such file or it is unfinished."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _isolated(environment: Mapping[str, str], user: SystemUser | None, stop_signal: signal.Signals) -> dict[str, Any]:
    """Return the subprocess options of a process that no terminal reaches and that dies with this process."""
    parent_pid = os.getpid()

    def before_exec() -> None:
        # Linux sends the signal when the thread that forked ends; elsewhere nobody does.
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent_pid:  # the parent died before the line above
            os._exit(1)

    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    return {
        "env": dict(environment),
        "cwd": "/",
        "stdin": subprocess.DEVNULL,
        # Ctrl-C in a terminal reaches the owner alone, who then stops its servers in order.
        "start_new_session": True,
        "preexec_fn": before_exec,  # safe beside threads: one resolved C function, no lock
        **identity,
    }


def take_lock(path: Path) -> IO[str]:
    """Return a lock file that is held until it is closed or this process dies; raises DataFolderInUse."""
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
        raise DataFolderInUse(path.parent, owner) from error
    note_owner(lock_file, "")
    return lock_file


def note_owner(lock_file: IO[str], more: str) -> None:
    """Write into a lock file which process holds it, and more about it for whoever is refused."""
    lock_file.truncate(0)
    lock_file.write(f"{os.getpid()}{more}\n")
    lock_file.flush()
