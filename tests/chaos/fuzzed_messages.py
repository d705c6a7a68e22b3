"""What the fuzzer changes in a message as a whole: its JSON, its size, its key, its partition."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.chaos.fuzzed_fields import Change, Draft, RefusedBy, Verdict

SHALLOW, DEEP = 50, 20_000  # nested arrays; a reader's own limit lies between them
_MARGIN_BYTES = 1500  # for the event itself, the key, and what the broker adds

Edit = Callable[[bytes, Draft], bytes | None]


def _message(name: str, verdict: Verdict, *edits: Edit) -> Change:
    """Return a change of the bytes, by any one of the edits."""

    def apply(draft: Draft) -> None:
        edit = draft.random.choice(edits)
        draft.edit = lambda value: edit(value, draft)

    return Change("", name, verdict, apply)


def _with(value: bytes, token: str) -> bytes:
    """Return the object with a field more, `token` as its text."""
    return value[:-1] + f", {token}}}".encode()


def _extra(draft: Draft) -> str:
    values: list[Any] = [None, 1, "x", [], {}, {"customer_id": "somebody"}, "\u2028", "\u0000", 1e308, True, [[1, [2]]]]
    name = draft.random.choice(("extra", "", "customerID", "\u0000", "__proto__", "CUSTOMER_ID", "\u202eid"))
    return f"{json.dumps(name)}: {json.dumps(draft.random.choice(values))}"


def _twice(value: bytes, draft: Draft) -> bytes:
    """Return the object with one of its fields there again, with the same or another value."""
    name = draft.random.choice(sorted(draft.fields))
    again = draft.random.choice((draft.fields[name], "x", 5))
    return _with(value, f"{json.dumps(name)}: {json.dumps(again)}")


def _set_key(make: Callable[[Draft], bytes | None]) -> Callable[[Draft], None]:
    def apply(draft: Draft) -> None:
        draft.key = make(draft)

    return apply


def _any_partition(draft: Draft) -> None:
    draft.any_partition = True


_BY_KEY: RefusedBy = "key"
_WRONG_KEYS: dict[str, Callable[[Draft], bytes | None]] = {
    "of another customer": lambda draft: f"{draft.fields['customer_id']}0".encode(),
    "missing": lambda draft: None,
    "empty": lambda draft: b"",
    "with a NUL": lambda draft: draft.fields["customer_id"].encode() + b"\x00",
    "in upper case": lambda draft: draft.fields["customer_id"].upper().encode(),
    "with a blank": lambda draft: draft.fields["customer_id"].encode() + b" ",
    "no UTF-8": lambda draft: b"\xff\xfe" + draft.fields["customer_id"].encode(),
    "long": lambda draft: draft.fields["customer_id"].encode() * 200,
}

MESSAGE: list[Change] = [
    _message("nothing", "refused", lambda value, draft: None, lambda value, draft: b""),
    _message("cut off", "refused", lambda value, draft: value[: draft.random.randrange(1, len(value))]),
    _message("something behind it", "refused", lambda value, draft: value + b"x", lambda value, draft: value + value),
    _message("byte order mark", "refused", lambda value, draft: b"\xef\xbb\xbf" + value),
    _message("other encoding", "refused", lambda value, draft: value.decode(errors="replace").encode("utf-16")),
    _message("no UTF-8", "refused", lambda value, draft: _with(value, '"x": "')[:-1] + b'\xc3\x28"}'),
    _message(
        "no object",
        "refused",
        lambda value, draft: b"[" + value + b"]",
        lambda value, draft: json.dumps(value.decode(errors="replace")).encode(),
        lambda value, draft: draft.random.choice((b"null", b"true", b"1", b'""', b"[]", b"{}", b"NaN")),
    ),
    _message(
        "no JSON",
        "refused",
        lambda value, draft: value.replace(b'"', b"'"),
        lambda value, draft: value[:-1] + b",}",
        lambda value, draft: b"/**/" + value,
        lambda value, draft: value.replace(b":", b"=", 1),
        lambda value, draft: b"\x00" * draft.random.choice((1, 5, 5000)),
    ),
    _message("deep", "refused", lambda value, draft: _with(value, f'"x": {"[" * DEEP}{"]" * DEEP}')),
    _message("less deep", "accepted", lambda value, draft: _with(value, f'"x": {"[" * SHALLOW}{"]" * SHALLOW}')),
    _message("white space", "accepted", lambda value, draft: b" \r\n\t" + value + b"\n  "),
    _message("further field", "accepted", lambda value, draft: _with(value, _extra(draft))),
    _message("escaped name", "accepted", lambda value, draft: value.replace(b'"event_id"', b'"\\u0065vent_id"')),
    _message(
        "almost too large",
        "accepted",
        lambda value, draft: _with(value, f'"x": "{"y" * (draft.largest_bytes - len(value) - _MARGIN_BYTES)}"'),
    ),
    _message("doubled field", "either", _twice),
    _message(
        "number beyond readers",
        "either",
        lambda value, draft: _with(value, f'"x": {"9" * draft.random.choice((400, 5000))}'),
        lambda value, draft: _with(value, '"x": 1e999'),
        lambda value, draft: _with(value, '"x": NaN'),
    ),
    _message("lone surrogate in a further field", "either", lambda value, draft: _with(value, '"x": "\\ud800"')),
    *(Change("key", name, "refused", _set_key(make), _BY_KEY) for name, make in _WRONG_KEYS.items()),
    Change("", "any partition", "accepted", _any_partition),
]
