"""What a dead letter must be to be replayed, and how the command is used; no broker, no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from script.dead_letters import WRONG_USAGE, escaped, main, parse, to_json
from script.replaying import Repair
from shared.adapters.dead_letter_box import DeadLetter
from shared.domain.types import InteractionType
from shared.events import (
    INTERACTIONS_RECORDED,
    MODELS_COMMANDS,
    InteractionRecorded,
    RetrainRequested,
    encode,
)

CLICK = encode(InteractionRecorded(customer_id="C1", isin="GRS1", type=InteractionType.CLICK))


def letter(**fields: Any) -> DeadLetter:
    columns: dict[str, Any] = {
        "dead_letter_id": 1,
        "cluster_id": "cluster",
        "consumer_group": "worker",
        "topic": INTERACTIONS_RECORDED,
        "partition": 0,
        "event_offset": 5,
        "key": b"C1",
        "value": CLICK,
        "reason": "UnknownAsset: GRS1",
        "failed_at": datetime(2026, 1, 2, tzinfo=UTC),
        "replayed_at": None,
    }
    return DeadLetter(**{**columns, **fields})


def test_an_event_with_its_customer_as_key_can_be_replayed() -> None:
    assert Repair().problem(letter()) is None


@pytest.mark.parametrize("value", [None, b"", b"no json", b"{}", b"\xff"])
def test_bytes_that_are_no_event_cannot(value: bytes | None) -> None:
    assert Repair().problem(letter(value=value))


@pytest.mark.parametrize("key", [None, b"C2"])
def test_another_key_than_the_customer_cannot(key: bytes | None) -> None:
    problem = Repair().problem(letter(key=key))

    assert problem is not None
    assert "is not the customer_id" in problem


def test_a_command_needs_no_customer_as_key() -> None:
    command = letter(topic=MODELS_COMMANDS, key=b"hybrid", value=encode(RetrainRequested()))

    assert Repair().problem(command) is None


def test_an_event_on_a_topic_that_it_does_not_belong_to_cannot() -> None:
    assert Repair().problem(letter(topic=MODELS_COMMANDS))
    assert Repair().problem(letter(topic="elsewhere")) == "nobody consumes 'elsewhere'"


def test_repaired_bytes_and_key_are_what_is_judged() -> None:
    broken = letter(value=b"no json", key=b"C2")

    assert Repair(value=CLICK).problem(broken)
    assert Repair(key=b"C1").problem(broken)
    assert Repair(value=CLICK, key=b"C1").problem(broken) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["replay", "1", "--all-of-reason", "x"],
        ["replay", "--all-of-reason", " "],
        ["replay", "1", "2", "--value", "file"],
        ["replay", "--all-of-reason", "x", "--key", "k"],
        ["replay", "1", "--topic", "t"],
        ["list", "--limit", "0"],
        ["export", "1"],
        [],
    ],
)
def test_unclear_commands_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)

    assert ended.value.code == WRONG_USAGE
    assert "usage:" in capsys.readouterr().err


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)

    assert main(["list"]) == WRONG_USAGE
    said = capsys.readouterr().err
    assert "DATABASE_URL" in said
    assert "KAFKA_BOOTSTRAP_SERVERS" in said


def test_what_a_letter_holds_cannot_steer_the_terminal() -> None:
    assert escaped("\x1b[31mred\x00") == "\\x1b\\[31mred\\x00"
    assert to_json(letter(value=b"\xff\x1b"))["value"] == "\\xff\x1b"
