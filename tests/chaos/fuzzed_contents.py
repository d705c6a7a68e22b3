"""What the fuzzer changes in the fields of each event type, beside those that every event has."""

from __future__ import annotations

import string

from tests.chaos.fuzzed_fields import NO_STRINGS, ODD, Change, Draft, Raw, broken_text, missing, one_of, set_to

_ALPHANUMERIC = string.ascii_letters + string.digits
_ID_CHARACTERS = _ALPHANUMERIC + "_.:-"


def _identifier(draft: Draft) -> str:
    """Return any allowed customer_id of the fuzzer's name space."""
    length = draft.random.choice((0, 1, 8, 59))
    return "fuzz-" + "".join(draft.random.choices(_ID_CHARACTERS, k=length))


def _take_unknown_asset(draft: Draft) -> None:
    length = draft.random.choice((1, 10, 18))
    draft.fields["isin"] = "NO" + "".join(draft.random.choices(_ALPHANUMERIC, k=length))


CUSTOMER: list[Change] = [
    missing("customer_id", "refused"),
    one_of("customer_id", "other type", "refused", NO_STRINGS),
    one_of("customer_id", "first character", "refused", [".", "..", "-a", ":a", ".a"]),
    one_of("customer_id", "not allowed", "refused", ["a/b", "a%00", "a\\b", "a;b", "a'b", 'a"b', "<a>", "a,b", "a=b"]),
    set_to("customer_id", "any allowed", "accepted", _identifier),
    *broken_text("customer_id", longest=64),
]

INTERACTION: list[Change] = [
    missing("isin", "refused"),
    one_of("isin", "other type", "refused", NO_STRINGS),
    one_of("isin", "not allowed", "refused", ["ALPHA.AT", "GR-1", "GR_1", "GR1;", "../x", "%00"]),
    *broken_text("isin", longest=20),
    set_to("isin", "any of the catalogue", "accepted", lambda draft: draft.random.choice(draft.isins)),
    Change("isin", "unknown asset", "refused", _take_unknown_asset, "catalogue"),
    missing("type", "refused"),
    one_of("type", "other type", "refused", NO_STRINGS),
    one_of(
        "type", "other name", "refused", ["", "Click", "CLICK", "buy", " click", "click\n", "click\x00", "x" * 5000]
    ),
    one_of("type", "any allowed", "accepted", ["click", "view", "watchlist", "dismiss"]),
]

REQUEST: list[Change] = [
    missing("action", "refused"),
    one_of("action", "other type", "refused", NO_STRINGS),
    one_of("action", "other name", "refused", ["", "Request_recs", "refresh", "refresh_recs ", "request_recs\x00"]),
    one_of("action", "any allowed", "accepted", ["request_recs", "refresh_recs"]),
    missing("weights", "accepted"),
    one_of("weights", "null", "accepted", [None]),
    one_of("weights", "other type", "refused", [0, 1.0, True, "", "0.5", [], [0.5, 0.2, 0.3]]),
    one_of("weights", "all zero", "refused", [{}, {"content": 0}, {"collaborative": 0.0, "content": -0.0}]),
    one_of(
        "weights", "negative", "refused", [{"content": -1e-9}, {"content": -1e308}, {"collaborative": -1, "content": 2}]
    ),
    one_of("weights", "too large", "refused", [{"content": 1e308}, {"content": 1e6 + 1}, {"content": 10**30}]),
    one_of(
        "weights",
        "not finite",
        "refused",
        [{"content": Raw(token)} for token in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")],
    ),
    one_of(
        "weights",
        "no number",
        "refused",
        [{"content": None}, {"content": ""}, {"content": "x"}, {"content": []}, {"content": {}}],
    ),
    one_of(
        "weights", "unknown component", "refused", [{"content": 1, "luck": 1}, {"Content": 1}, {"": 1, "content": 1}]
    ),
    one_of(
        "weights",
        "extremes",
        "accepted",
        [
            {"content": 1e6},
            {"content": 1e-308},
            {"content": 5e-324},
            {"collaborative": 1e6, "content": 1e-308, "profitability": 0},
            {"collaborative": 1e6, "content": 1e6, "profitability": 1e6},
        ],
    ),
    one_of("weights", "number by other means", "either", [{"content": "0.5"}, {"content": True}]),
]

RETRAIN: list[Change] = [
    missing("reason", "accepted"),
    one_of("reason", "other type", "refused", NO_STRINGS),
    one_of("reason", "any text", "accepted", ["", " ", *ODD, "x" * 200, "'; DROP TABLE model_versions; --", "%s{}"]),
    *broken_text("reason", longest=200, plain=True),
]

ACTIVATED: list[Change] = [
    missing("version", "refused"),
    one_of("version", "other type", "refused", NO_STRINGS),
    one_of("version", "not allowed", "refused", ["..", "../../etc", "/etc/passwd", "a/b", "a:b", "-a", ".hidden"]),
    one_of("version", "not stored", "accepted", ["fuzz-1", "0", "x" * 64, "20260102T030405Z-1a2b3c4d"]),
    *broken_text("version", longest=64),
]
