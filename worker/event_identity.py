"""Decode messages, and tell the repetition of an event from another event under its `event_id`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from shared.errors import ContractViolation
from shared.events import Event, decode
from shared.ports import KeptEvent, Message

AnyEvent = TypeVar("AnyEvent", bound=Event)
Decoded = list[tuple[Message, AnyEvent]]
DeadLetter = tuple[Message, Exception]


def decode_events(
    messages: Sequence[Message], event_type: type[AnyEvent]
) -> tuple[Decoded[AnyEvent], list[DeadLetter]]:
    """Return the events, and the messages that break the contract of their topic or have another key."""
    events: Decoded[AnyEvent] = []
    dead_letters: list[DeadLetter] = []
    for message in messages:
        try:
            event = decode(message.topic, message.value, logged_at=message.logged_at)
            if not isinstance(event, event_type) or message.key != event.key():
                raise ContractViolation(f"the key is not the {event_type.key_field}")
        except ContractViolation as error:
            dead_letters.append((message, error))
        else:
            events.append((message, event))
    return events, dead_letters


def store_once(
    events: Decoded[AnyEvent],
    insert: Callable[[Decoded[AnyEvent]], frozenset[UUID]],
    fetch_kept: Callable[[Sequence[UUID]], Mapping[UUID, KeptEvent]],
) -> tuple[list[AnyEvent], list[DeadLetter]]:
    """Store the first message of each event_id; return those that were new, and the repetitions with other content."""
    first, repeated = first_of_each(events)
    new = insert(first)
    repeated += [(message, event) for message, event in first if event.event_id not in new]
    return [event for _, event in first if event.event_id in new], find_reused(repeated, fetch_kept)


def first_of_each(events: Decoded[AnyEvent]) -> tuple[Decoded[AnyEvent], Decoded[AnyEvent]]:
    """Split into the first message of each event_id and the repetitions."""
    seen: set[UUID] = set()
    first: Decoded[AnyEvent] = []
    repeated: Decoded[AnyEvent] = []
    for message, event in events:
        (repeated if event.event_id in seen else first).append((message, event))
        seen.add(event.event_id)
    return first, repeated


def find_reused(
    events: Decoded[AnyEvent], fetch: Callable[[Sequence[UUID]], Mapping[UUID, KeptEvent]]
) -> list[DeadLetter]:
    """Return the events that differ from the stored event with their event_id; an order may be stored under another."""
    kept = fetch([event.event_id for _, event in events]) if events else {}
    found = [(message, event, kept[event.event_id]) for message, event in events if event.event_id in kept]
    conflicts = ((message, stored.find_conflict(event)) for message, event, stored in found)
    return [(message, conflict) for message, conflict in conflicts if conflict is not None]
