"""The failures of the loop: counted, decided about by the policy, and logged."""

from __future__ import annotations

from shared.errors import ContractViolation, OffsetOutOfRange, describe_error
from shared.logging import get_logger
from shared.retry_policy import NOT_OF_A_MESSAGE, BackOff, RetryDecision, RetryPolicy, Rewind
from worker.message_buffer import Batch

log = get_logger(__name__)


class Failures:
    """Counts failures in a row, and those of batches since the last commit."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.problem: str | None = None  # that the loop waits for the end of
        self._policy = policy
        self._last_error: type[Exception] | None = None
        self._in_a_row = 0  # of one class
        self._bugs = 0  # failures of batches since the last commit that are bugs or contract violations

    def __bool__(self) -> bool:
        """Whether the last step failed."""
        return self._last_error is not None

    def decide(self, error: Exception, *, batch: Batch | None, narrowing: bool) -> RetryDecision:
        """Count a failure, and return what the policy decides about it; `batch` is the one that was in progress."""
        self._in_a_row = self._in_a_row + 1 if type(error) is self._last_error else 1
        self._last_error = type(error)
        # No message can cause a bug that escapes from narrowing or comes after the commit.
        in_batch = batch is not None and not narrowing
        is_bug = in_batch and not isinstance(error, NOT_OF_A_MESSAGE)
        self._bugs += is_bug
        failures = self._bugs if is_bug else self._in_a_row
        decision = self._policy.decide(error, failures=failures, in_batch=in_batch)
        if isinstance(decision, BackOff | Rewind):
            self.problem = describe_error(error)
        log_failure(error, decision, batch)
        return decision

    def note_commit(self) -> None:
        """Start to count the bugs of batches anew."""
        self._bugs = 0

    def note_good_step(self) -> None:
        """Start to count failures in a row anew."""
        self.problem = self._last_error = None


def log_failure(error: Exception, decision: RetryDecision, batch: Batch | None) -> None:
    """Log a failure and the decision about it; a bug with its traceback."""
    fields = {
        "error_type": type(error).__name__,
        "error": describe_error(error),
        "decision": type(decision).__name__,
        "batch_size": len(batch) if batch else 0,
    }
    if isinstance(error, OffsetOutOfRange):
        log.error("consumer.offset_out_of_range", **fields)
    elif isinstance(error, (*NOT_OF_A_MESSAGE, ContractViolation)):
        log.warning("worker.failed", **fields, retry_in_seconds=getattr(decision, "seconds", None))
    else:
        log.error("worker.failed", **fields, exc_info=error)
