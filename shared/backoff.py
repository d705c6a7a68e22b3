"""Back-off after transient errors: the delay doubles with each failure in a row, up to a maximum."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from shared.errors import Stopped, TransientError, describe_error
from shared.logging import get_logger

FIRST_SECONDS = 0.1
MOST_SECONDS = 30.0

Result = TypeVar("Result")
log = get_logger(__name__)


def delay_seconds(failures: int, *, first_seconds: float = FIRST_SECONDS, most_seconds: float = MOST_SECONDS) -> float:
    """Return how long to wait after `failures` failures in a row (at least 1)."""
    return min(most_seconds, first_seconds * 2.0 ** min(failures - 1, 64))


def retry_until(
    stop: threading.Event,
    operation: Callable[[], Result],
    *,
    on: type[Exception] | tuple[type[Exception], ...] = TransientError,
    log_event: str = "operation.retried",
    most_seconds: float = MOST_SECONDS,
) -> Result:
    """Return the result of `operation`, repeated while it raises `on`; raises Stopped once `stop` is set.

    Any other exception of `operation` is raised at once.
    """
    failures = 0
    while True:
        try:
            return operation()
        except on as error:
            failures += 1
            seconds = delay_seconds(failures, most_seconds=most_seconds)
            log.warning(log_event, error=describe_error(error), retry_in_seconds=seconds)
        if stop.wait(seconds):
            raise Stopped
