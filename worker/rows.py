"""Events, decisions and customers as rows of the worker's tables, and back."""

from __future__ import annotations

from typing import Any

from shared.events import InteractionRecorded
from shared.far_trans import schema as far_trans
from shared.ports import Decision, Message
from shared.recommender.types import Customer


def customer(customer_id: str, row: Any) -> Customer:
    """Return the customer of a row of CUSTOMERS; None is one that the bank does not know."""
    if row is None:
        return Customer(customer_id)
    capacity = far_trans.parse_investment_capacity(row.investment_capacity)
    return Customer(customer_id, far_trans.parse_risk_level(row.risk_level), capacity)


def interaction_row(message: Message, event: InteractionRecorded) -> dict[str, Any]:
    """Return a row of user_interactions."""
    return {
        "event_id": event.event_id,
        "customer_id": event.customer_id,
        "isin": event.isin,
        "interaction_type": event.type.value,
        "occurred_at": event.occurred_at,
        "fingerprint": event.fingerprint,
        "partition": message.partition,
        "event_offset": message.offset,
    }


def letter_row(message: Message, reason: str) -> dict[str, Any]:
    """Return a row of dead_letters but for its owner."""
    return {
        "topic": message.topic,
        "partition": message.partition,
        "event_offset": message.offset,
        "key": message.key,
        "value": message.value,
        "reason": reason,
    }


def decision_row(decision: Decision) -> dict[str, Any]:
    """Return a row of decisions."""
    return {**vars(decision), "weights": vars(decision.weights)}


def list_row(decision: Decision) -> dict[str, Any]:
    """Return a row of recommendations but for what the list knew."""
    names = ("customer_id", "request_id", "model_version", "basis", "items")
    return {**{name: getattr(decision, name) for name in names}, "weights": vars(decision.weights)}
