"""The failure policy returns decisions."""

from __future__ import annotations

import pytest

from shared.errors import (
    BrokerUnavailable,
    ContractViolation,
    DatabaseUnavailable,
    OffsetOutOfRange,
    StaleOffsets,
    UnknownAsset,
)
from shared.retry_policy import BackOff, RetryDecision, RetryPolicy, Rewind, StandStill, ToDeadLetter

LATEST = RetryPolicy(jitter=lambda: 1.0)


def decide(error: Exception, *, failures: int = 1, in_batch: bool = True) -> RetryDecision:
    return LATEST.decide(error, failures=failures, in_batch=in_batch)


@pytest.mark.parametrize("error", [DatabaseUnavailable(), BrokerUnavailable()])
@pytest.mark.parametrize("failures", [1, 4, 1000])
@pytest.mark.parametrize("in_batch", [False, True])
def test_a_transient_error_is_waited_for_without_end(error: Exception, failures: int, in_batch: bool) -> None:
    assert isinstance(decide(error, failures=failures, in_batch=in_batch), BackOff)


def test_pauses_double_from_a_tenth_of_a_second_to_thirty_seconds() -> None:
    pauses = [LATEST.delay_seconds(failures) for failures in range(1, 12)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
def test_jitter_keeps_the_pause_within_its_bounds(jitter: float) -> None:
    policy = RetryPolicy(jitter=lambda: jitter)
    pauses = [policy.delay_seconds(failures) for failures in range(1, 2000)]
    assert min(pauses) == pytest.approx(0.1)
    assert max(pauses) == pytest.approx(15.0 + 15.0 * jitter)


def test_stale_offsets_drop_what_was_polled() -> None:
    assert isinstance(decide(StaleOffsets(), failures=9), Rewind)


def test_an_offset_outside_the_log_is_left_to_an_operator() -> None:
    assert decide(OffsetOutOfRange()) == StandStill()


@pytest.mark.parametrize("error", [ContractViolation(), UnknownAsset()])
def test_a_contract_violation_is_never_retried(error: Exception) -> None:
    assert decide(error) == ToDeadLetter()


def test_a_bug_is_retried_three_times_and_then_its_batch_is_narrowed() -> None:
    decisions = [decide(KeyError(), failures=failures) for failures in (1, 2, 3, 4)]
    assert [type(decision) for decision in decisions] == [BackOff, BackOff, BackOff, ToDeadLetter]


def test_a_bug_outside_of_any_batch_is_waited_for_and_then_everything_is_read_again() -> None:
    decisions = [decide(KeyError(), failures=failures, in_batch=False) for failures in (1, 3, 4, 99)]
    assert [type(decision) for decision in decisions] == [BackOff, BackOff, Rewind, Rewind]
