"""Answer requests: from a stored list that is fresh, or by scoring all others in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.errors import InvalidWeights
from shared.events import RecommendationRequested, content_digest
from shared.ports import Message
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend
from shared.recommender.types import Contributions, CustomerHistory, Ranking, Weights
from shared.served_list import Components, RecommendationItem, rounded, rounded_or_none
from worker.catalogue import Catalogue
from worker.ports import AssetDisplay, Decision, ServedList, WorkerTransaction

Request = tuple[Message, RecommendationRequested]
Question = tuple[str, Weights]  # a customer_id and the weights of the list


@dataclass(frozen=True)
class Scoring:
    """The model of a batch and how it is used; `weights` None means the model's own."""

    model: Model
    k: int
    weights: Weights | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    recommend: Callable[..., list[Ranking]] = recommend

    def question(self, event: RecommendationRequested) -> Question:
        """Return the customer and the weights that apply, summing to one."""
        asked = event.weights.to_domain() if event.weights else self._preset_weights(event.preset)
        return event.customer_id, (asked or self.weights or self.model.configuration.weights).normalised()

    def _preset_weights(self, preset: str | None) -> Weights | None:
        """Return the weights of a preset; None without one, and for a model whose manifest has no such weights."""
        if preset is None:
            return None
        try:
            return Weights(**self.model.metadata["metrics"]["frontier"]["presets"][preset])
        except (KeyError, TypeError, OverflowError, InvalidWeights):
            return None


def decide(
    requests: Sequence[Request], *, transaction: WorkerTransaction, catalogue: Catalogue, scoring: Scoring
) -> list[Decision]:
    """Return one decision per request, in order."""
    if not requests:
        return []
    histories = transaction.fetch_histories([event.customer_id for _, event in requests])
    decided_at = scoring.now()
    stored = _find_stored_lists(requests, transaction=transaction, scoring=scoring)
    questions = [scoring.question(event) for _, event in requests]
    unanswered = dict.fromkeys(question for index, question in enumerate(questions) if index not in stored)
    scored = _score(list(unanswered), histories=histories, catalogue=catalogue, scoring=scoring, now=decided_at)
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
        )
        for index, (message, event) in enumerate(requests)
    ]


def _find_stored_lists(
    requests: Sequence[Request], *, transaction: WorkerTransaction, scoring: Scoring
) -> dict[int, ServedList]:
    """Return the lists that can answer requests, by position in `requests`."""
    lists = transaction.fetch_fresh_lists(
        [event.customer_id for _, event in requests if event.action == "request_recs"]
    )
    answers: dict[int, ServedList] = {}
    usable = dict(lists)  # until a request of this batch replaces the customer's list
    for index, (_, event) in enumerate(requests):
        customer_id, weights = scoring.question(event)
        stored = usable.pop(customer_id, None)
        made_with = stored and (stored.model_version, stored.weights)
        if stored and event.action == "request_recs" and made_with == (scoring.model.version, weights):
            answers[index] = usable[customer_id] = stored
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
        question: ServedList(
            scoring.model.version,
            ranking.basis.value,
            question[1],
            build_items(ranking, displays=displays, decided_at=now),
        )
        for question, ranking in zip(questions, rankings, strict=True)
    }


def build_items(
    ranking: Ranking, *, displays: Mapping[str, AssetDisplay], decided_at: datetime
) -> tuple[RecommendationItem, ...]:
    """Return one item per ranked asset, best first; raises ValueError on a score that is not finite.

    An asset that left the catalogue is skipped, and the ranks stay without gaps.
    """
    date = decided_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    shown = [(displays[asset.isin], asset.contributions) for asset in ranking.assets if asset.isin in displays]
    return tuple(
        _item(display, contributions, rank=rank, date=date)
        for rank, (display, contributions) in enumerate(shown, start=1)
    )


def _item(display: AssetDisplay, contributions: Contributions, *, rank: int, date: str) -> RecommendationItem:
    """Build an item whose score is the sum of the rounded components."""
    components = {name: None if value is None else rounded(value) for name, value in vars(contributions).items()}
    rounded_prices = {
        "current_price": rounded_or_none(display.current_price),
        "profitability": rounded_or_none(display.profitability),
    }
    return RecommendationItem(
        **{**vars(display), **rounded_prices},
        recommendation_date=date,
        score=rounded(sum(value for value in components.values() if value is not None)),
        rank=rank,
        components=Components(**components),
    )
