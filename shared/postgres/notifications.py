"""Tells listening gateways which customers have something new to read: PostgreSQL's NOTIFY, with ids as payload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

CHANNEL = "recommendations_answered"
# PostgreSQL takes less than 8,000 bytes.
MOST_BYTES = 7_900
# In place of an id: what lists may show has changed for every customer. No customer has this id.
EVERYBODY = "*"
_SEPARATOR = "\n"  # no customer id contains it


def build_payloads(customer_ids: Iterable[str]) -> Iterator[str]:
    """Yield payloads of at most MOST_BYTES that together name each customer once."""
    payload: list[str] = []
    size = 0
    for customer_id in dict.fromkeys(customer_ids):
        if size + len(customer_id) + 1 > MOST_BYTES and payload:
            yield _SEPARATOR.join(payload)
            payload, size = [], 0
        payload.append(customer_id)
        size += len(customer_id) + 1
    if payload:
        yield _SEPARATOR.join(payload)


def parse_payload(payload: str) -> list[str]:
    """Return the customer ids of a payload."""
    return payload.split(_SEPARATOR)
