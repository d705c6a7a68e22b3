"""How the trainer obeys the retry policy (shared/retry_policy.py): per task of the loop, and per message.

No failure ends the process, and no task waits for another one's delay.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from shared.errors import StaleOffsets, TransientError, describe_error
from shared.logging import get_logger
from shared.ports import Message
from shared.retry_policy import BackOff, RetryPolicy, Rewind, ToDeadLetter

TRANSIENT = (TransientError, StaleOffsets)
# No jitter: one trainer leads, so there are no others to wait beside. A bug rarely goes away soon.
POLICY = RetryPolicy(most_bug_seconds=600.0, jitter=lambda: 1.0)

log = get_logger(__name__)


class Failures:
    """The failures in a row of one task: how long to wait after each, and what to log."""

    def __init__(self, task: str, *, policy: RetryPolicy = POLICY) -> None:
        self._task = task
        self._policy = policy
        self._count = 0

    def add(self, error: Exception) -> float:
        """Log a failure, a bug with its traceback, and return the seconds to wait."""
        self._count += 1
        decision = self._policy.decide(error, failures=self._count, in_batch=False)
        wait_seconds = decision.seconds if isinstance(decision, BackOff | Rewind) else self._policy.most_bug_seconds
        fields = {"task": self._task, "error": describe_error(error), "retry_in_seconds": wait_seconds}
        if isinstance(error, TRANSIENT):
            log.warning("trainer.waiting", **fields)
        else:
            log.error("trainer.failed", exc_info=error, **fields)
        return wait_seconds

    def clear(self) -> None:
        """Start counting again: the task succeeded."""
        self._count = 0


class Task:
    """One task of the loop that may fail: `run` does nothing until the delay after its last failure is over."""

    def __init__(
        self,
        name: str,
        action: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        raise_bugs: bool = False,
    ) -> None:
        self._action = action
        self._clock = clock
        self._raise_bugs = raise_bugs
        self.failures = Failures(name)
        self._resume_at: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Return whether the delay after a failure is not over."""
        return self._resume_at is not None and self._clock() < self._resume_at

    def run(self) -> None:
        """Run the task if it is due; raises nothing, or with `raise_bugs` only bugs."""
        if self.is_waiting:
            return
        try:
            self._action()
        except Exception as error:  # the other tasks and the process go on, whatever this one raises
            if self._raise_bugs and not isinstance(error, TRANSIENT):
                raise
            self._resume_at = self._clock() + self.failures.add(error)
        else:
            self.failures.clear()
            self._resume_at = None


class MessageFailures:
    """Counts the bugs that one message raises, and says when the message becomes a dead letter."""

    def __init__(self) -> None:
        self._position: tuple[str, int, int] | None = None
        self._bugs = 0

    def is_dead_letter(self, message: Message, error: Exception) -> bool:
        """Return whether this message becomes a dead letter now."""
        position = (message.topic, message.partition, message.offset)
        if position != self._position:
            self._position, self._bugs = position, 0
        self._bugs += not isinstance(error, TRANSIENT)
        return isinstance(POLICY.decide(error, failures=max(1, self._bugs), in_batch=True), ToDeadLetter)
