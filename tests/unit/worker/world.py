"""A whole worker on fakes: events in, steps, tables out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from shared.events import (
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    SUSPENSIONS_CHANGED,
    TRANSACTIONS_RECORDED,
    AssetChanged,
    ClosePriceRecorded,
    CustomerChanged,
    InteractionRecorded,
    RecommendationRequested,
    SuspensionChanged,
    TransactionRecorded,
)
from shared.ports import Message
from shared.recommender.model import Model
from shared.recommender.pipeline import TopAssets, rank_assets
from shared.recommender.policy.rules import Policy
from shared.recommender.types import Customer, CustomerHistory, Weights
from shared.retry_policy import RetryPolicy
from tests.builders import build_customer, build_model
from tests.fakes import FakeArtifacts, FakeBroker, FakeClock, FakeConsumer, LateExecutor
from tests.fakes_store import FakeStore, display_of
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.histories import Histories
from worker.loop import Dependencies, WorkerLoop
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot
from worker.ports import Decision

TODAY = datetime(2026, 1, 2, 12, tzinfo=UTC)
HISTORY_BYTES = 1 << 20
CUSTOMERS = tuple(f"C{index}" for index in range(8))


class World:
    """Everything that a worker touches; `scorer` may be replaced by one with a bug."""

    def __init__(
        self, *, batch_size: int = 10, broker: FakeBroker | None = None, store: FakeStore | None = None
    ) -> None:
        self.clock = FakeClock()
        self.broker = broker or FakeBroker()
        self.store = store or FakeStore()
        self.artifacts = FakeArtifacts()
        self.model = build_model(assets=30)
        self.orders = 0
        self.executor: LateExecutor | None = None
        self.scorer: Callable[..., TopAssets] = rank_assets
        self.weights: Weights | None = None
        for isin in self.model.id_map.isins:
            self.store.tables.displays[isin] = display_of(isin)
        for customer_id in CUSTOMERS:
            self.store.tables.customers[customer_id] = build_customer(customer_id)
        self.registry = CollectorRegistry()
        self.start(batch_size=batch_size)

    def start(self, *, batch_size: int = 10, policy: Policy | None = None, **consumer: Any) -> None:
        """Start a worker, as after a crash: only broker, database and volume remember anything."""
        self.registry = CollectorRegistry()
        metrics = WorkerMetrics(self.registry)
        self.consumer = FakeConsumer(self.broker, self.store, **consumer)
        self.slot = ModelSlot(self.artifacts, poll_seconds=1.0, metrics=metrics, clock=self.clock)
        dependencies = Dependencies(
            consumer=self.consumer,
            store=self.store,
            catalogue=Catalogue(self.store, policy=policy, clock=self.clock),
            model_slot=self.slot,
            build_scoring=self.build_scoring,
            metrics=metrics,
            histories=Histories(most_bytes=HISTORY_BYTES),
            executor=self.executor,
            policy=RetryPolicy(jitter=lambda: 1.0),
            clock=self.clock,
        )
        self.loop = WorkerLoop(dependencies, batch_size=batch_size)

    def build_scoring(self, model: Model) -> Scoring:
        """Return how the worker uses a model."""
        return Scoring(model, k=10, weights=self.weights, rank=self._score)

    def _score(self, model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        return self.scorer(model, histories, **options)

    def publish_model(self, model: Model | None = None) -> None:
        """Put a model onto the volume and let the next step look."""
        self.artifacts.publish(model or self.model)
        self.clock.advance(1.0)

    def step(self, count: int = 1, *, seconds: float = 0.0) -> None:
        """Make steps, with so much time before each."""
        for _ in range(count):
            self.clock.advance(seconds)
            self.loop.safe_step()

    def load(self, *, owned: Mapping[str, set[str]], customers: Mapping[str, Customer]) -> None:
        """Load files with these purchases and profiles in place of those of the same customers."""
        self.store.tables.owned = {**self.store.tables.owned, **owned}
        self.store.tables.customers = {**self.store.tables.customers, **customers}
        self.store.tables.snapshots = {**self.store.tables.snapshots, "transactions": self.store.tick()}

    def settle(self) -> None:
        """Step until everything that can be done is done, backing off included."""
        self.step(60, seconds=1.0)

    def click(self, customer_id: str = "C1", isin: str | None = None, **fields: Any) -> Message:
        """Acknowledge an interaction."""
        fields = {"type": "click", **fields}
        isin = isin or self.model.id_map.isins[0]
        return self.broker.publish(
            INTERACTIONS_RECORDED, InteractionRecorded(customer_id=customer_id, isin=isin, **fields)
        )

    def order(self, customer_id: str = "C1", isin: str | None = None, **fields: Any) -> Message:
        """Acknowledge an executed order: without fields, the next transaction, a purchase of ten units."""
        self.orders += 1
        known: dict[str, Any] = {
            "type": "Buy",
            "units": 10.0,
            "total_value": 100.0,
            "executed_at": TODAY,
            "transaction_id": f"T{self.orders}",
        }
        event = TransactionRecorded(
            customer_id=customer_id, isin=isin or self.model.id_map.isins[0], **{**known, **fields}
        )
        return self.broker.publish(TRANSACTIONS_RECORDED, event)

    def change_customer(self, customer_id: str = "C1", **fields: Any) -> Message:
        """Acknowledge a profile: without fields, that of a conservative customer since today."""
        known = {"risk_level": "Conservative", "changed_on": TODAY.date(), **fields}
        return self.broker.publish(CUSTOMERS_CHANGED, CustomerChanged(customer_id=customer_id, **known))

    def change_asset(self, isin: str | None = None, **fields: Any) -> Message:
        """Acknowledge an asset: without fields, that the first one is a stock since today."""
        known = {"asset_category": "Stock", "asset_name": "Changed", "changed_on": TODAY.date(), **fields}
        isin = isin or self.model.id_map.isins[0]
        return self.broker.publish(ASSETS_CHANGED, AssetChanged(isin=isin, **known))

    def price(self, isin: str | None = None, **fields: Any) -> Message:
        """Acknowledge a close price of today."""
        known = {"close_price": 9.5, "priced_on": TODAY.date(), **fields}
        isin = isin or self.model.id_map.isins[0]
        return self.broker.publish(CLOSE_PRICES_RECORDED, ClosePriceRecorded(isin=isin, **known))

    def suspend(self, subject: str | None = None, *, kind: Any = "asset", **fields: Any) -> Message:
        """Acknowledge a suspension: without fields, that of the first asset."""
        known = {"suspended": True, "reason": "a test", **fields}
        subject = subject or self.model.id_map.isins[0]
        return self.broker.publish(SUSPENSIONS_CHANGED, SuspensionChanged(kind=kind, subject=subject, **known))

    def ask(self, customer_id: str = "C1", action: Any = "refresh_recs", **fields: Any) -> RecommendationRequested:
        """Acknowledge a request."""
        event = RecommendationRequested(customer_id=customer_id, action=action, **fields)
        self.broker.publish(RECOMMENDATIONS_REQUESTED, event)
        return event

    def decision(self, event: RecommendationRequested) -> Decision:
        """Return the decision of a request; fails when there is none."""
        return self.store.tables.decisions[event.event_id]

    @property
    def reasons(self) -> list[str]:
        """The reasons in dead_letters."""
        return [reason for _, reason in self.store.tables.dead_letters.values()]

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 when it was never touched."""
        return self.registry.get_sample_value(f"recommender_worker_{name}", labels) or 0.0


def seen_history(world: World) -> list[CustomerHistory]:
    """Record every history that is scored."""
    seen: list[CustomerHistory] = []

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        seen.extend(histories)
        return rank_assets(model, histories, **options)

    world.scorer = scorer
    return seen


def bug_for(customer_id: str) -> Callable[..., TopAssets]:
    """Build a scorer that fails whenever this customer is in the batch."""

    def scorer(model: Model, histories: Sequence[CustomerHistory], **options: Any) -> TopAssets:
        if any(history.customer.customer_id == customer_id for history in histories):
            raise ZeroDivisionError("a bug in scoring")
        return rank_assets(model, histories, **options)

    return scorer
