"""Messages that nearly keep the contract of their topic, as Hypothesis strategies: any field may be anything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from shared.events import CUSTOMER_TOPICS, INTERACTIONS_RECORDED, TRANSACTIONS_RECORDED
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
    ]
)
WEIGHTS = st.dictionaries(
    st.sampled_from(["collaborative", "content", "profitability", "other"]),
    st.sampled_from([0, -0.0, 1, 0.5, 5e-324, 1e6, 1e6 + 1, -1, "1", None, float("nan")]) | st.floats(0, 1e6),
)
VALID_WEIGHTS = st.fixed_dictionaries({"content": st.floats(1e-300, 1e6)})
ORDER_FIELDS = ["units", "total_value", "currency", "executed_at", "transaction_id"]
FIELDS = ["event_id", "occurred_at", "schema_version", "event_type", "fingerprint", "customer_id", "isin", "type"]


def hostile_messages(isins: tuple[str, ...]) -> st.SearchStrategy[list[Message]]:
    """Return batches of such messages about these assets, numbered in the order of a log."""
    return st.lists(_messages(isins), max_size=8).map(_numbered)


@st.composite
def _messages(draw: st.DrawFn, isins: tuple[str, ...]) -> Message:
    topic = draw(st.sampled_from(CUSTOMER_TOPICS))
    fields = draw(_fields(topic, isins))
    key: bytes | None = str(fields.get("customer_id")).encode(errors="replace")
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
    else:
        action = draw(st.sampled_from(["request_recs", "refresh_recs"]))
        fields |= {
            "event_type": "RecommendationRequested",
            "action": action,
            "weights": draw(st.none() | VALID_WEIGHTS | WEIGHTS),
        }
    what = draw(st.sampled_from(["keep", "keep", "keep", "change", "remove"]))
    if what == "change":
        fields[draw(st.sampled_from([*FIELDS, *ORDER_FIELDS, "action", "weights"]))] = draw(EXTREMES | ANY_JSON)
    elif what == "remove":
        fields.pop(draw(st.sampled_from(FIELDS)), None)
    return fields


def _numbered(messages: list[Message]) -> list[Message]:
    return [
        Message(one.topic, one.partition, offset, one.key, one.value, one.logged_at)
        for offset, one in enumerate(messages)
    ]
