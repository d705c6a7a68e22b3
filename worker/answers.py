"""Answer requests: from a stored list that is fresh, or by scoring all others in one batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial

import numpy as np

from shared.errors import InvalidWeights
from shared.events import RecommendationRequested, content_digest
from shared.ports import Message
from shared.recommender.explanation import explain_asset
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.model import Model
from shared.recommender.pipeline import TopAssets, rank_assets
from shared.recommender.types import CustomerHistory, ListOptions, Weights
from worker.catalogue import Catalogue
from worker.explanations import encode_explanation
from worker.histories import Histories
from worker.items import build_lists, encode_displays
from worker.ports import Decision, ServedList, WorkerTransaction

Request = tuple[Message, RecommendationRequested]


@dataclass(frozen=True)
class Question:
    """What a list depends on, besides what the customer did: two requests with the same question have one list."""

    customer_id: str
    weights: Weights  # summing to one
    k: int
    options: ListOptions
    policy_digest: str | None = None

    def is_answered_by(self, stored: ServedList, model: Model) -> bool:
        """Return whether this list was made for the same question, by this model."""
        made_for = Question(self.customer_id, stored.weights, stored.k or 0, stored.options, stored.policy_digest)
        return made_for == self and stored.model_version == model.version


@dataclass(frozen=True)
class Scoring:
    """The model of a batch and how it is used; `k` is of requests that name none, `weights` None the model's own.

    `histories` None: they are read anew.
    """

    model: Model
    k: int
    weights: Weights | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    rank: Callable[..., TopAssets] = rank_assets
    histories: Histories | None = None
    policy_digest: str | None = None

    def fetch_histories(
        self, customer_ids: Collection[str], *, transaction: WorkerTransaction
    ) -> Mapping[str, CustomerHistory]:
        """Return the histories of these customers, those that were kept included."""
        if self.histories is None:
            return transaction.fetch_histories(list(customer_ids))
        return self.histories.fetch(customer_ids, transaction=transaction)

    def question(self, event: RecommendationRequested) -> Question:
        """Return what the request asks for, with the weights and the k that apply."""
        asked = event.weights.to_domain() if event.weights else self._preset_weights(event.preset)
        weights = self._own_weights if asked is None else asked.normalised()
        return Question(event.customer_id, weights, event.k or self.k, event.options(), self.policy_digest)

    @cached_property
    def _own_weights(self) -> Weights:
        """The weights of requests that name none, summing to one."""
        return (self.weights or self.model.configuration.weights).normalised()

    def _preset_weights(self, preset: str | None) -> Weights | None:
        """Return the weights of a preset; None without one, and for a model whose manifest has no such weights."""
        if preset is None:
            return None
        try:
            return Weights(**self.model.metadata["metrics"]["frontier"]["presets"][preset])
        except (KeyError, TypeError, OverflowError, InvalidWeights):
            return None


def decide(
    requests: Sequence[Request],
    *,
    transaction: WorkerTransaction,
    catalogue: Catalogue,
    scoring: Scoring,
    rescored: Collection[str] = (),
) -> list[Decision]:
    """Return one decision per request, in order; stored lists answer nothing for the `rescored` customers."""
    if not requests:
        return []
    customer_ids = dict.fromkeys(event.customer_id for _, event in requests)
    histories = scoring.fetch_histories(customer_ids.keys(), transaction=transaction)
    decided_at = scoring.now()
    scoring = replace(scoring, policy_digest=catalogue.policy_digest)
    stored = _find_stored_lists(requests, transaction=transaction, scoring=scoring, rescored=rescored)
    questions = [scoring.question(event) for _, event in requests]
    unanswered = dict.fromkeys(question for index, question in enumerate(questions) if index not in stored)
    scored = _score(list(unanswered), histories=histories, catalogue=catalogue, scoring=scoring, now=decided_at)
    explain = partial(_explain, catalogue=catalogue, scoring=scoring, now=decided_at)
    return [
        Decision(
            request_id=event.event_id,
            customer_id=event.customer_id,
            action=event.action,
            answered_from="stored" if index in stored else "scored",
            answer=stored[index] if index in stored else scored[questions[index]],
            risk_level=histories[event.customer_id].customer.risk_level,
            fingerprint=event.fingerprint,
            partition=message.partition,
            event_offset=message.offset,
            requested_at=event.occurred_at,
            decided_at=decided_at,
            content_digest=content_digest(event),
            is_preview=event.is_preview,
            explanation=event.why and explain(event.why, questions[index], histories[event.customer_id]),
        )
        for index, (message, event) in enumerate(requests)
    ]


def _find_stored_lists(
    requests: Sequence[Request], *, transaction: WorkerTransaction, scoring: Scoring, rescored: Collection[str]
) -> dict[int, ServedList]:
    """Return the lists that can answer requests, by position in `requests`; a preview is always scored."""
    asking = {event.customer_id for _, event in requests if event.action == "request_recs" and not event.is_preview}
    lists = transaction.fetch_fresh_lists(sorted(asking.difference(rescored)))
    answers: dict[int, ServedList] = {}
    usable = dict(lists)  # until a request of this batch replaces the customer's list
    for index, (_, event) in enumerate(requests):
        if event.is_preview:
            continue
        stored = usable.pop(event.customer_id, None)
        if stored and event.action == "request_recs" and scoring.question(event).is_answered_by(stored, scoring.model):
            answers[index] = usable[event.customer_id] = stored
    return answers


def _score(
    questions: Sequence[Question],
    *,
    histories: Mapping[str, CustomerHistory],
    catalogue: Catalogue,
    scoring: Scoring,
    now: datetime,
) -> dict[Question, ServedList]:
    """Score every question once, all in one batch."""
    if not questions:
        return {}
    model = scoring.model
    top = scoring.rank(
        model,
        [histories[question.customer_id] for question in questions],
        k=[question.k for question in questions],
        now=now,
        weights=[question.weights for question in questions],
        options=[question.options for question in questions],
        catalogue=catalogue.view(model.id_map, as_of=model.as_of),
    )
    contents = _contents_of(top, model=model, catalogue=catalogue)
    lists = build_lists(top, contents=contents, silent=model.silent_components, decided_at=now)
    return {
        question: ServedList(
            *(model.version, basis.value, question.weights, items, question.k, question.options),
            policy_digest=question.policy_digest,
        )
        for question, basis, items in zip(questions, top.bases, lists, strict=True)
    }


def _explain(
    isin: str,
    question: Question,
    history: CustomerHistory,
    *,
    catalogue: Catalogue,
    scoring: Scoring,
    now: datetime,
) -> str:
    """Return why the list of this question has the asset, or not, as JSON."""
    found = explain_asset(
        scoring.model,
        history,
        isin,
        k=question.k,
        now=now,
        weights=question.weights,
        options=question.options,
        catalogue=catalogue.view(scoring.model.id_map, as_of=scoring.model.as_of),
    )
    return encode_explanation(found)


def _contents_of(top: TopAssets, *, model: Model, catalogue: Catalogue) -> list[str | None]:
    """Return what is shown of each of the model's assets, by position; None for those that no list has."""
    isins = model.id_map.isins
    listed = {isins[index]: index for index in np.unique(top.asset_indices).tolist() if index != NO_ASSET}
    contents: list[str | None] = [None] * len(isins)
    for isin, content in encode_displays(catalogue.displays(listed, as_of=model.as_of)).items():
        contents[listed[isin]] = content
    return contents
