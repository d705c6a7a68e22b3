"""Events that look valid: in each one thing is changed, and the contract's verdict is known.

Pure: no clock and no broker. The same seed, times and answers of the caller give the same messages.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.fuzzed_contents import CHOSEN_VERSION, CUSTOMER, INTERACTION, PROFILE, REQUEST, RETRAIN, TRANSACTION
from tests.chaos.fuzzed_fields import IDENTITY, Change, Draft, Raw, RefusedBy, Verdict, utc
from tests.chaos.fuzzed_messages import MESSAGE

NAME_SPACE = "fuzz-"  # of the customers whose events are fuzzed
INTERACTIONS = "interactions.recorded.v1"
REQUESTS = "recommendations.requested.v1"
TRANSACTIONS = "transactions.recorded.v1"
PROFILES = "customers.changed.v1"
COMMANDS = "models.commands.v1"
MODEL_KEY = "hybrid"

EITHER_SHARE = 0.02  # where the contract says nothing
REFUSED_SHARE = 0.6
REUSE_SHARE = 0.12  # an event_id that was sent before
MOST_REMEMBERED = 200

Classes = frozenset[str]
_CLASSES: dict[RefusedBy, Classes] = {
    "reader": frozenset({"ContractViolation"}),
    "key": frozenset({"ContractViolation"}),
    "catalogue": frozenset({"UnknownAsset"}),
    # A fingerprint that differs is told by the gateway's name for it.
    "event_id": frozenset({"EventIdReused", "IdempotencyKeyReused"}),
}


@dataclass(frozen=True)
class Fuzzed:
    """One message, and what has to become of it.

    `accepted`: exactly one effect (for a repetition: the effect that the first message had). `refused`: a dead letter
    whose reason begins with one of `error_classes`. `either`: one of both.
    """

    topic: str
    event_type: str
    key: bytes | None
    value: bytes | None
    field: str
    change: str
    verdict: Verdict
    refused_by: RefusedBy | None = None
    is_repetition: bool = False
    any_partition: bool = False

    @property
    def error_classes(self) -> Classes:
        return _CLASSES[self.refused_by] if self.refused_by else frozenset()


@dataclass(frozen=True)
class Stored:
    """An event of somebody else that had its effect already."""

    topic: str
    event_id: str


@dataclass(frozen=True)
class _Sent:
    """An accepted event of the fuzzer's own that may be repeated."""

    event_type: str
    key: bytes | None
    fields: dict[str, Any]
    value: bytes


CHANGES: dict[str, Sequence[Change]] = {
    "InteractionRecorded": (*IDENTITY, *CUSTOMER, *INTERACTION, *MESSAGE),
    "RecommendationRequested": (*IDENTITY, *CUSTOMER, *REQUEST, *MESSAGE),
    "TransactionRecorded": (*IDENTITY, *CUSTOMER, *TRANSACTION, *MESSAGE),
    "CustomerChanged": (*IDENTITY, *CUSTOMER, *PROFILE, *MESSAGE),
    "RetrainRequested": (*IDENTITY, *RETRAIN, *MESSAGE),
    "RetrainCancelled": (*IDENTITY, *MESSAGE),
    "ModelActivated": (*IDENTITY, *CHOSEN_VERSION, *MESSAGE),
    "ModelPinned": (*IDENTITY, *CHOSEN_VERSION, *MESSAGE),
    "ModelUnpinned": (*IDENTITY, *CHOSEN_VERSION, *MESSAGE),
}
TOPIC_OF = {
    "InteractionRecorded": INTERACTIONS,
    "RecommendationRequested": REQUESTS,
    "TransactionRecorded": TRANSACTIONS,
    "CustomerChanged": PROFILES,
    "RetrainRequested": COMMANDS,
    "RetrainCancelled": COMMANDS,
    "ModelActivated": COMMANDS,
    "ModelPinned": COMMANDS,
    "ModelUnpinned": COMMANDS,
}
_CUSTOMER_EVENTS = ("InteractionRecorded", "RecommendationRequested", "TransactionRecorded", "CustomerChanged")
_VERSION_COMMANDS = ("ModelActivated", "ModelPinned", "ModelUnpinned")
_COMMANDS = ("RetrainRequested", "RetrainCancelled", *_VERSION_COMMANDS)


class Fuzzer:
    """Endless messages; every change of an event comes once before any comes again."""

    def __init__(self, seed: int, *, isins: Sequence[str], largest_bytes: int, now: Callable[[], datetime]) -> None:
        """`isins` are assets of the catalogue; no message is larger than `largest_bytes`."""
        self._random = random.Random(f"fuzz/{seed}")
        self._isins = isins
        self._largest_bytes = largest_bytes
        self._now = now
        self._decks: dict[tuple[str, Verdict], Iterator[Change]] = {}
        self._sent: list[_Sent] = []

    def customer_event(self, stored: Sequence[Stored] = ()) -> Fuzzed:
        """Return the next message of a customer topic; `stored` are events whose ids may be used again."""
        if self._random.random() < REUSE_SHARE:
            if stored and self._random.random() < 0.3:
                return self._reuse_of(self._random.choice(stored))
            if self._sent_of(_CUSTOMER_EVENTS):
                return self._reuse_of_own(_CUSTOMER_EVENTS)
        return self._changed(self._random.choice(_CUSTOMER_EVENTS), self._verdict())

    def command(self, *, may_train: bool) -> Fuzzed:
        """Return the next message of the command topic; without `may_train` none that asks for a training."""
        if self._random.random() < REUSE_SHARE and self._sent_of(_COMMANDS):
            return self._reuse_of_own(_COMMANDS)
        event_type, verdict = self._random.choice(_COMMANDS), self._verdict()
        if event_type == "RetrainRequested" and verdict != "refused" and not may_train:
            event_type = "ModelActivated"
        return self._changed(event_type, verdict)

    def _verdict(self) -> Verdict:
        chance = self._random.random()
        if chance < EITHER_SHARE:
            return "either"
        return "refused" if chance < EITHER_SHARE + REFUSED_SHARE else "accepted"

    def _changed(self, event_type: str, verdict: Verdict) -> Fuzzed:
        change = next(self._deck(event_type, verdict))
        draft = self._draft(event_type)
        change.apply(draft)
        if draft.key is KEY_OF_CUSTOMER:
            draft.key = _key(draft.fields.get("customer_id"))
        value = draft.edit(to_json(draft.fields, self._random))
        if verdict == "accepted" and value and not draft.any_partition:
            self._remember(_Sent(event_type, draft.key, dict(draft.fields), value))
        return Fuzzed(
            TOPIC_OF[event_type],
            event_type,
            draft.key,
            value,
            change.field,
            change.name,
            verdict,
            change.refused_by if verdict == "refused" else None,
            any_partition=draft.any_partition,
        )

    def _deck(self, event_type: str, verdict: Verdict) -> Iterator[Change]:
        def shuffled() -> Iterator[Change]:
            changes = [each for each in CHANGES[event_type] if each.verdict == verdict and _fits(each, event_type)]
            while True:
                self._random.shuffle(changes)
                yield from changes

        return self._decks.setdefault((event_type, verdict), shuffled())

    def _draft(self, event_type: str) -> Draft:
        fields = self._fields(event_type)
        key = KEY_OF_CUSTOMER if event_type in _CUSTOMER_EVENTS else MODEL_KEY.encode()
        return Draft(self._random, self._now(), fields, key, self._largest_bytes, self._isins)

    def _fields(self, event_type: str) -> dict[str, Any]:
        """Return a valid event as it is on the wire."""
        chance = self._random
        fields: dict[str, Any] = {
            "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "occurred_at": utc(self._now()),
            "schema_version": 1,
            "event_type": event_type,
        }
        if event_type in _CUSTOMER_EVENTS:
            fields["customer_id"] = f"{NAME_SPACE}{chance.randrange(40)}"
        if event_type == "InteractionRecorded":
            fields |= {"isin": chance.choice(self._isins), "type": chance.choice(("click", "view", "watchlist"))}
        elif event_type == "TransactionRecorded":
            fields |= {
                "isin": chance.choice(self._isins),
                "type": chance.choice(("Buy", "Sell")),
                "units": chance.choice((1, 0.1, 45.0)),
                "total_value": chance.uniform(0, 1e6),
                "executed_at": utc(self._now()),
                "transaction_id": f"fuzz-{chance.getrandbits(64)}",
            }
        elif event_type == "CustomerChanged":
            fields |= {"risk_level": chance.choice(("Income", "Aggressive")), "changed_on": utc(self._now())[:10]}
        elif event_type == "RecommendationRequested":
            fields["action"] = chance.choice(("request_recs", "refresh_recs"))
        elif event_type == "RetrainRequested":
            fields["reason"] = "fuzzed"
        elif event_type in _VERSION_COMMANDS:
            fields["version"] = f"{NAME_SPACE}{chance.randrange(40)}"
        return fields

    # --- event ids that were used before ---

    def _remember(self, sent: _Sent) -> None:
        self._sent = [*self._sent[-MOST_REMEMBERED + 1 :], sent]

    def _sent_of(self, event_types: Sequence[str]) -> list[_Sent]:
        return [sent for sent in self._sent if sent.event_type in event_types]

    def _reuse_of_own(self, event_types: Sequence[str]) -> Fuzzed:
        """Return a repetition of an event that was sent before, or its event_id with other content."""
        sent = self._random.choice(self._sent_of(event_types))
        if self._random.random() < 0.4:
            return self._again(sent, sent.value, "repeated", None)
        fields = {**sent.fields, "occurred_at": utc(self._now())}
        if self._random.random() < 0.3:
            return self._again(sent, to_json(fields, self._random), "repeated with another time", None)
        self._change_content(fields)
        return self._again(sent, to_json(fields, self._random), "other content", "event_id")

    def _change_content(self, fields: dict[str, Any]) -> None:
        if fields["event_type"] in ("InteractionRecorded", "TransactionRecorded"):
            fields["isin"] = self._random.choice([isin for isin in self._isins if isin != fields["isin"]])
        elif fields["event_type"] == "CustomerChanged":
            fields["customer_type"] = f"other {self._random.getrandbits(32)}"
        elif fields["event_type"] == "RecommendationRequested":
            fields.pop("preset", None)
            fields["weights"] = {"profitability": self._random.uniform(0.1, 1.0), "content": 0.123}
        else:
            fields |= {"event_type": "ModelActivated", "version": f"other-{self._random.getrandbits(32)}"}

    def _again(self, sent: _Sent, value: bytes, change: str, refused_by: RefusedBy | None) -> Fuzzed:
        verdict: Verdict = "refused" if refused_by else "accepted"
        topic = TOPIC_OF[sent.event_type]
        return Fuzzed(
            topic, sent.event_type, sent.key, value, "event_id", change, verdict, refused_by, refused_by is None
        )

    def _reuse_of(self, stored: Stored) -> Fuzzed:
        event_type = next(name for name, topic in TOPIC_OF.items() if topic == stored.topic)
        fields = {**self._fields(event_type), "event_id": stored.event_id}
        key, value = _key(fields["customer_id"]), to_json(fields, self._random)
        return Fuzzed(stored.topic, event_type, key, value, "event_id", "of a customer", "refused", "event_id")


# Stands for the key that fits the customer_id, whatever a change makes of it.
KEY_OF_CUSTOMER = b"(customer_id)"


def to_json(fields: dict[str, Any], chance: random.Random) -> bytes:
    """Return the JSON, with or without escapes, its keys in any order."""
    order = sorted(fields)
    chance.shuffle(order)
    tokens: list[str] = []

    def raw(value: object) -> str:
        if not isinstance(value, Raw):
            raise TypeError(type(value).__name__)
        tokens.append(value.token)
        return f"(raw {len(tokens) - 1})"

    text = json.dumps({name: fields[name] for name in order}, default=raw, ensure_ascii=chance.random() < 0.5)
    for number, token in enumerate(tokens):
        text = text.replace(f'"(raw {number})"', token)
    return text.encode("utf-8", "surrogatepass")


def _fits(change: Change, event_type: str) -> bool:
    """Return whether a change of the whole message is about this event: the key of a command is not compared."""
    return change.refused_by != "key" or event_type in _CUSTOMER_EVENTS


def _key(customer_id: object) -> bytes:
    return customer_id[:200].encode("utf-8", "surrogatepass") if isinstance(customer_id, str) else b"fuzz"
