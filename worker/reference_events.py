"""Handle what the bank's systems say of customers, assets and close prices: each event is stored once.

A price may come before its asset, and a profile before anything else of its customer: none of them needs the
catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from shared.events import EVENTS_OF_TOPIC, REFERENCE_TOPICS
from shared.ports import Message
from worker.event_identity import DeadLetter, decode_events, store_once
from worker.ports import WorkerTransaction


def handle_reference_events(
    messages: Sequence[Message], *, transaction: WorkerTransaction
) -> tuple[int, tuple[DeadLetter, ...]]:
    """Store each event once; return how many were new, and the messages that break the contract."""
    stored, dead_letters = 0, list[DeadLetter]()
    for topic in REFERENCE_TOPICS:
        of_topic = [message for message in messages if message.topic == topic]
        if not of_topic:
            continue
        [event_type] = EVENTS_OF_TOPIC[topic]
        events, invalid = decode_events(of_topic, event_type)
        new, reused = store_once(
            events,
            partial(transaction.insert_reference_events, topic),
            partial(transaction.fetch_kept_reference_events, topic),
        )
        stored += len(new)
        dead_letters += [*invalid, *reused]
    return stored, tuple(dead_letters)
