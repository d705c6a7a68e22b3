"""The watch over a service's progress."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from shared.liveness import STALLED_EXIT_CODE, Progress, StallWatch
from tests.fakes import FakeClock


class Watched:
    """A watch on a probe that says what a test lets it say, checked every 5 s."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = CollectorRegistry()
        self.progress: Progress | None = None
        self.watch = StallWatch(
            lambda: self.progress, stall_seconds=60.0, clock=self.clock, name="worker", registry=self.registry
        )

    def pass_by(self, seconds: float, progress: Progress | None) -> str | None:
        """Let so much time pass with this to see, and return why the process is not live."""
        self.progress = progress
        for _ in range(int(seconds / 5.0)):
            self.clock.advance(5.0)
            self.watch.check()
        return self.watch.reason()


def test_nothing_waits_for_ever_without_being_stalled() -> None:
    watched = Watched()
    assert watched.pass_by(3600.0, Progress(done=0, waiting=0)) is None
    assert watched.pass_by(3600.0, None) is None


def test_work_that_waits_without_progress_is_named_after_the_stall_seconds() -> None:
    watched = Watched()
    assert watched.pass_by(60.0, Progress(done=7, waiting=3)) is None
    assert watched.pass_by(10.0, Progress(done=7, waiting=4)) == "4 messages wait and nothing was stored for 60 s"
    assert watched.registry.get_sample_value("recommender_worker_stalled") == 1
    assert watched.registry.get_sample_value("recommender_worker_waiting_messages") == 4
    assert watched.pass_by(5.0, Progress(done=8, waiting=4)) is None
    assert watched.registry.get_sample_value("recommender_worker_stalled") == 0


def test_progress_however_slow_is_no_stall() -> None:
    watched = Watched()
    for done in range(50):
        assert watched.pass_by(55.0, Progress(done, waiting=1000)) is None


@pytest.mark.parametrize("pause", [None, Progress(done=7, waiting=0)])
def test_the_time_counts_anew_after_a_server_did_not_answer_or_nothing_waited(pause: Progress | None) -> None:
    watched = Watched()
    watched.pass_by(55.0, Progress(done=7, waiting=3))
    watched.pass_by(5.0, pause)
    assert watched.pass_by(60.0, Progress(done=7, waiting=3)) is None
    assert watched.pass_by(10.0, Progress(done=7, waiting=3)) is not None


def test_a_process_that_stays_stalled_ends_with_a_code_of_its_own() -> None:
    program = (
        "import threading, shared.liveness as liveness\n"
        "from shared.health import Heartbeat\n"
        "liveness.EXIT_AFTER_SECONDS = 0.1\n"
        "watch = liveness.StallWatch(lambda: liveness.Progress(0, 1), stall_seconds=0.2)\n"
        "liveness.watch_in_background(watch, heartbeat=Heartbeat(), stop=threading.Event())\n"
        "threading.Event().wait(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, capture_output=True)
    assert ended.returncode == STALLED_EXIT_CODE
    assert b"service.stalled" in ended.stdout + ended.stderr


def test_a_process_whose_main_loop_hangs_ends_too() -> None:
    program = (
        "import threading, shared.liveness as liveness\n"
        "from shared.health import Heartbeat\n"
        "liveness.EXIT_AFTER_SECONDS = 0.1\n"
        "watch = liveness.StallWatch(lambda: 1 / 0, stall_seconds=0.2)\n"
        "heartbeat = Heartbeat(within_seconds=0.2)\n"
        "liveness.watch_in_background(watch, heartbeat=heartbeat, stop=threading.Event())\n"
        "threading.Event().wait(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, capture_output=True)
    assert ended.returncode == STALLED_EXIT_CODE
