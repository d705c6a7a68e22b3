"""Handle messages inside one transaction.

Every handler is safe to repeat: an event has its effect once. Topic and `event_id` identify an event: another event
with the same ones is a dead letter; events of different topics may share an `event_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from shared.errors import ContractViolation, UnknownAsset, describe_error
from shared.events import (
    INTERACTIONS_RECORDED,
    TRANSACTIONS_RECORDED,
    InteractionRecorded,
    RecommendationRequested,
    TransactionRecorded,
    decode,
)
from shared.ports import KeptEvent, Message
from worker.answers import Scoring, decide
from worker.catalogue import Catalogue
from worker.message_buffer import Batch
from worker.ports import Decision, WorkerTransaction

CustomerEvent = TypeVar("CustomerEvent", InteractionRecorded, TransactionRecorded, RecommendationRequested)
Write = TypeVar("Write", InteractionRecorded, TransactionRecorded)
Decoded = list[tuple[Message, CustomerEvent]]
DeadLetter = tuple[Message, Exception]


@dataclass(frozen=True)
class Handled:
    """The effects of some messages."""

    decisions: tuple[Decision, ...] = ()
    interactions: int = 0
    transactions: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()


def handle_batch(
    batch: Batch, *, transaction: WorkerTransaction, catalogue: Catalogue, scoring: Scoring | None
) -> Handled:
    """Store interactions and orders, answer requests, and store messages that break the contract as dead letters."""
    interactions = handle_interactions(
        batch.writes_of(INTERACTIONS_RECORDED), transaction=transaction, catalogue=catalogue
    )
    transactions = handle_transactions(
        batch.writes_of(TRANSACTIONS_RECORDED), transaction=transaction, catalogue=catalogue
    )
    requests = Handled()
    if batch.requests and scoring is not None:
        requests = handle_requests(batch.requests, transaction=transaction, catalogue=catalogue, scoring=scoring)
    dead_letters = interactions.dead_letters + transactions.dead_letters + requests.dead_letters
    transaction.insert_dead_letters([(message, describe_error(error)) for message, error in dead_letters])
    return Handled(requests.decisions, interactions.interactions, transactions.transactions, dead_letters)


def handle_interactions(
    messages: Sequence[Message], *, transaction: WorkerTransaction, catalogue: Catalogue
) -> Handled:
    """Store each interaction once."""
    events, dead_letters = _decode_known(messages, InteractionRecorded, catalogue)
    stored, reused = _store_once(events, transaction.insert_interactions, transaction.fetch_kept)
    return Handled(interactions=stored, dead_letters=(*dead_letters, *reused))


def handle_transactions(
    messages: Sequence[Message], *, transaction: WorkerTransaction, catalogue: Catalogue
) -> Handled:
    """Store each executed order once; another event with the content of a stored one has no effect."""
    events, dead_letters = _decode_known(messages, TransactionRecorded, catalogue)
    stored, reused = _store_once(events, transaction.insert_transactions, transaction.fetch_kept_transactions)
    return Handled(transactions=stored, dead_letters=(*dead_letters, *reused))


def handle_requests(
    messages: Sequence[Message], *, transaction: WorkerTransaction, catalogue: Catalogue, scoring: Scoring
) -> Handled:
    """Answer each request once, and store the newest list of each customer."""
    events, dead_letters = _decode(messages, RecommendationRequested)
    first, repeated = _first_of_each(events)
    decided = transaction.fetch_decided([event.event_id for _, event in first])
    undecided = [(message, event) for message, event in first if event.event_id not in decided]
    decisions = decide(undecided, transaction=transaction, catalogue=catalogue, scoring=scoring)
    new = transaction.insert_decisions(decisions, reference_snapshot=catalogue.snapshot)
    repeated += [(message, event) for message, event in first if event.event_id not in new]
    dead_letters += _reused(repeated, transaction.fetch_decided)
    decisions = [decision for decision in decisions if decision.request_id in new]
    return Handled(decisions=tuple(decisions), dead_letters=tuple(dead_letters))


def _decode_known(
    messages: Sequence[Message], event_type: type[Write], catalogue: Catalogue
) -> tuple[Decoded[Write], list[DeadLetter]]:
    """Decode events about assets; an asset that the catalogue does not have makes a dead letter."""
    events, dead_letters = _decode(messages, event_type)
    known = catalogue.displays(event.isin for _, event in events)
    dead_letters += [(message, UnknownAsset(event.isin)) for message, event in events if event.isin not in known]
    return [(message, event) for message, event in events if event.isin in known], dead_letters


def _decode(
    messages: Sequence[Message], event_type: type[CustomerEvent]
) -> tuple[Decoded[CustomerEvent], list[DeadLetter]]:
    events: Decoded[CustomerEvent] = []
    dead_letters: list[DeadLetter] = []
    for message in messages:
        try:
            event = decode(message.topic, message.value, logged_at=message.logged_at)
            if not isinstance(event, event_type) or message.key != event.customer_id.encode():
                raise ContractViolation("the key is not the customer_id")
        except ContractViolation as error:
            dead_letters.append((message, error))
        else:
            events.append((message, event))
    return events, dead_letters


def _store_once(
    events: Decoded[Write],
    insert: Callable[[Decoded[Write]], frozenset[UUID]],
    fetch_kept: Callable[[Sequence[UUID]], Mapping[UUID, KeptEvent]],
) -> tuple[int, list[DeadLetter]]:
    """Store the first message of each event_id; return how many were new, and the repetitions with other content."""
    first, repeated = _first_of_each(events)
    new = insert(first)
    repeated += [(message, event) for message, event in first if event.event_id not in new]
    return len(new), _reused(repeated, fetch_kept)


def _first_of_each(events: Decoded[CustomerEvent]) -> tuple[Decoded[CustomerEvent], Decoded[CustomerEvent]]:
    """Split into the first message of each event_id and the repetitions."""
    seen: set[UUID] = set()
    first: Decoded[CustomerEvent] = []
    repeated: Decoded[CustomerEvent] = []
    for message, event in events:
        (repeated if event.event_id in seen else first).append((message, event))
        seen.add(event.event_id)
    return first, repeated


def _reused(
    events: Decoded[CustomerEvent], fetch: Callable[[Sequence[UUID]], Mapping[UUID, KeptEvent]]
) -> list[DeadLetter]:
    """Return the events that differ from the stored event with their event_id; an order may be stored under another."""
    kept = fetch([event.event_id for _, event in events]) if events else {}
    found = [(message, event, kept[event.event_id]) for message, event in events if event.event_id in kept]
    conflicts = ((message, stored.find_conflict(event)) for message, event, stored in found)
    return [(message, conflict) for message, conflict in conflicts if conflict is not None]
