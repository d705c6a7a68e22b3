"""What a call sends and when, without any I/O: `Client` and `AsyncClient` carry it out.

An exchange is a generator. It yields the next attempt and gets its answer, or the error that the attempt ended with.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from far_trans_client.answers import RecommendationList
from far_trans_client.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    FarTransError,
    ListNotReady,
    RequestFailed,
    Unavailable,
)
from far_trans_client.messages import Answer, Operation
from far_trans_client.operations import recommendations_if_ready, request_status

T = TypeVar("T")
_WAIT_SECONDS = 20.0  # of one attempt; the gateway takes at most 30
_GRACE_SECONDS = 5.0  # for the answer itself
_PAUSE_SECONDS = 0.1  # at least, between two attempts that found no list
_LEAST_TIMEOUT_SECONDS = 0.05


@dataclass(frozen=True)
class Limits:
    """How long a call may take, how often it is repeated, and how much of an answer is read."""

    timeout_seconds: float = 30.0  # of a call, with all its attempts
    attempt_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 5.0
    attempts: int = 4
    first_delay_seconds: float = 0.25  # doubles with each attempt
    longest_delay_seconds: float = 10.0  # also for a Retry-After
    stream_attempts: int = 10  # to connect a stream again, in a row
    stream_silence_seconds: float = 45.0  # the gateway sends a comment every 15 s
    most_answer_bytes: int = 32 * 1024 * 1024
    most_event_bytes: int = 1024 * 1024


@dataclass(frozen=True)
class Attempt:
    """Wait, then send this request and read the whole answer, within `timeout_seconds` from when it is sent."""

    operation: Operation[object]
    delay_seconds: float
    timeout_seconds: float


Exchange = Generator[Attempt, Answer, T]


def call(
    operation: Operation[T],
    limits: Limits,
    *,
    delay_seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> Exchange[T]:
    """Send an operation, and again after a transient failure where that is safe; return what it answers.

    Raises the last failure when attempts or time are over. A 4xx is never repeated.
    """
    delay, failures = delay_seconds, 0
    deadline = clock() + delay + limits.timeout_seconds
    while True:
        remaining = max(_LEAST_TIMEOUT_SECONDS, deadline - clock() - delay)
        try:
            answer = yield Attempt(operation, delay, min(limits.attempt_timeout_seconds, remaining))
            return operation.finish(answer)
        except (ConnectionFailed, Unavailable) as error:
            failures += 1
            delay = delay_before_retry(error, failures, limits)
            is_over = failures >= limits.attempts or clock() + delay >= deadline
            if is_over or not operation.is_repeatable:
                raise


def wait_for_list(
    customer_id: str,
    request_id: UUID | str,
    limits: Limits,
    *,
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Exchange[RecommendationList]:
    """Ask for the list of a request until it is there; return it, or a later one of the customer.

    Raises ListNotReady after `timeout_seconds`, RequestFailed, and what a call raises.
    """
    deadline, delay = clock() + timeout_seconds, 0.0
    while True:
        wait = min(_WAIT_SECONDS, max(0.0, deadline - clock() - delay))
        operation = recommendations_if_ready(customer_id, request_id=request_id, wait=wait)
        # The gateway holds its answer back for up to `wait` seconds.
        seconds = wait + _GRACE_SECONDS
        patient = replace(limits, timeout_seconds=seconds, attempt_timeout_seconds=seconds)
        try:
            answer = yield from call(operation, patient, delay_seconds=delay, clock=clock)
        except Conflict as error:
            raise (yield from _build_request_failed(request_id, limits)) from error
        if isinstance(answer, RecommendationList):
            return answer
        remaining = deadline - clock()
        if remaining <= 0.0:
            raise ListNotReady(str(request_id), timeout_seconds=timeout_seconds)
        pause = _PAUSE_SECONDS if answer.retry_after_seconds is None else answer.retry_after_seconds
        delay = min(remaining, limits.longest_delay_seconds, max(_PAUSE_SECONDS, pause))


def _build_request_failed(request_id: UUID | str, limits: Limits) -> Exchange[RequestFailed]:
    try:
        progress = yield from call(request_status(request_id), limits)
    except FarTransError:  # that it failed is known, only not why
        return RequestFailed(str(request_id), reason=None)
    return RequestFailed(str(request_id), reason=progress.reason)


def delay_before_retry(
    error: Exception, failures: int, limits: Limits, *, draw: Callable[[], float] = random.random
) -> float:
    """Return the seconds before the next attempt: Retry-After, else a doubling delay; both with jitter and a limit."""
    delay = limits.first_delay_seconds * 2.0 ** min(failures - 1, 30)
    if isinstance(error, ApiError) and error.retry_after_seconds is not None:
        delay = max(delay, error.retry_after_seconds)
    # Never earlier than Retry-After; clients that failed together come back apart.
    return min(limits.longest_delay_seconds, delay * (1.0 + 0.5 * draw()))
