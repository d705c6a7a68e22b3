"""One failure policy for worker and trainer: it returns a decision, the loop obeys it.

Transient errors are retried without end. A contract violation makes its message a dead letter at once. Any other error
is a bug: retried `bug_retries` times, then the message that causes it becomes a dead letter. Where no message can be
the cause, the operation is retried without end, and the consumer reads again from its stored offsets.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from shared.backoff import FIRST_SECONDS, MOST_SECONDS, delay_seconds
from shared.errors import ContractViolation, OffsetOutOfRange, StaleOffsets, TransientError

# Never caused by a message: these are about servers, and about who owns a partition.
NOT_OF_A_MESSAGE = (TransientError, StaleOffsets, OffsetOutOfRange)


@dataclass(frozen=True)
class BackOff:
    """Try the same again after so many seconds; skip nothing."""

    seconds: float


@dataclass(frozen=True)
class Rewind:
    """Drop the polled messages and read again from the stored offsets, after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class ToDeadLetter:
    """Make the message that causes the failure a dead letter; of several messages, find it first."""


@dataclass(frozen=True)
class StandStill:
    """Leave the partition to an operator; continue with the others."""


RetryDecision: TypeAlias = BackOff | Rewind | ToDeadLetter | StandStill


@dataclass(frozen=True)
class RetryPolicy:
    """What to do after a failure. A delay is random between half and all of its back-off."""

    first_seconds: float = FIRST_SECONDS
    most_seconds: float = MOST_SECONDS
    most_bug_seconds: float = MOST_SECONDS
    bug_retries: int = 3
    jitter: Callable[[], float] = random.random

    def decide(self, error: Exception, *, failures: int, in_batch: bool) -> RetryDecision:
        """Return what to do about `error`.

        `failures` counts the failures of its kind in a row, this one included. `in_batch` says that messages were
        being processed, so that one of them can be the cause.
        """
        if isinstance(error, OffsetOutOfRange):
            return StandStill()
        if isinstance(error, StaleOffsets):
            return Rewind(self.delay_seconds(failures))
        if isinstance(error, TransientError):
            return BackOff(self.delay_seconds(failures))
        if in_batch and (isinstance(error, ContractViolation) or failures > self.bug_retries):
            return ToDeadLetter()
        delay = self.delay_seconds(failures, most_seconds=self.most_bug_seconds)
        return Rewind(delay) if failures > self.bug_retries else BackOff(delay)

    def delay_seconds(self, failures: int, *, most_seconds: float | None = None) -> float:
        """Return the delay after so many failures in a row."""
        ceiling = delay_seconds(
            failures, first_seconds=self.first_seconds, most_seconds=most_seconds or self.most_seconds
        )
        return max(self.first_seconds, ceiling * (0.5 + 0.5 * self.jitter()))
