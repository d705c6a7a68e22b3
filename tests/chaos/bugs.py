"""Handling that fails for marked messages like a bug: scoring, storing, and commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from shared.events import InteractionRecorded
from shared.ports import Message
from shared.recommender import pipeline
from shared.recommender.model import Model
from shared.recommender.pipeline import TopAssets
from shared.recommender.types import CustomerHistory
from tests.chaos.failpoints import Put, put
from trainer.service.store import PostgresTrainerStore
from worker.ports import Decision
from worker.store import PostgresWorkerTransaction

FAILS_IN_SCORING = "bug-score-"  # begins the customer_id
FAILS_IN_STORING = "bug-store-"  # begins the customer_id
BUG_REASON = "bug-"  # begins the reason of a RetrainRequested
_BEYOND_AN_INTEGER = 2**40  # no column of the database takes it as a partition: a DataError


def set_bugs(*, put: Put = put) -> None:
    """Scoring raises RuntimeError and storing DataError for marked customers; marked commands raise RuntimeError."""
    rank_assets, queue_training = pipeline.rank_assets, PostgresTrainerStore.queue_training
    insert_decisions: Callable[..., Any] = PostgresWorkerTransaction.insert_decisions
    insert_interactions: Callable[..., Any] = PostgresWorkerTransaction.insert_interactions

    def rank_with_bug(model: Model, histories: Sequence[CustomerHistory], **named: Any) -> TopAssets:
        if any(each.customer.customer_id.startswith(FAILS_IN_SCORING) for each in histories):
            raise RuntimeError("scoring fails for a marked customer")
        return rank_assets(model, histories, **named)

    def insert_decisions_with_bug(transaction: Any, new: Sequence[Decision], **named: Any) -> Any:
        return insert_decisions(transaction, [_misplaced(each) if _is_marked(each) else each for each in new], **named)

    def insert_interactions_with_bug(transaction: Any, new: Sequence[tuple[Message, Any]]) -> Any:
        return insert_interactions(transaction, [(_misplaced(m) if _is_marked(e) else m, e) for m, e in new])

    def queue_with_bug(store: Any, *arguments: Any, reason: str, **named: Any) -> Any:
        if reason.startswith(BUG_REASON):
            raise RuntimeError("a marked command fails")
        return queue_training(store, *arguments, reason=reason, **named)

    put(pipeline, "rank_assets", rank_with_bug)
    put(PostgresWorkerTransaction, "insert_decisions", insert_decisions_with_bug)
    put(PostgresWorkerTransaction, "insert_interactions", insert_interactions_with_bug)
    put(PostgresTrainerStore, "queue_training", queue_with_bug)


def _is_marked(of_customer: Decision | InteractionRecorded) -> bool:
    return of_customer.customer_id.startswith(FAILS_IN_STORING)


def _misplaced(stored: Any) -> Any:
    return replace(stored, partition=_BEYOND_AN_INTEGER)
