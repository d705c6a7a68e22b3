"""What a stored offset means beside its log."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from script.offsets import LogRange, OffsetRow, main, meaning
from script.terminal import WRONG_USAGE

LOG = LogRange(earliest=100, latest=200)


@pytest.mark.parametrize(
    ("next_offset", "state"),
    [
        (100, "ok"),
        (200, "ok"),
        (90, "below the log: 10 messages are gone"),
        (201, "beyond the log's end by 1"),
    ],
)
def test_an_offset_is_fine_from_the_first_message_to_the_end(next_offset: int, state: str) -> None:
    row = OffsetRow("cluster", "worker", "topic", 0, next_offset, datetime(2026, 1, 1, tzinfo=UTC))

    assert row.state(LOG) == state
    assert row.state(None) == "no such partition"


@pytest.mark.parametrize(
    ("stored", "now", "state"),
    [
        ("a", "a", "ok"),
        ("a", "b", "another topic (made anew)"),
        (None, "b", "ok"),
        ("a", None, "ok"),
    ],
)
def test_an_offset_of_a_topic_that_was_made_anew_is_not_fine_wherever_it_points(
    stored: str | None, now: str | None, state: str
) -> None:
    row = OffsetRow("cluster", "worker", "topic", 0, 150, datetime(2026, 1, 1, tzinfo=UTC), stored)

    assert row.state(LogRange(100, 200, now)) == state


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (150, 120, "up to 30 messages are read again"),
        (500, 120, "up to 80 messages are read again"),
        (90, 100, "10 messages are gone from the log, 0 that it still holds"),
        (90, 130, "10 messages are gone from the log, 30 that it still holds"),
        (150, 200, "0 messages are gone from the log, 50 that it still holds"),
    ],
)
def test_moving_an_offset_says_what_is_lost(before: int, after: int, said: str) -> None:
    assert meaning(before, after, LOG).startswith(said)


@pytest.mark.parametrize("to", ["-1", "first", "", "1.5"])
def test_only_offsets_can_be_moved_to(to: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["set", "--group", "g", "--topic", "t", "--partition", "0", "--to", to]) == WRONG_USAGE
    assert "must be earliest, latest or a number" in capsys.readouterr().err


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert main(["list"]) == WRONG_USAGE
    assert "DATABASE_URL" in capsys.readouterr().err
