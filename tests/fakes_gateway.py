"""Stand-ins for the gateway's broker and database, with switches for each way they can be away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from api.portfolio import ListOrigin, Portfolio, PortfolioAsset
from api.ports import (
    Answer,
    ArtifactState,
    CurrentFacts,
    CustomerLists,
    ListFacts,
    ListRow,
    ListVersion,
    Question,
    RequestRow,
    StoredExplanation,
)
from api.schemas.assets import AssetItem
from api.schemas.interactions import WatchedAsset
from api.schemas.models import Frontier, ModelItem, ModelList
from api.schemas.suspensions import SuspendedSubject
from shared.errors import DatabaseBusy, DatabaseUnavailable, PublishFailed
from shared.events import Event, RecommendationRequested


@dataclass(frozen=True)
class Published:
    """One event as it was handed over."""

    topic: str
    key: str
    event: Event


@dataclass
class FakePublisher:
    """Keeps what is published; `failure` is raised instead, `gate` holds every answer back until it is set."""

    published: list[Published] = field(default_factory=list)
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    reachable: bool = True
    started: bool = False
    closed: bool = False
    waiting: list[Event] = field(default_factory=list)

    async def start(self) -> None:
        self.started = True

    async def close(self, *, timeout_seconds: float) -> None:
        self.closed = True

    async def publish(self, topic: str, *, key: str, event: Event) -> None:
        if self.gate is not None:
            self.waiting.append(event)
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.published.append(Published(topic, key, event))

    async def is_reachable(self) -> bool:
        return self.reachable

    def queue_length(self) -> int:
        return 0


def broker_down() -> PublishFailed:
    """What the real publisher raises when nothing answers."""
    return PublishFailed("the broker did not answer in time", outcome_unknown=True)


@dataclass
class FakeReader:
    """A database in memory; `unavailable` makes every read fail as the real one does."""

    customers: set[str] = field(default_factory=set)
    lists: dict[str, ListRow] = field(default_factory=dict)
    assets: list[AssetItem] = field(default_factory=list)
    watchlists: dict[str, list[WatchedAsset]] = field(default_factory=dict)
    models: list[ModelItem] = field(default_factory=list)
    frontiers: dict[str, Frontier] = field(default_factory=dict)
    effects: dict[tuple[type[Event], UUID], str] = field(default_factory=dict)
    facts: CurrentFacts = field(default_factory=lambda: CurrentFacts(None, {}, frozenset(), frozenset()))
    held: dict[str, PortfolioAsset] = field(default_factory=dict)
    options: dict[UUID, Mapping[str, Any]] = field(default_factory=dict)
    explanation: StoredExplanation | None = None
    list_facts: ListFacts = field(default_factory=ListFacts)
    suspensions: list[SuspendedSubject] = field(default_factory=list)
    reference_version: str = "loaded once"
    unavailable: bool = False
    busy: bool = False
    calls: list[str] = field(default_factory=list)
    answered: set[tuple[str, UUID]] = field(default_factory=set)  # customer and request
    previews: dict[UUID, ListRow] = field(default_factory=dict)
    failed: set[tuple[str, UUID]] = field(default_factory=set)
    requests: dict[UUID, RequestRow] = field(default_factory=dict)
    written: list[ListRow | None] = field(default_factory=lambda: [None])  # by the numbers of their versions
    asked: list[tuple[Question, ...]] = field(default_factory=list)  # by one statement each
    notify: Callable[[Sequence[str]], None] = lambda _: None
    connect: Callable[[], None] = lambda: None

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def is_reachable(self) -> bool:
        return not self.unavailable

    async def fetch_lists(self, customer_id: str, *, kept: ListVersion | None = None) -> CustomerLists:
        self._called("fetch_lists")
        newest = self.lists.get(customer_id)
        if newest is None:
            return CustomerLists(known=customer_id in self.customers, newest=None)
        if newest.is_stale or newest.has_newer_interactions:
            return CustomerLists(known=True, newest=newest)
        version = ListVersion(newest.request_id, self._written_by(newest))
        is_kept = version == kept
        return CustomerLists(True, None if is_kept else newest, version, is_kept)

    def _written_by(self, row: ListRow) -> int:
        """Return a number of this object, which no other one gets."""
        return next((n for n, one in enumerate(self.written) if one is row), None) or self._write(row)

    def _write(self, row: ListRow) -> int:
        self.written.append(row)
        return len(self.written) - 1

    async def fetch_answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        self._called("fetch_answers")
        self.asked.append(tuple(questions))
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        newest, request_id = self.lists.get(question.customer_id), question.request_id
        if request_id in self.previews:
            return Answer(self.previews[request_id], is_answered=True)
        if request_id is None:
            return Answer(newest, is_answered=newest is not None)
        is_answered = (question.customer_id, request_id) in self.answered
        has_failed = (question.customer_id, request_id) in self.failed
        return Answer(newest, is_answered=is_answered, has_failed=has_failed)

    async def fetch_request(self, request_id: UUID) -> RequestRow | None:
        self._called("fetch_request")
        return self.requests.get(request_id)

    async def listen_forever(
        self, *, on_notified: Callable[[Sequence[str]], None], on_connected: Callable[[], None]
    ) -> None:
        self.notify, self.connect = on_notified, on_connected
        on_connected()
        await asyncio.Event().wait()

    async def fetch_suspensions(self) -> Sequence[SuspendedSubject]:
        self._called("fetch_suspensions")
        return self.suspensions

    async def fetch_current_facts(
        self, customer_id: str, isins: Sequence[str], *, model_version: str = ""
    ) -> CurrentFacts:
        self._called("fetch_current_facts")
        return self.facts

    async def fetch_list_facts(
        self, customer_id: str, sectors: Mapping[str, str | None], *, model_version: str
    ) -> ListFacts:
        self._called("fetch_list_facts")
        return self.list_facts

    async def fetch_portfolio(
        self, customer_id: str, isins: Sequence[str], *, request_id: UUID, model_version: str, made_on: date
    ) -> Portfolio:
        self._called("fetch_portfolio")
        origin = ListOrigin(self.list_facts.as_of, made_on, None, self.facts.customer_risk_level)
        return Portfolio(origin, self.held, {isin: PortfolioAsset() for isin in isins})

    async def fetch_list_options(self, customer_id: str, request_id: UUID) -> Mapping[str, Any]:
        self._called("fetch_list_options")
        return self.options.get(request_id, {})

    async def fetch_explanation(self, customer_id: str, request_id: UUID) -> StoredExplanation | None:
        self._called("fetch_explanation")
        return self.explanation

    async def fetch_watchlist(self, customer_id: str) -> Sequence[WatchedAsset]:
        self._called("fetch_watchlist")
        return self.watchlists.get(customer_id, [])

    async def fetch_reference_version(self) -> str:
        self._called("fetch_reference_version")
        return self.reference_version

    async def has_isin(self, isin: str, *, timeout_seconds: float) -> bool:
        self._called("has_isin")
        return any(asset.isin == isin for asset in self.assets)

    async def fetch_assets(self, *, limit: int) -> Sequence[AssetItem]:
        self._called("fetch_assets")
        return sorted(self.assets, key=lambda asset: asset.isin)[:limit]

    async def fetch_asset(self, isin: str, *, timeout_seconds: float) -> AssetItem | None:
        self._called("fetch_asset")
        return next((asset for asset in self.assets if asset.isin == isin), None)

    async def fetch_models(self, *, limit: int) -> ModelList:
        self._called("fetch_models")
        newest_first = sorted(self.models, key=lambda model: model.started_at, reverse=True)
        active = next((model.version for model in self.models if model.active), None)
        return ModelList(active=active, models=newest_first[:limit])

    async def fetch_frontier(self, version: str) -> Frontier | None:
        self._called("fetch_frontier")
        return self.frontiers.get(version)

    async def fetch_artifact_state(self, version: str) -> ArtifactState:
        self._called("fetch_artifact_state")
        for model in self.models:
            if model.version == version and model.status in ("stored", "promoted"):
                return "gone" if model.servable is False else "servable"
        return "unknown"

    async def fetch_fingerprint(self, event: Event, *, timeout_seconds: float) -> str | None:
        self._called("fetch_fingerprint")
        return self.effects.get((type(event), event.event_id))

    async def fetch_fingerprints(
        self, request_ids: Sequence[UUID], *, timeout_seconds: float
    ) -> Mapping[UUID, str | None]:
        self._called("fetch_fingerprints")
        stored = {
            event_id: found for (kind, event_id), found in self.effects.items() if kind is RecommendationRequested
        }
        return {request_id: stored[request_id] for request_id in request_ids if request_id in stored}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.busy:
            raise DatabaseBusy
        if self.unavailable:
            raise DatabaseUnavailable


def build_asset(*values: str | float | None) -> AssetItem:
    """Return an asset from the values of its first fields in their order; the others have their defaults."""
    return AssetItem.model_validate(dict(zip(AssetItem.model_fields, values, strict=False)))
