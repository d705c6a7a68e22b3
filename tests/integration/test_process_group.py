"""The parent of several processes, which are no gateways here: back-off, a start that fails, signals during a start."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

PROGRAM = """
import os, signal, sys, time
from api import processes
from shared.logging import configure_logging

def serve(index, note_step):
    {serve}

processes.LOOK_SECONDS, processes.HANG_SECONDS = 0.2, 1.0

configure_logging(level="INFO", log_format="json", service="test")
sys.exit(processes.ProcessGroup(serve, count={count}, stop_seconds={stop_seconds}).run_until_signal())
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
STOP_ON_SIGTERM = """
    print("starting", flush=True)
    time.sleep(1.0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    note_step()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    time.sleep(60.0)
"""


@contextmanager
def group(serve: str, *, count: int = 1, stop_seconds: float = 10.0) -> Iterator[subprocess.Popen[str]]:
    program = PROGRAM.format(serve=serve, count=count, stop_seconds=stop_seconds)
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        limit = threading.Timer(60.0, process.kill)  # ends its processes, and with them what a test reads
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def lines(stream: IO[str] | None) -> Iterator[dict[str, Any]]:
    assert stream is not None
    yield from map(json.loads, stream)


def test_a_process_that_dies_again_and_again_is_replaced_ever_later() -> None:
    with group(f"note_step(); {DIE}") as parent:
        ended = lines(parent.stderr)
        found = [next(ended) for _ in range(4)]
        parent.terminate()
        assert parent.wait(40) == 0
    assert [(line["event"], line["exit_code"]) for line in found] == [("process.ended", -signal.SIGKILL)] * 4
    assert [line["replaced_in_seconds"] for line in found] == [0.1, 0.2, 0.4, 0.8]


def test_a_process_that_ends_before_it_served_ends_the_others_and_the_parent() -> None:
    serve = f"{DIE} if index else None{STOP_ON_SIGTERM}"
    with group(serve, count=2) as parent:
        [line] = lines(parent.stderr)  # until all processes have closed it
        assert parent.wait(40) == 1
    assert (line["event"], line["exit_code"]) == ("process.not_started", -signal.SIGKILL)


def test_a_process_that_said_why_it_does_not_serve_is_not_logged_again() -> None:
    with group("return 1") as parent:
        assert list(lines(parent.stderr)) == []
        assert parent.wait(40) == 1


def test_a_bug_before_the_first_request_is_logged_once() -> None:
    with group("raise ValueError('a bug')") as parent:
        [line] = lines(parent.stderr)
        assert parent.wait(40) == 1
    assert line["event"] == "process.failed"
    assert "a bug" in line["exception"]


def test_a_signal_during_the_start_stops_the_process_once_it_has_started() -> None:
    with group(STOP_ON_SIGTERM) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "starting\n"
        started_at = time.monotonic()
        parent.terminate()
        assert parent.wait(40) == 0
    assert time.monotonic() - started_at < 30


def test_every_thread_of_a_process_logs_its_index() -> None:
    serve = """
    import threading
    from shared.logging import get_logger
    log = get_logger("test").error
    log("one.line")
    thread = threading.Thread(target=log, args=("another.line",))
    thread.start()
    thread.join()
    return 1
"""
    with group(serve) as parent:
        found = {line["event"]: line.get("process") for line in lines(parent.stderr)}
    assert found == {"one.line": 0, "another.line": 0}


def test_a_process_that_hangs_is_killed_and_replaced_and_others_are_not() -> None:
    serve = """
    for _ in range(1 if index else 1000):
        note_step()
        time.sleep(0.1)
    print("hangs", flush=True)
    time.sleep(60.0)
"""
    with group(serve, count=2, stop_seconds=1.0) as parent:
        found = lines(parent.stderr)
        hangs, ended, again = next(found), next(found), next(found)
        parent.kill()
    assert [line["event"] for line in (hangs, ended, again)] == ["process.hangs", "process.ended", "process.hangs"]
    assert (ended["pid"], ended["exit_code"]) == (hangs["pid"], -signal.SIGKILL)
    assert hangs["reason"].startswith("process 1 ")
    assert again["pid"] != hangs["pid"]
