"""Several gateway processes behind one port (decision 47): one parent binds, forks, replaces and stops them.

The parent has one thread and no event loop. It takes its signals one at a time, so that nothing interrupts it.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.backoff import delay_seconds
from shared.logging import add_to_every_line, get_logger

# The exit code of a process that logged why it does not serve.
SAID_WHY = 1
MOST_BACKOFF_SECONDS = 10.0
# A process that served for so long begins its back-off anew.
STABLE_SECONDS = 30.0
# A process whose event loop makes no step for so long is killed. It is looked at so often.
HANG_SECONDS = 30.0
LOOK_SECONDS = 5.0
# Of the time to stop, reserved for the end of this process after the others.
ENDING_SECONDS = 0.25
IS_SUPPORTED = sys.platform == "linux"

_STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
_AWAITED = _STOPS | {signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if IS_SUPPORTED else None

# Serves as the process with this index until SIGTERM, and returns the exit code. It calls the function at each step of
# its event loop, about once a second, from when it accepts connections.
Serve = Callable[[int, Callable[[], None]], int]

log = get_logger(__name__)


@dataclass
class _Slot:
    """The place of one process; a replacement has the same index."""

    index: int
    pid: int | None = None
    failures: int = 0  # in a row
    started_at: float = 0.0
    starts_at: float = 0.0
    steps: int = 0  # as they were seen at the last look
    looks_without_step: int = 0


@dataclass(frozen=True)
class _Ended:
    slot: _Slot
    pid: int
    exit_code: int  # negative: the signal

    def describe(self) -> dict[str, Any]:
        """Return the fields of a log line about it."""
        # `reason` makes each end a kind of its own: none is left out as a repetition.
        reason = f"process {self.slot.index} with the id {self.pid} ended"
        return {"reason": reason, "pid": self.pid, "exit_code": self.exit_code}


class ProcessGroup:
    """`count` processes that each call `serve`; this one starts, replaces and stops them.

    `on_end` is called here with the index of each process that ended.
    """

    def __init__(
        self, serve: Serve, *, count: int, stop_seconds: float, on_end: Callable[[int], None] = lambda _: None
    ) -> None:
        self._serve = serve
        self._slots = [_Slot(index) for index in range(count)]
        self._stop_seconds = stop_seconds
        self._on_end = on_end
        # Shared with the forked processes: one byte for each slot, 0 until its process serves, and then 1 to 255 by
        # turns, another one at each step.
        self._steps = mmap.mmap(-1, count)
        self._looks_at = 0.0
        # One that was told to stop alone may be busy with open requests for so long.
        self._most_looks = math.ceil(max(HANG_SECONDS, stop_seconds) / LOOK_SECONDS)

    def run_until_signal(self) -> int:
        """Return 0 after a stop by SIGTERM or SIGINT, 1 when a process cannot start or does not stop in time.

        A process that ends before its slot ever served cannot start. Any other is replaced, with a back-off. One that
        hangs is killed.
        """
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, the exit codes are lost
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        while True:
            self._start_due()
            self._look_for_hanging()
            received = signal.sigtimedwait(_AWAITED, self._seconds_to_wait())
            if received is not None and received.si_signo in _STOPS:
                return 0 if self._stop() else 1
            for ended in self._reap():
                if not self._steps[ended.slot.index]:
                    if ended.exit_code != SAID_WHY:
                        log.error("process.not_started", **ended.describe())
                    self._stop()
                    return 1
                seconds = self._plan_start(ended.slot)
                log.error("process.ended", **ended.describe(), replaced_in_seconds=seconds)

    def _start_due(self) -> None:
        for slot in self._slots:
            if slot.pid is None and slot.starts_at <= time.monotonic():
                slot.started_at, slot.looks_without_step = time.monotonic(), 0
                try:
                    slot.pid = self._fork(slot.index)
                except OSError as error:
                    log.error("process.not_forked", error=str(error), again_in_seconds=self._plan_start(slot))

    def _fork(self, index: int) -> int:
        parent = os.getpid()
        if pid := os.fork():
            return pid
        try:
            _end_with(parent)
            add_to_every_line(process=index)
            os._exit(self._serve(index, lambda: self._note_step(index)))
        except SystemExit:
            pass  # of uvicorn, which said why
        except BaseException:
            log.exception("process.failed")
        finally:
            os._exit(SAID_WHY)  # never on into the code of the parent

    def _note_step(self, index: int) -> None:
        self._steps[index] = self._steps[index] % 255 + 1

    def _look_for_hanging(self) -> None:
        """Kill the processes without a step in all of the last looks.

        Looks are counted, not seconds: after a pause of the whole machine nobody is late.
        """
        if time.monotonic() < self._looks_at:
            return
        self._looks_at = time.monotonic() + LOOK_SECONDS
        for slot in self._running():
            is_silent = slot.steps == self._steps[slot.index]
            slot.steps = self._steps[slot.index]
            slot.looks_without_step = slot.looks_without_step + 1 if is_silent else 0
            if slot.looks_without_step == self._most_looks:
                assert slot.pid is not None
                log.error("process.hangs", reason=f"process {slot.index} with the id {slot.pid} hangs", pid=slot.pid)
                os.kill(slot.pid, signal.SIGKILL)

    def _plan_start(self, slot: _Slot) -> float:
        """Plan the next start of this slot, and return the seconds until then."""
        now = time.monotonic()
        slot.failures = 1 if now - slot.started_at > STABLE_SECONDS else slot.failures + 1
        seconds = delay_seconds(slot.failures, most_seconds=MOST_BACKOFF_SECONDS)
        slot.starts_at = now + seconds
        return seconds

    def _seconds_to_wait(self) -> float:
        starts = [slot.starts_at for slot in self._slots if slot.pid is None]
        return max(0.0, min([*starts, self._looks_at]) - time.monotonic())

    def _stop(self) -> bool:
        """Stop all processes; return whether each ended by itself in time."""
        deadline = time.monotonic() + self._stop_seconds - ENDING_SECONDS
        for slot in self._running():
            assert slot.pid is not None
            os.kill(slot.pid, signal.SIGTERM)  # until it is reaped, the id is no other process's
        while self._running() and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            for ended in self._reap():
                if ended.exit_code not in (0, SAID_WHY):
                    log.error("process.ended", **ended.describe())
        late = self._running()
        for slot in late:  # Linux kills them when this process ends
            log.error("process.killed", reason=f"process {slot.index} did not stop", pid=slot.pid)
        return not late

    def _running(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.pid is not None]

    def _reap(self) -> list[_Ended]:
        """Return the processes that ended since the last call."""
        found = []
        for slot in self._running():
            assert slot.pid is not None
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                found.append(_Ended(slot, pid, os.waitstatus_to_exitcode(status)))
                slot.pid = None
                self._on_end(slot.index)
        return found


def reserve(host: str, port: int) -> list[socket.socket]:
    """Bind an address for the processes that are forked; raises OSError where another program has it.

    The sockets do not listen. They keep the address while processes come and go.
    """
    for probe in bind(host, port, is_shared=False):
        probe.close()
    return bind(host, port)


def bind(host: str, port: int, *, is_shared: bool = True) -> list[socket.socket]:
    """Return a bound socket for each address of the host, as asyncio does; raises OSError.

    `is_shared`: Linux distributes the connections over all sockets with the address that listen.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(bound := socket.socket(family, socket.SOCK_STREAM))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address[0], sockets[0].getsockname()[1] or port, *address[2:]))
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _end_with(parent: int) -> None:
    """Have Linux kill this process when its parent ends, however that ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
