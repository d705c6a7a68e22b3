"""What the fuzzer changes in the fields of each event type, beside those that every event has."""

from __future__ import annotations

import string
from datetime import timedelta

from shared.recommender.types import InteractionType
from tests.chaos.fuzzed_fields import NO_STRINGS, ODD, Change, Draft, Raw, Values, broken_text, changes, utc

_ALPHANUMERIC = string.ascii_letters + string.digits
_ID_CHARACTERS = _ALPHANUMERIC + "_.:-"
_PRINTABLE = _ALPHANUMERIC + string.punctuation


def _identifier(draft: Draft) -> str:
    """Return any allowed customer_id of the fuzzer's name space."""
    length = draft.random.choice((0, 1, 8, 59))
    return "fuzz-" + "".join(draft.random.choices(_ID_CHARACTERS, k=length))


def _take_unknown_asset(draft: Draft) -> None:
    length = draft.random.choice((1, 10, 18))
    draft.fields["isin"] = "NO" + "".join(draft.random.choices(_ALPHANUMERIC, k=length))


def _filter_changes(name: str, *, known: list[str]) -> list[Change]:
    return changes(
        name,
        missing="accepted",
        refused={
            "other type": [0, "", "Stock", {}, True, [None], [0], [[]]],
            "empty": [[], [""]],
            "too many": lambda draft: [f"name {number}" for number in range(31)],
            "too long": [["x" * 201]],
            "control character": [["a\x00"], ["a\nb"], ["\u2028"]],
        },
        accepted={"null": [None], "known": [known, known[:1], [known[0], known[0]]], "unknown": [["Luck"], ODD]},
    )


def _add_preset_and_weights(draft: Draft) -> None:
    draft.fields |= {"preset": "popular", "weights": {"content": 1}}


CUSTOMER: list[Change] = changes(
    "customer_id",
    missing="refused",
    refused={
        "other type": NO_STRINGS,
        "first character": [".", "..", "-a", ":a", ".a"],
        "not allowed": ["a/b", "a%00", "a\\b", "a;b", "a'b", 'a"b', "<a>", "a,b", "a=b"],
        **broken_text("customer_id", longest=64),
    },
    accepted={"any allowed": _identifier},
)


def _instant(**ahead: float) -> Values:
    return lambda draft: utc(draft.now + timedelta(**ahead))


def _bad_amounts() -> dict[str, Values]:
    return {
        "other type": [None, "", "45", "1e3", True, [], {}, [1], {"value": 1}],
        "negative": [-1, -1e-9, -1e308, -(2**63)],
        "too large": [1e308, 1e12 + 1, 10**30, 2**63],
        "not finite": [Raw(token) for token in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")],
    }


ASSET: list[Change] = [
    *changes(
        "isin",
        missing="refused",
        refused={
            "other type": NO_STRINGS,
            "not allowed": ["ALPHA.AT", "GR-1", "GR_1", "GR1;", "../x", "%00"],
            **broken_text("isin", longest=20),
        },
        accepted={"any of the catalogue": lambda draft: draft.random.choice(draft.isins)},
    ),
    Change("isin", "unknown asset", "refused", _take_unknown_asset, "catalogue"),
]

INTERACTION: list[Change] = [
    *ASSET,
    *changes(
        "type",
        missing="refused",
        refused={
            "other type": NO_STRINGS,
            "other name": ["", "Click", "CLICK", "buy", " click", "click\n", "click\x00", "x" * 5000],
        },
        accepted={"any allowed": [kind.value for kind in InteractionType]},
    ),
    *changes(
        "request_id",
        missing="accepted",
        refused={"other type": NO_STRINGS[1:], "no UUID": ["", "x", "5d0d9b0a-2c55-4b5e-8d8e-0f6f2f1f7a1", "%00"]},
        accepted={"of no list": ["5d0d9b0a-2c55-4b5e-8d8e-0f6f2f1f7a10"]},
    ),
    *changes(
        "rank",
        missing="accepted",
        refused={"other type": ["1", 1.5, True, [1], {}], "no place": [0, -1, 51, 2**63, 10**30]},
        accepted={"any place": [1, 2, 50]},
    ),
]

TRANSACTION: list[Change] = [
    *ASSET,
    *changes(
        "type",
        missing="refused",
        refused={
            "other type": NO_STRINGS,
            "other name": ["", "buy", "SELL", "click", " Buy", "Buy\n", "Sell\x00", "x" * 5000],
        },
        accepted={"any allowed": ["Buy", "Sell"]},
    ),
    *changes(
        "units",
        missing="refused",
        refused={**_bad_amounts(), "zero": [0, 0.0, -0.0, 5e-324, 1e-10]},
        accepted={"extremes": [1e-9, 1, 0.1, 1e12, 16.666666666666668]},
    ),
    *changes(
        "total_value",
        missing="refused",
        refused=_bad_amounts(),
        accepted={"extremes": [0, 0.0, 5e-324, 1e12, 215.00000000000003]},
    ),
    *changes(
        "currency",
        missing="accepted",
        refused={
            "other type": NO_STRINGS[1:],
            "not allowed": ["eur", "E1R", "EU", "EURO"],
            **broken_text("currency", longest=3),
        },
        accepted={"null": [None], "any allowed": ["EUR", "XXX", "USD"]},
    ),
    *changes(
        "executed_at",
        missing="refused",
        refused={
            "other type": [None, True, [], {}],
            "before 2000": ["1900-01-01T00:00:00Z", "1999-12-31T23:59:59Z", "0001-01-01T05:00:00+05:30"],
            "no time": ["", "now", "2024-01-01", "2024-01-01T00:00:00", "NaN"],
            "year 9999": ["9999-12-31T23:59:59Z"],
            "more than a day ahead": _instant(hours=25),
        },
        accepted={"less than a day ahead": _instant(hours=23), "early": ["2000-01-01T00:00:00Z"]},
    ),
    *changes(
        "transaction_id",
        missing="refused",
        refused={"other type": NO_STRINGS, **broken_text("transaction_id", longest=64)},
        accepted={"any printable": lambda draft: "".join(draft.random.choices(_PRINTABLE, k=64))},
    ),
]


def _day(**ahead: float) -> Values:
    return lambda draft: (draft.now + timedelta(**ahead)).date().isoformat()


def _broken_days(earliest: str) -> dict[str, Values]:
    return {
        "other type": [True, [], {}, 20455, 1.5],
        "no day": ["", "today", "2026-02-30", "02.01.2026", "2026-01-02Z", "2026-01-02T00:00:00", "+10000-01-01"],
        "too early": [earliest, "0001-01-01"],
        "after tomorrow": _day(days=2, hours=1),
    }


PROFILE: list[Change] = [
    *changes(
        "customer_type",
        missing="accepted",
        refused={"other type": NO_STRINGS[1:], **broken_text("customer_type", longest=200, plain=True)},
        accepted={"null": [None], "any text": ["", "Premium", *ODD, "x" * 200]},
    ),
    *changes(
        "risk_level",
        missing="accepted",
        refused={
            "other type": NO_STRINGS[1:],
            "other name": ["", "income", "Reckless", "Predicted_", "Income\n", " Income"],
        },
        accepted={"null": [None], "any allowed": ["Income", "Predicted_Aggressive", "Not_Available"]},
    ),
    *changes(
        "investment_capacity",
        missing="accepted",
        refused={"other type": NO_STRINGS[1:], "other name": ["", "30K", "CAP_", "cap_lt30k", "CAP_LT30K\x00"]},
        accepted={"null": [None], "any allowed": ["CAP_LT30K", "Predicted_CAP_GT300K", "CAP_80K_300K"]},
    ),
    *changes(
        "last_questionnaire_date",
        missing="accepted",
        refused=_broken_days("1899-12-31"),
        accepted={"null": [None], "early": ["1900-01-01"], "today": _day()},
    ),
    *changes(
        "changed_on",
        missing="refused",
        refused={**_broken_days("1989-12-31"), "null": [None]},
        accepted={"early": ["1990-01-01"], "tomorrow": _day(days=1)},
    ),
]

REQUEST: list[Change] = [
    *changes(
        "action",
        missing="refused",
        refused={
            "other type": NO_STRINGS,
            "other name": ["", "Request_recs", "refresh", "refresh_recs ", "request_recs\x00"],
        },
        accepted={"any allowed": ["request_recs", "refresh_recs"]},
    ),
    *changes(
        "weights",
        missing="accepted",
        refused={
            "other type": [0, 1.0, True, "", "0.5", [], [0.5, 0.2, 0.3]],
            "all zero": [{}, {"content": 0}, {"collaborative": 0.0, "content": -0.0}],
            "negative": [{"content": -1e-9}, {"content": -1e308}, {"collaborative": -1, "content": 2}],
            "too large": [{"content": 1e308}, {"content": 1e6 + 1}, {"content": 10**30}],
            "not finite": [{"content": Raw(token)} for token in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")],
            "no number": [{"content": None}, {"content": ""}, {"content": "x"}, {"content": []}, {"content": {}}],
            "unknown component": [{"content": 1, "luck": 1}, {"Content": 1}, {"": 1, "content": 1}],
        },
        accepted={
            "null": [None],
            "extremes": [
                *({"content": value} for value in (1e6, 1e-308, 5e-324)),
                {"collaborative": 1e6, "content": 1e-308, "profitability": 0},
                {"collaborative": 1e6, "content": 1e6, "profitability": 1e6},
            ],
        },
        either={"number by other means": [{"content": "0.5"}, {"content": True}]},
    ),
    *changes(
        "preset",
        missing="accepted",
        refused={"other type": [0, True, [], {}], "other name": ["", "Popular", "greedy", "return ", "balanced\x00"]},
        accepted={"null": [None], "any allowed": ["popular", "balanced", "return", "low_volatility"]},
    ),
    Change("preset", "beside weights", "refused", _add_preset_and_weights),
    *changes(
        "k",
        missing="accepted",
        refused={"other type": ["", "5", [], {}, True, 1.5, 5.0], "out of range": [0, -1, 51, 10**30]},
        accepted={"null": [None], "any length": [1, 10, 50]},
    ),
    *_filter_changes("categories", known=["Stock", "Bond", "MTF"]),
    *_filter_changes("sectors", known=["Technology", "Utilities"]),
    *changes(
        "exclude",
        missing="accepted",
        refused={
            "other type": [0, "", "GRS434003000", {}, True, [None], [0], [[]]],
            "empty": [[]],
            "too many": lambda draft: [f"X{number}" for number in range(201)],
            "no isin": [[""], ["a b"], ["x" * 21], ["ab\x00"], ["\u00df"]],
        },
        accepted={"null": [None], "any": [["GRS434003000"], ["NOTHING", "NOTHING"], [f"X{n}" for n in range(200)]]},
    ),
    *changes(
        "limits",
        missing="accepted",
        refused={
            "other type": [0, "", [], True, 3],
            "empty": [{}, {"per_sector": None}],
            "out of range": [{"per_sector": 0}, {"per_category": 51}, {"per_sector": 1.5}, {"per_category": "2"}],
            "unknown": [{"per_sector": 2, "per_industry": 2}, {"": 1}],
        },
        accepted={
            "null": [None],
            "any": [{"per_sector": 1}, {"per_category": 50}, {"per_sector": 3, "per_category": 4}],
        },
    ),
    *changes(
        "save",
        missing="accepted",
        refused={"other type": ["", "false", 0.5, [], {}]},
        accepted={"null": [None], "any": [True, False]},
        either={"number": [0, 1]},
    ),
    *changes(
        "why",
        missing="accepted",
        refused={
            "other type": NO_STRINGS[1:],
            "not allowed": ["ALPHA.AT", "GR-1", "../x", "%00"],
            **broken_text("why", longest=20),
        },
        accepted={
            "null": [None],
            "any of the catalogue": lambda draft: draft.random.choice(draft.isins),
            "unknown asset": ["NOTHING"],
        },
    ),
]

RETRAIN: list[Change] = changes(
    "reason",
    missing="accepted",
    refused={"other type": NO_STRINGS, **broken_text("reason", longest=200, plain=True)},
    accepted={"any text": ["", " ", *ODD, "x" * 200, "'; DROP TABLE model_versions; --", "%s{}"]},
)

CHOSEN_VERSION: list[Change] = changes(
    "version",
    missing="refused",
    refused={
        "other type": NO_STRINGS,
        "not allowed": ["..", "../../etc", "/etc/passwd", "a/b", "a:b", "-a", ".hidden"],
        **broken_text("version", longest=64),
    },
    accepted={"not stored": ["fuzz-1", "0", "x" * 64, "20260102T030405Z-1a2b3c4d"]},
)
