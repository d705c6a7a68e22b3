"""Messages that nearly keep the contract of their topic, as Hypothesis strategies: any field may be anything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from shared.events import (
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    EVENTS_OF_TOPIC,
    INTERACTIONS_RECORDED,
    SUSPENSIONS_CHANGED,
    TRANSACTIONS_RECORDED,
    WORKER_TOPICS,
)
from shared.ports import Message
from shared.recommender.types import InteractionType

LOGGED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CUSTOMERS = ("C1", "C2", "never-seen")
EVENT_IDS = tuple(str(UUID(int=number)) for number in range(4))  # few, so that they meet again with other content

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # half surrogate pairs and NUL included
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ANY_TEXT, inner, max_size=2),
    max_leaves=3,
)
EXTREMES = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "C1\n",
        "C1\x00",
        "\ud800",
        "\u2028",
        "x" * 64,
        "x" * 65,
        "x" * 5_000,
        "../..",
        -1,
        0,
        2**63,
        10**400,
        1e308,
        5e-324,
        float("nan"),
        float("inf"),
        "0001-01-01T05:00:00+05:30",
        "1999-12-31T23:59:59Z",
        "2000-01-01T00:00:00Z",
        "2000-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-14:00",
        (LOGGED_AT + timedelta(days=1)).isoformat(),
        (LOGGED_AT + timedelta(days=1, microseconds=1)).isoformat(),
        "1989-12-31",
        "1990-01-01",
        "2026-02-30",
        "2026-01-02T00:00:00",
        "20260102",
        "9999-12-31",
        "+10000-01-01",
        20455,  # days since 1970, as Kafka Connect writes a date
        "Predicted_Income",
        "Reckless",
    ]
)
WEIGHTS = st.dictionaries(
    st.sampled_from(["collaborative", "content", "profitability", "other"]),
    st.sampled_from([0, -0.0, 1, 0.5, 5e-324, 1e6, 1e6 + 1, -1, "1", None, float("nan")]) | st.floats(0, 1e6),
)
VALID_WEIGHTS = st.fixed_dictionaries({"content": st.floats(1e-300, 1e6)})
ORDER_FIELDS = ["units", "total_value", "currency", "executed_at", "transaction_id"]
REFERENCE_FIELDS = {
    CUSTOMERS_CHANGED: ["risk_level", "investment_capacity", "customer_type", "last_questionnaire_date", "changed_on"],
    ASSETS_CHANGED: ["isin", "asset_name", "asset_category", "asset_sub_category", "sector", "changed_on"],
    CLOSE_PRICES_RECORDED: ["isin", "priced_on", "close_price", "currency"],
    SUSPENSIONS_CHANGED: ["kind", "subject", "suspended", "reason"],
}
DAYS = st.integers(-1, 3).map(lambda days: (LOGGED_AT - timedelta(days=days)).date().isoformat())
FIELDS = ["event_id", "occurred_at", "schema_version", "event_type", "fingerprint", "customer_id", "isin", "type"]


def hostile_messages(isins: tuple[str, ...]) -> st.SearchStrategy[list[Message]]:
    """Return batches of such messages about these assets, numbered in the order of a log."""
    return st.lists(_messages(isins), max_size=8).map(_numbered)


@st.composite
def _messages(draw: st.DrawFn, isins: tuple[str, ...]) -> Message:
    topic = draw(st.sampled_from(WORKER_TOPICS))
    fields = draw(_fields(topic, isins))
    key_field = str(EVENTS_OF_TOPIC[topic][0].key_field)
    key: bytes | None = str(fields.get(key_field)).encode(errors="replace")
    value: bytes | None = json.dumps(fields).encode()
    what = draw(st.sampled_from(["keep"] * 6 + ["key", "value"]))
    if what == "key":
        key = draw(st.none() | st.binary(max_size=8))
    elif what == "value":
        value = draw(st.none() | st.binary(max_size=40))
    return Message(topic, 0, 0, key, value, draw(st.sampled_from([LOGGED_AT, None])))


@st.composite
def _fields(draw: st.DrawFn, topic: str, isins: tuple[str, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event_id": draw(st.sampled_from(EVENT_IDS)),
        "occurred_at": (LOGGED_AT - timedelta(hours=draw(st.integers(-24, 24)))).isoformat(),
        "schema_version": 1,
        "customer_id": draw(st.sampled_from(CUSTOMERS)),
        "fingerprint": draw(st.sampled_from([None, "a", "b"])),
    }
    if topic == INTERACTIONS_RECORDED:
        kind = draw(st.sampled_from([kind.value for kind in InteractionType]))
        fields |= {
            "event_type": "InteractionRecorded",
            "isin": draw(st.sampled_from([*isins[:3], "GONE"])),
            "type": kind,
        }
    elif topic == TRANSACTIONS_RECORDED:
        fields |= {
            "event_type": "TransactionRecorded",
            "isin": draw(st.sampled_from([*isins[:3], "GONE"])),
            "type": draw(st.sampled_from(["Buy", "Sell"])),
            "units": draw(st.sampled_from([1e-9, 0.1, 1.0, 1e12])),
            "total_value": draw(st.sampled_from([0.0, 5e-324, 1e12])),
            "executed_at": (LOGGED_AT - timedelta(hours=draw(st.integers(-24, 24)))).isoformat(),
            "transaction_id": draw(st.sampled_from(["T1", "T2"])),
        }
    elif topic in REFERENCE_FIELDS:
        fields |= draw(_reference_fields(topic, isins))
    else:
        action = draw(st.sampled_from(["request_recs", "refresh_recs"]))
        fields |= {
            "event_type": "RecommendationRequested",
            "action": action,
            "weights": draw(st.none() | VALID_WEIGHTS | WEIGHTS),
        }
    what = draw(st.sampled_from(["keep", "keep", "keep", "change", "remove"]))
    if what == "change":
        names = [*FIELDS, *REFERENCE_FIELDS.get(topic, [*ORDER_FIELDS, "action", "weights"])]
        fields[draw(st.sampled_from(names))] = draw(EXTREMES | ANY_JSON)
    elif what == "remove":
        fields.pop(draw(st.sampled_from(FIELDS)), None)
    return fields


@st.composite
def _reference_fields(draw: st.DrawFn, topic: str, isins: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a change of a customer, an asset that is known or new, or a price."""
    if topic == SUSPENSIONS_CHANGED:
        kind, subject = draw(st.sampled_from([("asset", isins[0]), ("category", "Bond"), ("model", "none")]))
        suspended = draw(st.booleans())
        return {
            "event_type": "SuspensionChanged",
            "kind": kind,
            "subject": subject,
            "suspended": suspended,
            "reason": "a test",
        }
    if topic == CUSTOMERS_CHANGED:
        level = draw(st.sampled_from(["Conservative", "Predicted_Aggressive", "Not_Available", None]))
        capacity = draw(st.sampled_from(["CAP_LT30K", "Predicted_CAP_GT300K", None]))
        return {
            "event_type": "CustomerChanged",
            "risk_level": level,
            "investment_capacity": capacity,
            "changed_on": draw(DAYS),
        }
    isin = draw(st.sampled_from([*isins[:3], "NEWCOMER"]))  # no interaction of these messages is about the new one
    if topic == ASSETS_CHANGED:
        category = draw(st.sampled_from(["Stock", "Bond", "MTF"]))
        return {"event_type": "AssetChanged", "isin": isin, "asset_category": category, "changed_on": draw(DAYS)}
    price = draw(st.sampled_from([1e-9, 3.76, 1e12]))
    return {"event_type": "ClosePriceRecorded", "isin": isin, "close_price": price, "priced_on": draw(DAYS)}


def _numbered(messages: list[Message]) -> list[Message]:
    return [
        Message(one.topic, one.partition, offset, one.key, one.value, one.logged_at)
        for offset, one in enumerate(messages)
    ]
