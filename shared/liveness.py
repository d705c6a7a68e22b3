"""Whether a service makes progress: work that waits must be done, as long as broker and database answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from shared.health import Heartbeat
from shared.logging import get_logger

STALLED_EXIT_CODE = 70
EXIT_AFTER_SECONDS = 15.0  # of /health/live saying 503: time for whoever asks it to see why
MOST_CHECK_SECONDS = 5.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Progress:
    """What was seen at one moment: `done` grows with each piece of work that was stored, `waiting` is what is left."""

    done: int
    waiting: int


class StallWatch:
    """Knows for how long work has waited while nothing was done.

    `probe` returns None while a server that the work needs does not answer, or while that is not known: that time does
    not count. It is called from one thread, `reason` from any.
    """

    def __init__(
        self,
        probe: Callable[[], Progress | None],
        *,
        stall_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        name: str = "worker",
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self.stall_seconds = stall_seconds
        self._done: int | None = None
        self._waiting_since: float | None = None
        self._waiting = 0
        prefix = f"recommender_{name}"
        stalled = Gauge(f"{prefix}_stalled", "1 while work waits and nothing is done", registry=registry)
        stalled.set_function(lambda: float(self.stalled_seconds() > 0))  # as /health/live says at the same moment
        self._waiting_gauge = Gauge(f"{prefix}_waiting_messages", "Messages not stored yet", registry=registry)

    def check(self) -> None:
        """Look once, and remember since when nothing was done."""
        progress = self._probe()
        if progress is None or progress.waiting == 0 or progress.done != self._done:
            self._waiting_since = None
        if progress is not None:
            self._done, self._waiting = progress.done, progress.waiting
            self._waiting_gauge.set(progress.waiting)
            if progress.waiting and self._waiting_since is None:
                self._waiting_since = self._clock()

    def stalled_seconds(self) -> float:
        """Return for how long more than `stall_seconds` nothing was done; 0 while all is well."""
        since = self._waiting_since
        return 0.0 if since is None else max(0.0, self._clock() - since - self.stall_seconds)

    def reason(self) -> str | None:
        """Return why this process is not live, None when it is."""
        if self.stalled_seconds() == 0:
            return None
        return f"{self._waiting} messages wait and nothing was stored for {self.stall_seconds:g} s"


def watch_in_background(watch: StallWatch, *, heartbeat: Heartbeat, stop: threading.Event) -> threading.Thread:
    """Check until `stop`, in a thread of its own; end the process with STALLED_EXIT_CODE when it is not live for long.

    A supervisor restarts it. What was stored stays, what was not is read again: ending it loses nothing.
    """

    def run() -> None:
        pause_seconds = min(MOST_CHECK_SECONDS, watch.stall_seconds / 4)
        while not stop.wait(pause_seconds):
            try:
                watch.check()
            except Exception as error:
                log.error("liveness.check_failed", error_type=type(error).__name__, error=str(error))
            if max(watch.stalled_seconds(), heartbeat.overdue_seconds()) > EXIT_AFTER_SECONDS:
                log.critical("service.stalled", reason=watch.reason() or "the main loop makes no step")
                os._exit(STALLED_EXIT_CODE)

    thread = threading.Thread(target=run, name="liveness", daemon=True)
    thread.start()
    return thread
