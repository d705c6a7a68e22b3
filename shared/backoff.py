"""Back-off after transient errors: the delay doubles with each failure in a row, up to a maximum."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from shared.errors import Stopped, TransientError, describe_error
from shared.logging import get_logger

FIRST_SECONDS = 0.1
MOST_SECONDS = 30.0

Result = TypeVar("Result")
log = get_logger(__name__)


def delay_seconds(failures: int, *, first_seconds: float = FIRST_SECONDS, most_seconds: float = MOST_SECONDS) -> float:
    """Return how long to wait after `failures` failures in a row (at least 1)."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    return wait_exponential(multiplier=first_seconds, max=most_seconds)(state)


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

    def log_failure(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(log_event, error=describe_error(error) if error else None, retry_in_seconds=state.upcoming_sleep)

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise Stopped

    retrying = Retrying(
        retry=retry_if_exception_type(on),
        wait=wait_exponential(multiplier=FIRST_SECONDS, max=most_seconds),
        before_sleep=log_failure,
        sleep=sleep,
    )
    return retrying(operation)
