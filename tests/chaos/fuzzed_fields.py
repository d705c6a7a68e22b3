"""What the fuzzer changes in a valid event, and what the published contract says about each change.

The verdicts are written by hand, from the golden events and the rules that are published for identifiers, times and
text. They do not come from `shared.events`, so that a reader that accepts too much or too little disagrees with them.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Verdict = Literal["accepted", "refused", "either"]
# Who refuses: whoever reads the bytes, whoever compares the key, looks the asset up, or looks the event_id up.
RefusedBy = Literal["reader", "key", "catalogue", "event_id"]


@dataclass(frozen=True)
class Raw:
    """A JSON token that `json.dumps` does not write."""

    token: str


@dataclass
class Draft:
    """A valid event that one change makes into something else; `value` replaces the JSON of `fields`."""

    random: random.Random
    now: datetime
    fields: dict[str, Any]
    key: bytes | None
    largest_bytes: int
    isins: Sequence[str]
    any_partition: bool = False
    edit: Callable[[bytes], bytes | None] = field(default=lambda value: value)


@dataclass(frozen=True)
class Change:
    """One kind of change; `field` is empty when it is about the message as a whole."""

    field: str
    name: str
    verdict: Verdict
    apply: Callable[[Draft], None]
    refused_by: RefusedBy = "reader"


_CONTROL = [chr(number) for number in (*range(0x20), *range(0x7F, 0xA0))] + ["\u2028", "\u2029"]
ODD = ["\u202e", "\u200f", "\u0627\u0644", "\U0001f600", "e\u0301", "\ufeff", "\uffff", "\u200b", "\u00df"]
NO_STRINGS: list[Any] = [None, 0, -1, 1.5, 1e18, True, [], {}, ["a"], {"a": "b"}]


def set_to(name: str, change: str, verdict: Verdict, make: Callable[[Draft], Any]) -> Change:
    """Return a change of one field, to what `make` returns."""

    def apply(draft: Draft) -> None:
        draft.fields[name] = make(draft)

    return Change(name, change, verdict, apply)


def one_of(name: str, change: str, verdict: Verdict, values: Sequence[Any]) -> Change:
    """Return a change of one field to any of these values."""
    return set_to(name, change, verdict, lambda draft: draft.random.choice(values))


def missing(name: str, verdict: Verdict) -> Change:
    """Return the removal of one field."""
    return Change(name, "missing", verdict, lambda draft: draft.fields.pop(name, None) and None)


def broken_text(name: str, *, longest: int, plain: bool = False) -> list[Change]:
    """Return what no text of the contract may be; `plain` text may hold blanks and any letters, identifiers may not."""

    def insert(draft: Draft, what: str) -> str:
        text = str(draft.fields.get(name) or "text")[: longest - 1]
        position = draft.random.randint(0, len(text))
        return text[:position] + what + text[position:]

    changes = [
        set_to(name, "control character", "refused", lambda draft: insert(draft, draft.random.choice(_CONTROL))),
        set_to(name, "NUL", "refused", lambda draft: insert(draft, "\x00")),
        set_to(name, "lone surrogate", "refused", lambda draft: insert(draft, draft.random.choice("\ud800\udfff"))),
        set_to(name, "line end", "refused", lambda draft: f"{draft.fields.get(name) or 'text'}"[: longest - 1] + "\n"),
        set_to(name, "too long", "refused", lambda draft: "x" * draft.random.randint(longest + 1, 5 * longest)),
        set_to(
            name,
            "huge",
            "refused",
            lambda draft: "x" * draft.random.randint(draft.largest_bytes // 2, draft.largest_bytes - 1500),
        ),
    ]
    if not plain:
        changes += [
            set_to(name, "other alphabet", "refused", lambda draft: insert(draft, draft.random.choice(ODD))),
            set_to(name, "blank", "refused", lambda draft: insert(draft, " ")),
            one_of(name, "empty", "refused", [""]),
        ]
    return changes


def _instant(draft: Draft, **ahead: float) -> str:
    """Return the time so far from now, at any offset."""
    zone = timedelta(minutes=draft.random.randint(-14 * 60, 14 * 60))
    return (draft.now + timedelta(**ahead) + zone).replace(tzinfo=None).isoformat() + _offset(zone)


def _offset(zone: timedelta) -> str:
    minutes = round(zone.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


IDENTITY: list[Change] = [
    missing("event_id", "refused"),
    one_of("event_id", "other type", "refused", NO_STRINGS),
    one_of("event_id", "no UUID", "refused", ["", "0", "x" * 36, "0" * 35, " " + "0" * 32, "\x00" * 36, "g" * 32]),
    set_to(
        "event_id",
        "huge",
        "refused",
        lambda draft: "0" * draft.random.randint(draft.largest_bytes // 2, draft.largest_bytes - 1500),
    ),
    set_to("event_id", "near the ends", "accepted", lambda draft: str(_uuid_near_the_ends(draft.random))),
    set_to("event_id", "upper case", "accepted", lambda draft: str(draft.fields["event_id"]).upper()),
    set_to("event_id", "other notation", "either", lambda draft: _notation(draft)),
    missing("occurred_at", "refused"),
    one_of("occurred_at", "other type", "refused", [None, True, [], {}, ["2024-01-01T00:00:00Z"]]),
    one_of(
        "occurred_at",
        "year 1",
        "refused",
        ["0001-01-01T05:00:00+05:30", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-12-31T23:59:59-14:00"],
    ),
    one_of("occurred_at", "year 9999", "refused", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-14:00"]),
    one_of(
        "occurred_at",
        "out of the calendar",
        "refused",
        [
            "10000-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-13-01T00:00:00Z",
        ],
    ),
    one_of(
        "occurred_at",
        "before 2000",
        "refused",
        ["1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00+00:01", "1970-01-01T00:00:00Z", "1677-09-21T00:12:43Z"],
    ),
    one_of(
        "occurred_at",
        "no time",
        "refused",
        ["", "yesterday", "2024-01-01", "T", "\x00", "now", "NaN", "2024-W01-1T00:00:00Z"],
    ),
    one_of("occurred_at", "no offset", "refused", ["2024-01-01T00:00:00", "2024-01-01T00:00:00.5"]),
    one_of(
        "occurred_at", "offset of a day and more", "refused", ["2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00-99:99"]
    ),
    one_of("occurred_at", "number out of bounds", "refused", [-1, -1e18, 1e18, 0, Raw("1e999"), Raw("9" * 30), 2**63]),
    set_to(
        "occurred_at",
        "more than a day ahead",
        "refused",
        lambda draft: _instant(draft, hours=draft.random.choice((25, 48, 24 * 3650))),
    ),
    set_to(
        "occurred_at",
        "less than a day ahead",
        "accepted",
        lambda draft: _instant(draft, hours=draft.random.uniform(0.1, 23)),
    ),
    one_of(
        "occurred_at",
        "as early as allowed",
        "accepted",
        ["2000-01-01T00:00:00Z", "2000-01-01T00:00:00-00:01", "2000-01-01T14:00:00+14:00"],
    ),
    set_to(
        "occurred_at", "any offset", "accepted", lambda draft: _instant(draft, hours=-draft.random.uniform(0, 9999))
    ),
    one_of(
        "occurred_at",
        "other notation",
        "either",
        [
            1.7e9,
            1700000000000,
            "1700000000",
            "2024-01-01 00:00:00Z",
            "2024-01-01t00:00:00z",
            "2024-01-01T00:00Z",
            "2024-01-01T00:00:00.123456789Z",
        ],
    ),
    missing("schema_version", "refused"),
    one_of("schema_version", "other version", "refused", [0, 2, -1, 99, 2**63, 10**30, 1.5]),
    one_of("schema_version", "other type", "refused", [None, "1", "one", "", [], {}, [1], False]),
    one_of("schema_version", "one by other means", "either", [True, 1.0]),
    missing("event_type", "refused"),
    one_of("event_type", "other type", "refused", NO_STRINGS),
    set_to("event_type", "of another topic", "refused", lambda draft: _event_of_another_topic(draft)),
    one_of(
        "event_type", "other name", "refused", ["", "SomethingElse", "interactionrecorded", "ModelPublished", "\x00"]
    ),
    missing("fingerprint", "accepted"),
    one_of("fingerprint", "null", "accepted", [None]),
    set_to(
        "fingerprint",
        "any printable",
        "accepted",
        lambda draft: "".join(chr(draft.random.randint(0x21, 0x7E)) for _ in range(draft.random.choice((1, 63, 64)))),
    ),
    one_of("fingerprint", "other type", "refused", NO_STRINGS[1:]),
    *broken_text("fingerprint", longest=64),
]


def _event_of_another_topic(draft: Draft) -> str:
    customers = ["InteractionRecorded", "RecommendationRequested"]
    names = [*customers, "RetrainRequested"] if draft.fields["event_type"] in customers else customers
    return draft.random.choice([name for name in names if name != draft.fields["event_type"]])


def _uuid_near_the_ends(chance: random.Random) -> uuid.UUID:
    small = chance.getrandbits(32)
    return uuid.UUID(int=chance.choice((small, 2**128 - 1 - small)))


def _notation(draft: Draft) -> str:
    plain = uuid.UUID(draft.fields["event_id"])
    return draft.random.choice((plain.hex, plain.urn, f"{{{plain}}}"))


def utc(moment: datetime) -> str:
    """Return a time as the services write it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
