"""Handle messages inside one transaction.

Every handler is safe to repeat: an event has its effect once. Topic and `event_id` identify an event: another event
with the same ones is a dead letter; events of different topics may share an `event_id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from shared.errors import UnknownAsset, describe_error
from shared.events import (
    INTERACTIONS_RECORDED,
    TRANSACTIONS_RECORDED,
    InteractionRecorded,
    RecommendationRequested,
    TransactionRecorded,
)
from shared.ports import Message
from worker.answers import Request, Scoring, decide
from worker.catalogue import Catalogue
from worker.click_through import ListOutcome, find_list_outcomes
from worker.event_identity import DeadLetter, Decoded, decode_events, find_reused, first_of_each, store_once
from worker.message_buffer import Batch
from worker.ports import Decision, WorkerTransaction
from worker.reference_events import handle_reference_events

Write = TypeVar("Write", InteractionRecorded, TransactionRecorded)


@dataclass(frozen=True)
class Handled:
    """The effects of some messages."""

    decisions: tuple[Decision, ...] = ()
    interactions: int = 0
    transactions: int = 0
    reference_events: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()
    list_outcomes: tuple[ListOutcome, ...] = ()


@dataclass(frozen=True)
class Answers:
    """The decisions of some requests, not stored yet.

    first: one request of each id. repeated: further ones of an id, in this batch or the one before. snapshot: the
    reference data.
    """

    first: tuple[Request, ...]
    decisions: tuple[Decision, ...]
    repeated: tuple[Request, ...]
    dead_letters: tuple[DeadLetter, ...]
    snapshot: str

    @property
    def ids(self) -> frozenset[UUID]:
        """The ids of the requests."""
        return frozenset(event.event_id for _, event in self.first)

    @property
    def customer_ids(self) -> frozenset[str]:
        """The customers of the requests."""
        return frozenset(event.customer_id for _, event in self.first)


def handle_answers(answers: Answers, *, transaction: WorkerTransaction) -> Handled:
    """Store the answers of a batch that has nothing but requests, as `handle_batch` does."""
    handled = store_answers(answers, transaction=transaction)
    transaction.insert_dead_letters([(message, describe_error(error)) for message, error in handled.dead_letters])
    return handled


def handle_batch(
    batch: Batch, *, transaction: WorkerTransaction, catalogue: Catalogue, scoring: Scoring | None
) -> Handled:
    """Store what the batch writes, answer its requests, and store messages that break the contract as dead letters."""
    stored, invalid = handle_reference_events(batch.writes, transaction=transaction)
    interactions = handle_interactions(
        batch.writes_of(INTERACTIONS_RECORDED), transaction=transaction, catalogue=catalogue
    )
    transactions = handle_transactions(
        batch.writes_of(TRANSACTIONS_RECORDED), transaction=transaction, catalogue=catalogue
    )
    requests = Handled()
    if batch.requests and scoring is not None:
        requests = handle_requests(batch.requests, transaction=transaction, catalogue=catalogue, scoring=scoring)
    dead_letters = invalid + interactions.dead_letters + transactions.dead_letters + requests.dead_letters
    transaction.insert_dead_letters([(message, describe_error(error)) for message, error in dead_letters])
    return Handled(
        requests.decisions,
        interactions.interactions,
        transactions.transactions,
        stored,
        dead_letters,
        interactions.list_outcomes,
    )


def handle_interactions(
    messages: Sequence[Message], *, transaction: WorkerTransaction, catalogue: Catalogue
) -> Handled:
    """Store each interaction once; only those that were stored now are outcomes of a list."""
    events, dead_letters = _decode_known(messages, InteractionRecorded, catalogue, transaction)
    stored, reused = store_once(events, transaction.insert_interactions, transaction.fetch_kept)
    outcomes = find_list_outcomes(stored, transaction=transaction)
    return Handled(interactions=len(stored), dead_letters=(*dead_letters, *reused), list_outcomes=outcomes)


def handle_transactions(
    messages: Sequence[Message], *, transaction: WorkerTransaction, catalogue: Catalogue
) -> Handled:
    """Store each executed order once; another event with the content of a stored one has no effect."""
    events, dead_letters = _decode_known(messages, TransactionRecorded, catalogue, transaction)
    stored, reused = store_once(events, transaction.insert_transactions, transaction.fetch_kept_transactions)
    return Handled(transactions=len(stored), dead_letters=(*dead_letters, *reused))


def handle_requests(
    messages: Sequence[Message], *, transaction: WorkerTransaction, catalogue: Catalogue, scoring: Scoring
) -> Handled:
    """Answer each request once, and store the newest list of each customer."""
    answers = answer_requests(messages, transaction=transaction, catalogue=catalogue, scoring=scoring)
    return store_answers(answers, transaction=transaction)


def answer_requests(
    messages: Sequence[Message],
    *,
    transaction: WorkerTransaction,
    catalogue: Catalogue,
    scoring: Scoring,
    before: Answers | None = None,
) -> Answers:
    """Answer the requests, reading only; `before` are answers that may not be stored yet.

    A request that was decided earlier is answered like any other: `store_answers` keeps its first decision.
    """
    events, dead_letters = decode_events(messages, RecommendationRequested)
    first, repeated = first_of_each(events)
    decided = before.ids if before else frozenset()
    decisions = decide(
        [(message, event) for message, event in first if event.event_id not in decided],
        transaction=transaction,
        catalogue=catalogue,
        scoring=scoring,
        rescored=before.customer_ids if before else (),
    )
    answered = {decision.request_id for decision in decisions}
    repeated += [(message, event) for message, event in first if event.event_id not in answered]
    return Answers(tuple(first), tuple(decisions), tuple(repeated), tuple(dead_letters), catalogue.snapshot)


def store_answers(answers: Answers, *, transaction: WorkerTransaction) -> Handled:
    """Store the decisions and the newest list of each customer."""
    new = transaction.insert_decisions(answers.decisions, reference_snapshot=answers.snapshot)
    kept = {decision.request_id for decision in answers.decisions} - new
    repeated = [*answers.repeated, *(one for one in answers.first if one[1].event_id in kept)]
    dead_letters = (*answers.dead_letters, *find_reused(repeated, transaction.fetch_decided))
    return Handled(tuple(one for one in answers.decisions if one.request_id in new), dead_letters=dead_letters)


def _decode_known(
    messages: Sequence[Message], event_type: type[Write], catalogue: Catalogue, transaction: WorkerTransaction
) -> tuple[Decoded[Write], list[DeadLetter]]:
    """Decode events about assets; an asset that neither catalogue nor this batch has makes a dead letter."""
    events, dead_letters = decode_events(messages, event_type)
    wanted = {event.isin for _, event in events}
    known: set[str] = set(catalogue.displays(wanted))
    if missing := wanted - known:
        known |= transaction.find_recorded_isins(missing)
    dead_letters += [(message, UnknownAsset(event.isin)) for message, event in events if event.isin not in known]
    return [(message, event) for message, event in events if event.isin in known], dead_letters
