"""Liveness of worker and trainer: waiting messages must make progress while broker and database answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from shared.errors import BrokerUnavailable, DatabaseUnavailable
from shared.health import Heartbeat
from shared.logging import get_logger
from shared.ports import EventConsumer, OffsetSource, Partition

STALLED_EXIT_CODE = 70
EXIT_AFTER_SECONDS = 15.0  # of 503 from /health/live, so that a supervisor can read the reason
MAX_CHECK_SECONDS = 5.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Progress:
    """The state at one moment: `done` grows with each stored piece of work, `waiting` counts unfinished messages."""

    done: int
    waiting: int


def measure_progress(
    *, done: int, polled: int, next_offsets: Mapping[Partition, int], consumer: EventConsumer, offsets: OffsetSource
) -> Progress | None:
    """Return what is done and what waits: `polled` messages, and those in the log from `next_offsets` on.

    None while broker or database do not answer.
    """
    if not polled and not next_offsets:
        return Progress(done, 0)
    try:
        ends = consumer.fetch_high_watermarks(next_offsets.keys()) if next_offsets else {}
        offsets.fetch_offsets(sorted(next_offsets)[:1])  # only to see that the database answers
    except (BrokerUnavailable, DatabaseUnavailable):
        return None
    in_log = sum(max(0, ends[partition] - offset) for partition, offset in next_offsets.items())
    return Progress(done, polled + in_log)


class StallWatch:
    """Measures how long messages have waited while nothing was stored.

    `probe` returns None while the progress is unknown, for example while a server does not answer; that time does not
    count. `check` is called from one thread, `reason` from any.
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
        stalled = Gauge(f"{prefix}_stalled", "1 while messages wait and nothing is stored", registry=registry)
        stalled.set_function(lambda: float(self.stalled_seconds() > 0))  # always equal to /health/live
        self._waiting_gauge = Gauge(f"{prefix}_waiting_messages", "Messages not stored yet", registry=registry)

    def check(self) -> None:
        """Probe once and record since when nothing was stored."""
        progress = self._probe()
        if progress is None or progress.waiting == 0 or progress.done != self._done:
            self._waiting_since = None
        if progress is not None:
            self._done, self._waiting = progress.done, progress.waiting
            self._waiting_gauge.set(progress.waiting)
            if progress.waiting and self._waiting_since is None:
                self._waiting_since = self._clock()

    def stalled_seconds(self) -> float:
        """Return for how long, beyond `stall_seconds`, nothing was stored; 0 while there is progress."""
        since = self._waiting_since
        return 0.0 if since is None else max(0.0, self._clock() - since - self.stall_seconds)

    def reason(self) -> str | None:
        """Return why this process is not live, None when it is."""
        if self.stalled_seconds() == 0:
            return None
        return f"{self._waiting} messages wait and nothing was stored for {self.stall_seconds:g} s"


def watch_in_background(watch: StallWatch, *, heartbeat: Heartbeat, stop: threading.Event) -> threading.Thread:
    """Check in a thread until `stop`; exit with STALLED_EXIT_CODE when the process is not live for too long.

    A supervisor restarts it. Nothing is lost: stored work stays, and the rest is consumed again.
    """

    def run() -> None:
        pause_seconds = min(MAX_CHECK_SECONDS, watch.stall_seconds / 4)
        while not stop.wait(pause_seconds):
            try:
                watch.check()
            except Exception as error:
                log.error("liveness.check_failed", error_type=type(error).__name__, error=str(error))
            if max(watch.stalled_seconds(), heartbeat.overdue_seconds()) > EXIT_AFTER_SECONDS:
                log.critical("service.stalled", reason=watch.reason() or "the main loop hangs")
                os._exit(STALLED_EXIT_CODE)

    thread = threading.Thread(target=run, name="liveness", daemon=True)
    thread.start()
    return thread
