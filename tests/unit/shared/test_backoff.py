from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from shared.backoff import delay_seconds, retry_until
from shared.errors import BrokerUnavailable, DatabaseUnavailable, Stopped


def test_the_delay_doubles_up_to_the_maximum() -> None:
    assert [delay_seconds(failures) for failures in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, 0.8]
    assert delay_seconds(10) == delay_seconds(10_000) == 30.0
    assert delay_seconds(3, first_seconds=1.0, most_seconds=60.0) == 4.0
    assert delay_seconds(9, first_seconds=1.0, most_seconds=60.0) == 60.0


class Flaky:
    """Raises the given errors, one per call, then returns 7; sets `stop` in call number `stop_after`."""

    def __init__(self, *errors: Exception, stop_after: int | None = None) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.stop = threading.Event()
        self.stop_after = stop_after

    def __call__(self) -> int:
        self.calls += 1
        if self.calls == self.stop_after:
            self.stop.set()
        if self.errors:
            raise self.errors.pop(0)
        return 7


def test_a_transient_error_is_retried_and_logged() -> None:
    operation = Flaky(DatabaseUnavailable("down"), BrokerUnavailable("down too"))
    with capture_logs() as logs:
        assert retry_until(operation.stop, operation, log_event="database.unavailable", most_seconds=0.001) == 7
    assert operation.calls == 3
    assert [(log["event"], log["error"]) for log in logs] == [
        ("database.unavailable", "DatabaseUnavailable: down"),
        ("database.unavailable", "BrokerUnavailable: down too"),
    ]
    assert all(log["retry_in_seconds"] == 0.001 for log in logs)


def test_a_bug_is_raised_at_once() -> None:
    operation = Flaky(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        retry_until(operation.stop, operation)
    assert operation.calls == 1


def test_only_the_named_errors_are_retried() -> None:
    operation = Flaky(BrokerUnavailable())
    with pytest.raises(BrokerUnavailable):
        retry_until(operation.stop, operation, on=DatabaseUnavailable)
    assert operation.calls == 1


def test_once_stopped_nothing_is_repeated() -> None:
    operation = Flaky(*[DatabaseUnavailable()] * 9, stop_after=1)
    with pytest.raises(Stopped):
        retry_until(operation.stop, operation)
    assert operation.calls == 1
