"""Warnings and errors that repeat are written once in a while, with the number of those that were left out."""

from __future__ import annotations

import logging
import sys

import pytest

from shared.logging import REMEMBERED_KINDS, RepetitionFilter


class Clock:
    """A time that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(
    event: str, *, level: int = logging.WARNING, error: BaseException | None = None, **fields: object
) -> logging.LogRecord:
    """Return what structlog hands to the handler."""
    made = logging.LogRecord("api.errors", level, "", 0, "", None, None)
    made.msg = {"event": event, **fields, **({"exc_info": error} if error else {})}
    return made


def failing(fields: dict[str, object]) -> logging.LogRecord:
    """Return a record with these fields."""
    made = record("partition.continues")
    made.msg = {"event": "partition.continues", **fields}
    return made


def foreign(message: str, *arguments: object) -> logging.LogRecord:
    """Return what a library logs."""
    return logging.LogRecord("asyncio", logging.ERROR, "", 0, message, arguments, None)


def raised(kind: type[Exception]) -> Exception:
    try:
        raise kind("same line")
    except kind as error:
        return error


def test_one_of_a_kind_is_written_in_each_interval_and_the_next_says_how_many_were_left_out() -> None:
    clock = Clock()
    repetitions = RepetitionFilter(10.0, clock=clock)
    assert [repetitions.filter(record("x.failed", path=f"/{number}")) for number in range(5)] == [True, *[False] * 4]
    clock.now = 10.0
    later = record("x.failed", path="/later")
    assert repetitions.filter(later)
    assert later.msg == {"event": "x.failed", "path": "/later", "left_out": 4}
    clock.now = 20.0
    alone = record("x.failed")
    assert repetitions.filter(alone)
    assert "left_out" not in alone.msg


def test_other_events_and_levels_are_other_kinds() -> None:
    repetitions = RepetitionFilter(10.0, clock=Clock())
    assert repetitions.filter(record("a"))
    assert repetitions.filter(record("b"))
    assert repetitions.filter(record("a", level=logging.ERROR))
    assert not repetitions.filter(record("a"))


def test_another_reason_is_another_kind_and_another_path_is_not() -> None:
    repetitions = RepetitionFilter(10.0, clock=Clock())
    assert repetitions.filter(record("model.refused", reason="a", path="/1"))
    assert repetitions.filter(record("model.refused", reason="b", path="/1"))
    assert not repetitions.filter(record("model.refused", reason="b", path="/2"))


@pytest.mark.parametrize("other", [{"topic": "b"}, {"partition": 1}, {"task": "b"}])
def test_another_topic_partition_or_task_is_another_kind(other: dict[str, object]) -> None:
    repetitions = RepetitionFilter(10.0, clock=Clock())
    first: dict[str, object] = {"topic": "a", "partition": 0, "task": "a"}
    assert repetitions.filter(failing(first))
    assert repetitions.filter(failing({**first, **other, "offset": 5}))
    assert not repetitions.filter(failing({**first, **other, "offset": 6}))


def test_information_is_never_left_out() -> None:
    repetitions = RepetitionFilter(10.0, clock=Clock())
    assert all(repetitions.filter(record("a", level=logging.INFO)) for _ in range(3))


def test_another_failure_behind_the_same_event_is_another_kind() -> None:
    repetitions = RepetitionFilter(10.0, clock=Clock())
    assert repetitions.filter(record("request.failed", error=raised(ZeroDivisionError)))
    assert repetitions.filter(record("request.failed", error=raised(KeyError)))
    assert not repetitions.filter(record("request.failed", error=raised(KeyError)))


def test_the_failure_that_is_being_handled_tells_kinds_apart_too() -> None:
    repetitions = RepetitionFilter(10.0, clock=Clock())
    written = []
    for kind in (ZeroDivisionError, KeyError, KeyError):
        try:
            raise kind
        except kind:
            failed = record("request.failed")
            failed.msg["exc_info"] = True  # type: ignore[index]
            written.append(repetitions.filter(failed))
            assert sys.exc_info()[0] is kind
    assert written == [True, True, False]


def test_lines_of_libraries_are_counted_too() -> None:
    clock = Clock()
    repetitions = RepetitionFilter(10.0, clock=clock)
    assert [repetitions.filter(foreign("accept failed on %s", number)) for number in range(3)] == [True, False, False]
    clock.now = 11.0
    later = foreign("accept failed on %s", 7)
    assert repetitions.filter(later)
    assert later.getMessage() == "accept failed on 7 (2 more were left out)"


def test_only_so_many_kinds_are_remembered() -> None:
    repetitions = RepetitionFilter(10.0, clock=Clock())
    assert repetitions.filter(record("first"))
    for number in range(REMEMBERED_KINDS):
        assert repetitions.filter(record(f"kind-{number}"))
    assert repetitions.filter(record("first"))
