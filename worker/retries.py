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


@dataclass(frozen=True)
class BackOff:
    """Try the same again after so many seconds; skip nothing."""

    seconds: float


@dataclass(frozen=True)
class Rewind:
    """Drop what was polled and read again from the stored offsets, after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Isolate:
    """Process the batch's messages one by one, so that the guilty ones take no other along."""


@dataclass(frozen=True)
class GiveUp:
    """Put the one message of the batch into dead_letters."""


@dataclass(frozen=True)
class StandStill:
    """Leave that partition alone until an operator decides; go on with the others."""


RetryDecision: TypeAlias = BackOff | Rewind | Isolate | GiveUp | StandStill


@dataclass(frozen=True)
class RetryPolicy:
    """Weather is waited for, without end; a bug is retried `bug_retries` times, then its messages are given up."""

    least_seconds: float = 0.1
    most_seconds: float = 30.0
    bug_retries: int = 3
    jitter: Callable[[], float] = random.random

    def decide(self, error: Exception, *, failures: int, batch_size: int, isolated: bool) -> RetryDecision:
        """Return what to do about `error`.

        `failures` counts those in a row on this work, this one included and at least 1; a batch size of 0 says that
        it happened outside of any batch; `isolated` that the message was retried already, among others.
        """
        if isinstance(error, OffsetOutOfRange):
            return StandStill()
        if isinstance(error, StaleOffsets):
            return Rewind(self.delay_seconds(failures))
        if isinstance(error, TRANSIENT) or batch_size == 0:
            return BackOff(self.delay_seconds(failures))
        hopeless = isinstance(error, ContractViolation) or isolated or failures > self.bug_retries
        if not hopeless:
            return BackOff(self.delay_seconds(failures))
        return GiveUp() if batch_size == 1 else Isolate()

    def delay_seconds(self, failures: int) -> float:
        """Return the pause after so many failures in a row: doubling, capped, at random between half and all of it."""
        ceiling = min(self.most_seconds, self.least_seconds * 2.0 ** min(failures - 1, 30))
        return max(self.least_seconds, ceiling * (0.5 + 0.5 * self.jitter()))
