"""What the fuzzer changes in a valid event, and what the published contract says about each change.

The verdicts are written by hand, from the golden events and the rules that are published for identifiers, times and
text. They do not come from `shared.events`, so that a reader that accepts too much or too little disagrees with them.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
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


Values = Sequence[Any] | Callable[[Draft], Any]


def changes(
    name: str,
    *,
    missing: Verdict,
    refused: Mapping[str, Values],
    accepted: Mapping[str, Values],
    either: Mapping[str, Values] | None = None,
) -> list[Change]:
    """Return the changes of one field: its removal, and other values by what the contract says about them."""
    removal = Change(name, "missing", missing, lambda draft: draft.fields.pop(name, None) and None)
    verdicts: dict[Verdict, Mapping[str, Values]] = {"refused": refused, "accepted": accepted, "either": either or {}}
    return [removal, *(_set(name, verdict, *one) for verdict, values in verdicts.items() for one in values.items())]


def _set(name: str, verdict: Verdict, change: str, values: Values) -> Change:
    def apply(draft: Draft) -> None:
        draft.fields[name] = values(draft) if callable(values) else draft.random.choice(values)

    return Change(name, change, verdict, apply)


def broken_text(name: str, *, longest: int, plain: bool = False) -> dict[str, Values]:
    """Return what no text of the contract may be; `plain` text may hold blanks and any letters, identifiers may not."""

    def insert(draft: Draft, what: str) -> str:
        text = str(draft.fields.get(name) or "text")[: longest - 1]
        position = draft.random.randint(0, len(text))
        return text[:position] + what + text[position:]

    values: dict[str, Values] = {
        "control character": lambda draft: insert(draft, draft.random.choice(_CONTROL)),
        "NUL": lambda draft: insert(draft, "\x00"),
        "lone surrogate": lambda draft: insert(draft, draft.random.choice("\ud800\udfff")),
        "line end": lambda draft: f"{draft.fields.get(name) or 'text'}"[: longest - 1] + "\n",
        "too long": lambda draft: "x" * draft.random.randint(longest + 1, 5 * longest),
        "huge": lambda draft: _huge(draft, "x"),
    }
    if plain:
        return values
    return {
        **values,
        "other alphabet": lambda draft: insert(draft, draft.random.choice(ODD)),
        "blank": lambda draft: insert(draft, " "),
        "empty": [""],
    }


def _huge(draft: Draft, character: str) -> str:
    return character * draft.random.randint(draft.largest_bytes // 2, draft.largest_bytes - 1500)


def _instant(draft: Draft, **ahead: float) -> str:
    """Return the time so far from now, at any offset."""
    zone = timedelta(minutes=draft.random.randint(-14 * 60, 14 * 60))
    return (draft.now + timedelta(**ahead) + zone).replace(tzinfo=None).isoformat() + _offset(zone)


def _offset(zone: timedelta) -> str:
    minutes = round(zone.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


_YEAR_1 = [
    "0001-01-01T05:00:00+05:30",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "0001-12-31T23:59:59-14:00",
]
_NO_DATES = ["10000-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "2024-02-30T00:00:00Z"]
_BEFORE_2000 = [
    "1999-12-31T23:59:59.999999Z",
    "2000-01-01T00:00:00+00:01",
    "1970-01-01T00:00:00Z",
    "1677-09-21T00:12:43Z",
]
_OTHER_TIMES = ["1700000000", "2024-01-01 00:00:00Z", "2024-01-01t00:00:00z", "2024-01-01T00:00Z"]

IDENTITY: list[Change] = [
    *changes(
        "event_id",
        missing="refused",
        refused={
            "other type": NO_STRINGS,
            "no UUID": ["", "0", "x" * 36, "0" * 35, " " + "0" * 32, "\x00" * 36, "g" * 32],
            "huge": lambda draft: _huge(draft, "0"),
        },
        accepted={
            "near the ends": lambda draft: str(_uuid_near_the_ends(draft.random)),
            "upper case": lambda draft: str(draft.fields["event_id"]).upper(),
        },
        either={"other notation": lambda draft: _notation(draft)},
    ),
    *changes(
        "occurred_at",
        missing="refused",
        refused={
            "other type": [None, True, [], {}, ["2024-01-01T00:00:00Z"]],
            "year 1": _YEAR_1,
            "year 9999": ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-14:00"],
            "out of the calendar": [*_NO_DATES, "2024-13-01T00:00:00Z"],
            "before 2000": _BEFORE_2000,
            "no time": ["", "yesterday", "2024-01-01", "T", "\x00", "now", "NaN", "2024-W01-1T00:00:00Z"],
            "no offset": ["2024-01-01T00:00:00", "2024-01-01T00:00:00.5"],
            "offset of a day and more": ["2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00-99:99"],
            "number out of bounds": [-1, -1e18, 1e18, 0, Raw("1e999"), Raw("9" * 30), 2**63],
            "more than a day ahead": lambda draft: _instant(draft, hours=draft.random.choice((25, 48, 24 * 3650))),
        },
        accepted={
            "less than a day ahead": lambda draft: _instant(draft, hours=draft.random.uniform(0.1, 23)),
            "as early as allowed": ["2000-01-01T00:00:00Z", "2000-01-01T00:00:00-00:01", "2000-01-01T14:00:00+14:00"],
            "any offset": lambda draft: _instant(draft, hours=-draft.random.uniform(0, 9999)),
        },
        either={"other notation": [1.7e9, 1700000000000, *_OTHER_TIMES, "2024-01-01T00:00:00.123456789Z"]},
    ),
    *changes(
        "schema_version",
        missing="refused",
        refused={
            "other version": [0, 2, -1, 99, 2**63, 10**30, 1.5],
            "other type": [None, "1", "one", "", [], {}, [1], False],
        },
        accepted={},
        either={"one by other means": [True, 1.0]},
    ),
    *changes(
        "event_type",
        missing="refused",
        refused={
            "other type": NO_STRINGS,
            "of another topic": lambda draft: _event_of_another_topic(draft),
            "other name": ["", "SomethingElse", "interactionrecorded", "ModelPublished", "\x00"],
        },
        accepted={},
    ),
    *changes(
        "fingerprint",
        missing="accepted",
        refused={"other type": NO_STRINGS[1:], **broken_text("fingerprint", longest=64)},
        accepted={"null": [None], "any printable": lambda draft: _printable(draft.random)},
    ),
]


def _printable(chance: random.Random) -> str:
    return "".join(chr(chance.randint(0x21, 0x7E)) for _ in range(chance.choice((1, 63, 64))))


def _event_of_another_topic(draft: Draft) -> str:
    customers = ["InteractionRecorded", "RecommendationRequested", "TransactionRecorded", "CustomerChanged"]
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
