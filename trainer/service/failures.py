"""What the trainer does about a failure: one rule for every step, and one for every message.

A transient error backs off and skips nothing. A contract violation is a dead letter at once. Any other error is a bug:
that of a message is retried BUG_RETRIES times and then the message is a dead letter; that of a step is logged with its
traceback once, and the step is tried again after a pause that doubles to LONGEST_BUG_WAIT_SECONDS. Nothing ends the
process, and no step waits for another one's pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from shared.errors import BrokerUnavailable, ContractViolation, DatabaseUnavailable, StaleOffsets, describe_error
from shared.logging import get_logger
from shared.ports import Message
from trainer.service.backoff import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
from trainer.service.model_registry import ReleaseBusy

TRANSIENT = (DatabaseUnavailable, BrokerUnavailable, ReleaseBusy, StaleOffsets)
BUG_RETRIES = 3
LONGEST_BUG_WAIT_SECONDS = 600.0

log = get_logger(__name__)


class Failures:
    """The failures in a row of one piece of work: how long to wait after each, and what to log."""

    def __init__(self, step: str, *, first_wait_seconds: float = FIRST_WAIT_SECONDS) -> None:
        self._step = step
        self._first_wait_seconds = first_wait_seconds
        self._count = 0
        self._last_bug: str | None = None

    def note(self, error: Exception) -> float:
        """Log a failure and return the seconds to wait: doubling, the cap by the kind of error."""
        longest = LONGEST_WAIT_SECONDS if isinstance(error, TRANSIENT) else LONGEST_BUG_WAIT_SECONDS
        wait_seconds = min(self._first_wait_seconds * 2.0 ** min(self._count, 30), longest)
        self._count += 1
        described = describe_error(error)
        if isinstance(error, TRANSIENT) or described == self._last_bug:
            log.warning("trainer.waiting", step=self._step, error=described, retry_in_seconds=wait_seconds)
        else:
            log.error("trainer.failed", step=self._step, error=described, retry_in_seconds=wait_seconds, exc_info=error)
            self._last_bug = described
        return wait_seconds

    def clear(self) -> None:
        """Say that the work succeeded."""
        self._count, self._last_bug = 0, None


class Step:
    """One step of a loop that may fail: `run` does nothing before the pause after its last failure is over."""

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
        self._failures = Failures(name)
        self._resume_at: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the pause after a failure is not over."""
        return self._resume_at is not None and self._clock() < self._resume_at

    def run(self) -> None:
        """Do the step if it is due; raises nothing, or bugs alone with `raise_bugs`."""
        if self.is_waiting:
            return
        try:
            self._action()
        except Exception as error:  # whatever it is, the other steps and the process go on
            if self._raise_bugs and not isinstance(error, TRANSIENT):
                raise
            self._resume_at = self._clock() + self._failures.note(error)
        else:
            self.note_progress()
            self._resume_at = None

    def note_progress(self) -> None:
        """Say that part of the step is done: a later failure is the first in a row."""
        self._failures.clear()


class MessageFailures:
    """Counts the bugs that one message at a time raises, and says when it is given up."""

    def __init__(self) -> None:
        self._position: tuple[str, int, int] | None = None
        self._bugs = 0

    def give_up(self, message: Message, error: Exception) -> bool:
        """Return whether this message becomes a dead letter now."""
        if isinstance(error, ContractViolation):
            return True
        if isinstance(error, TRANSIENT):
            return False
        position = (message.topic, message.partition, message.offset)
        self._bugs = self._bugs + 1 if position == self._position else 1
        self._position = position
        return self._bugs > BUG_RETRIES
