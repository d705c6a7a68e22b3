"""What a dead letter must be to be replayed, and how the command is used; no broker, no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from script.dead_letters import SHOWN_BYTES, main, to_json
from script.replaying import Repair, ReplayCheck, contract_classes
from script.terminal import WRONG_USAGE, as_markup, printable
from shared.errors import BrokerUnavailable, ContractViolation, IdempotencyKeyReused
from shared.events import (
    INTERACTIONS_RECORDED,
    MODELS_COMMANDS,
    Event,
    InteractionRecorded,
    RetrainRequested,
    encode,
)
from shared.ports import KeptEvent
from shared.postgres.dead_letter_store import DeadLetter, DeadLetterBox
from shared.recommender.types import InteractionType

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
    columns |= fields
    return DeadLetter(**columns, value_bytes=None if columns["value"] is None else len(columns["value"]))


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
    assert main(arguments) == WRONG_USAGE
    assert "Usage:" in capsys.readouterr().err


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)

    assert main(["list"]) == WRONG_USAGE
    said = capsys.readouterr().err
    assert "DATABASE_URL" in said
    assert "KAFKA_BOOTSTRAP_SERVERS" in said


def test_what_a_letter_holds_cannot_steer_the_terminal() -> None:
    assert as_markup("\x1b[31mred\x00") == "\\x1b\\[31mred\\x00"
    assert to_json(letter(value=b"\xff\x1b"))["value"] == "\\xff\x1b"
    assert printable("key: \x1b]0;owned\x07\u202e\n") == "key: \\x1b]0;owned\\x07\\u202e\\n"


def test_of_a_large_value_the_first_bytes_are_shown_and_its_size() -> None:
    shown = to_json(letter(value=b"x" * 1_000_000))
    assert (len(shown["value"]), shown["value_bytes"]) == (SHOWN_BYTES, 1_000_000)
    assert to_json(letter(value=None))["value_bytes"] is None


class Box(DeadLetterBox):
    """A database with one asset, and what it has of earlier events."""

    def __init__(self, kept: KeptEvent | None = None) -> None:
        self.kept = kept

    def has_asset(self, isin: str) -> bool:
        return isin == "GRS1"

    def fetch_kept(self, event: Event) -> KeptEvent | None:
        return self.kept


def verdict(one: DeadLetter, repair: Repair | None = None, *, kept: KeptEvent | None = None) -> str:
    """Return what `show` says."""
    check = ReplayCheck(Box(kept), "cluster", {INTERACTIONS_RECORDED: 1000, MODELS_COMMANDS: 1000}.get)
    return str(check.examine(one, repair or Repair()))


def click(**fields: Any) -> bytes:
    return encode(InteractionRecorded(**{"customer_id": "C1", "isin": "GRS1", "type": "click", **fields}))


def test_a_letter_that_consumers_will_take_can_be_replayed() -> None:
    assert verdict(letter()) == "yes"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cluster_id": "elsewhere"}, "no: it comes from another Kafka cluster, elsewhere"),
        ({"value": b"{}"}, "no: not a InteractionRecorded"),
        ({"key": b"C2"}, "no: the key b'C2' is not the customer_id b'C1'"),
        ({"value": click(isin="GRS2")}, "no: UnknownAsset: the catalogue has no GRS2"),
        ({"value": CLICK + b" " * 1000}, "bytes are more than the topic's max.message.bytes, 1000"),
        ({"topic": "elsewhere"}, "no: nobody consumes 'elsewhere'"),
        ({"reason": "KeyError: 'x'"}, "no: only after an upgrade: KeyError is a bug"),
        ({"reason": "IdempotencyKeyReused: another body"}, "yes"),
        ({"reason": "not a InteractionRecorded: isin: missing"}, "yes"),  # the trainer of an older version
    ],
)
def test_what_cannot_succeed_is_said(fields: dict[str, Any], said: str) -> None:
    assert said in verdict(letter(**fields))


def test_an_event_that_is_ahead_of_the_log_can_be_replayed_from_its_time_on() -> None:
    ahead = datetime.now(UTC) + timedelta(days=3)
    assert f"is ahead: not before {ahead - timedelta(days=1)}" in verdict(letter(value=click(occurred_at=ahead)))
    assert verdict(letter(value=click(occurred_at=ahead - timedelta(days=2, minutes=1)))) == "yes"


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (KeptEvent({"customer_id": "C1", "isin": "GRS1", "type": "click"}, None), "yes: the event had its effect"),
        (KeptEvent({"customer_id": "C2", "isin": "GRS1", "type": "click"}, None), "no: EventIdReused"),
        (KeptEvent({"customer_id": "C1", "isin": "GRS9", "type": "click"}, None), "no: EventIdReused"),
        (KeptEvent({"customer_id": "C1", "isin": "GRS1", "type": "click"}, "f"), "yes: the event had its effect"),
        (KeptEvent({"customer_id": "C1"}, None, "another digest"), "no: EventIdReused"),
    ],
)
def test_an_event_id_that_is_used_already_is_compared_as_the_worker_does(kept: KeptEvent, said: str) -> None:
    assert verdict(letter(), kept=kept).startswith(said)


def test_two_bodies_under_one_idempotency_key_are_told_apart() -> None:
    kept = KeptEvent({"customer_id": "C1", "isin": "GRS1", "type": "click"}, "f")
    assert verdict(letter(value=click(fingerprint="g")), kept=kept).startswith("no: IdempotencyKeyReused")
    assert verdict(letter(value=click(fingerprint="f")), kept=kept).startswith("yes")


def test_a_bug_may_be_mended_by_now_or_the_letter_repaired() -> None:
    bug = letter(reason="KeyError: 'x'")
    assert verdict(bug, Repair(upgraded=True)) == "yes"
    assert verdict(bug, Repair(value=CLICK)) == "yes"


def test_a_topic_that_the_broker_does_not_have_is_no_verdict() -> None:
    with pytest.raises(BrokerUnavailable):
        ReplayCheck(Box(), "cluster", lambda _: None).examine(letter(), Repair())


def test_every_class_that_blames_the_message_is_known() -> None:
    def below(kind: type[Exception]) -> set[str]:
        return {kind.__name__}.union(*(below(child) for child in kind.__subclasses__()))

    assert IdempotencyKeyReused.__name__ in below(ContractViolation)
    assert contract_classes() == below(ContractViolation)
