"""Requests to decisions: answered from a list that is still fresh, the rest scored in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.events import RecommendationRequested, content_digest
from shared.ports import Decision, Message, WorkerTransaction
from shared.recommender.candidates import CatalogueView
from shared.recommender.model import Model
from shared.recommender.types import CustomerHistory, Ranking, Weights
from worker.catalogue import Catalogue
from worker.items import build_items

Request = tuple[Message, RecommendationRequested]
Question = tuple[str, Weights]  # whose list, with which weights


class Recommend(Protocol):
    """shared.recommender.pipeline.recommend."""

    def __call__(
        self,
        model: Model,
        histories: Sequence[CustomerHistory],
        *,
        k: int,
        now: datetime,
        weights: Sequence[Weights | None],
        catalogue: CatalogueView | None = None,
    ) -> list[Ranking]:
        """Return one ranking per history, in order."""


@dataclass(frozen=True)
class Scoring:
    """The model of this batch and how it is used; `weights` None means the model's own."""

    model: Model
    recommend: Recommend
    k: int
    weights: Weights | None
    now: Callable[[], datetime]

    def question(self, event: RecommendationRequested) -> Question:
        """Return whose list is asked for, and the weights that count for it, summing to one."""
        asked = event.weights.to_domain() if event.weights else None
        return event.customer_id, (asked or self.weights or self.model.configuration.weights).normalised()


@dataclass(frozen=True)
class Answer:
    """A list and where it comes from."""

    answered_from: str
    model_version: str
    basis: str
    items: list[dict[str, Any]]


def decide(
    requests: Sequence[Request], *, transaction: WorkerTransaction, catalogue: Catalogue, scoring: Scoring
) -> list[Decision]:
    """Return one decision per request, in order."""
    if not requests:
        return []
    histories = transaction.fetch_histories([event.customer_id for _, event in requests])
    decided_at = scoring.now()
    answers = _answers_from_lists(requests, transaction=transaction, scoring=scoring)
    questions = {index: scoring.question(event) for index, (_, event) in enumerate(requests)}
    unanswered = dict.fromkeys(question for index, question in questions.items() if index not in answers)
    scored = _score(list(unanswered), histories=histories, catalogue=catalogue, scoring=scoring, now=decided_at)
    return [
        _decision(
            request,
            weights=questions[index][1],
            answer=answers.get(index) or scored[questions[index]],
            risk_level=histories[request[1].customer_id].customer.risk_level,
            decided_at=decided_at,
        )
        for index, request in enumerate(requests)
    ]


def _answers_from_lists(
    requests: Sequence[Request], *, transaction: WorkerTransaction, scoring: Scoring
) -> dict[int, Answer]:
    """Answer what may be answered from a stored list, by position in `requests`."""
    asking = [event.customer_id for _, event in requests if event.action == "request_recs"]
    lists = transaction.fetch_fresh_lists(asking)
    answers: dict[int, Answer] = {}
    replaced: set[str] = set()  # by an earlier request of this batch: that list is no longer the stored one
    for index, (_, event) in enumerate(requests):
        customer_id, weights = scoring.question(event)
        stored = lists.get(customer_id)
        same = stored is not None and stored.model_version == scoring.model.version and stored.weights == weights
        if stored and same and event.action == "request_recs" and customer_id not in replaced:
            answers[index] = Answer("stored", stored.model_version, stored.basis, stored.items)
        else:
            replaced.add(customer_id)
    return answers


def _score(
    questions: Sequence[Question],
    *,
    histories: Mapping[str, CustomerHistory],
    catalogue: Catalogue,
    scoring: Scoring,
    now: datetime,
) -> dict[Question, Answer]:
    """Score every question once, all in one batch."""
    if not questions:
        return {}
    rankings = scoring.recommend(
        scoring.model,
        [histories[customer_id] for customer_id, _ in questions],
        k=scoring.k,
        now=now,
        weights=[weights for _, weights in questions],
        catalogue=catalogue.view(scoring.model.id_map),
    )
    displays = catalogue.displays({asset.isin for ranking in rankings for asset in ranking.assets})
    return {
        question: Answer(
            "scored",
            scoring.model.version,
            ranking.basis.value,
            build_items(ranking, displays=displays, decided_at=now),
        )
        for question, ranking in zip(questions, rankings, strict=True)
    }


def _decision(
    request: Request, *, weights: Weights, answer: Answer, risk_level: int | None, decided_at: datetime
) -> Decision:
    message, event = request
    return Decision(
        request_id=event.event_id,
        customer_id=event.customer_id,
        action=event.action,
        answered_from=answer.answered_from,
        model_version=answer.model_version,
        basis=answer.basis,
        weights=weights,
        risk_level=None if risk_level is None else int(risk_level),
        items=answer.items,
        fingerprint=event.fingerprint,
        partition=message.partition,
        event_offset=message.offset,
        requested_at=event.occurred_at,
        decided_at=decided_at,
        content_digest=content_digest(event),
    )
