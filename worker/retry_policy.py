"""What to do about a failure: the policy returns a decision, the loop obeys it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from shared.errors import (
    BrokerUnavailable,
    ContractViolation,
    DatabaseUnavailable,
    OffsetOutOfRange,
    StaleOffsets,
)

TRANSIENT = (DatabaseUnavailable, BrokerUnavailable)
# No message is to blame for these: they are about servers, and about who owns a partition.
NOT_OF_A_MESSAGE = (*TRANSIENT, StaleOffsets, OffsetOutOfRange)


@dataclass(frozen=True)
class BackOff:
    """Try the same again after so many seconds; skip nothing."""

    seconds: float


@dataclass(frozen=True)
class Rewind:
    """Drop what was polled and read again from the stored offsets, after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Narrow:
    """Process the batch in smaller and smaller parts; a message that fails alone becomes a dead letter."""


@dataclass(frozen=True)
class StandStill:
    """Leave that partition alone until an operator decides; go on with the others."""


RetryDecision: TypeAlias = BackOff | Rewind | Narrow | StandStill


@dataclass(frozen=True)
class RetryPolicy:
    """Transient errors are waited for, without end. A bug is retried `bug_retries` times; then its batch is narrowed
    down, or, where no message can be to blame, everything is read again."""

    least_seconds: float = 0.1
    most_seconds: float = 30.0
    bug_retries: int = 3
    jitter: Callable[[], float] = random.random

    def decide(self, error: Exception, *, failures: int, in_batch: bool) -> RetryDecision:
        """Return what to do about `error`.

        `failures` counts those of its kind in a row, this one included and at least 1; `in_batch` says that messages
        were being processed, so that one of them may be to blame.
        """
        if isinstance(error, OffsetOutOfRange):
            return StandStill()
        if isinstance(error, StaleOffsets):
            return Rewind(self.delay_seconds(failures))
        if isinstance(error, TRANSIENT):
            return BackOff(self.delay_seconds(failures))
        if in_batch and (isinstance(error, ContractViolation) or failures > self.bug_retries):
            return Narrow()
        if failures > self.bug_retries:
            return Rewind(self.delay_seconds(failures))  # whatever is wrong in memory is read again
        return BackOff(self.delay_seconds(failures))

    def delay_seconds(self, failures: int) -> float:
        """Return the pause after so many failures in a row: doubling, capped, at random between half and all of it."""
        ceiling = min(self.most_seconds, self.least_seconds * 2.0 ** min(failures - 1, 30))
        return max(self.least_seconds, ceiling * (0.5 + 0.5 * self.jitter()))
