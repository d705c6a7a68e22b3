"""What the gateway needs from the outside world: a way to Kafka with a pulse, and reads of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from shared.ports import EventPublisher
from shared.recommender.types import RiskLevel

EffectKind = Literal["decision", "interaction"]
# servable: on the models volume; gone: trained, and removed from the volume since; unknown: never trained to its end.
ArtifactState = Literal["servable", "gone", "unknown"]


@dataclass(frozen=True)
class ListRow:
    """A customer's newest list; `items` is the JSON array that the worker stored.

    `is_stale`: reference data was loaded since. `has_newer_interactions`: the customer did something since.
    """

    request_id: UUID
    model_version: str
    basis: str
    items: str
    is_stale: bool = False
    has_newer_interactions: bool = False


@dataclass(frozen=True)
class CurrentFacts:
    """What decides today whether assets may be shown to one customer; an asset that is gone has no risk level."""

    customer_risk_level: RiskLevel | None
    asset_risk_levels: Mapping[str, RiskLevel]
    owned: frozenset[str]
    dismissed: frozenset[str]


@dataclass(frozen=True)
class CustomerLists:
    """What the database knows of one customer id."""

    known: bool
    newest: ListRow | None


@dataclass(frozen=True)
class AssetRow:
    """The latest version of one asset, with its latest price."""

    isin: str
    assetname: str
    assetcategory: str
    assetsubcategory: str | None
    sector: str | None
    industry: str | None
    current_price: float | None
    profitability: float | None


@dataclass(frozen=True)
class ModelRow:
    """One trained, or tried, model version."""

    version: str
    status: str
    active: bool
    sequence: int | None
    algorithm: str | None
    metrics: dict[str, Any] | None
    champion_metrics: dict[str, Any] | None
    reason: str | None
    progress: str | None
    watermark: dict[str, Any] | None
    started_at: datetime
    finished_at: datetime | None
    activated_at: datetime | None
    servable: bool | None = None  # None: the trainer has not said yet


@dataclass(frozen=True)
class ModelPage:
    """The newest model versions, and the one that the pointer file names."""

    active: str | None
    models: Sequence[ModelRow]


class GatewayPublisher(EventPublisher, Protocol):
    """The gateway's way to Kafka, with what its health and metrics show."""

    async def start(self) -> None:
        """Get ready to publish; does not need a broker."""

    async def close(self, *, timeout_seconds: float) -> None:
        """Wait, so long at most, until the broker has answered for every event."""

    async def is_reachable(self) -> bool:
        """Ask a broker for the customer topic now, for 2 s at most; never raises for an answer that does not come."""

    def queue_length(self) -> int:
        """How many events wait for their acknowledgement."""


class GatewayReader(Protocol):
    """The gateway's database, read only. Every fetch raises DatabaseUnavailable within a bounded time.

    It raises DatabaseBusy, which is one, when the database answers but all connections were in use all that time.
    """

    async def start(self) -> None:
        """Get ready to read; does not need a database."""

    async def close(self) -> None:
        """Give the connections back, within a second."""

    async def is_reachable(self) -> bool:
        """Ask the database now, for 2 s at most; never raises for an answer that does not come."""

    async def fetch_lists(self, customer_id: str) -> CustomerLists:
        """Return the newest list of a customer, and whether the bank knows the customer: one statement."""

    async def fetch_current_facts(self, customer_id: str, isins: Sequence[str]) -> CurrentFacts:
        """Return what decides today whether these assets may be shown to this customer: one statement."""

    async def fetch_reference_version(self) -> str:
        """Return a text that changes with every load of reference data."""

    async def fetch_assets(self, *, limit: int) -> Sequence[AssetRow]:
        """Return the latest version of the first assets in order of their ISIN."""

    async def has_isin(self, isin: str, *, timeout_seconds: float) -> bool:
        """Whether the catalogue has this ISIN now."""

    async def fetch_models(self, *, limit: int) -> ModelPage:
        """Return the newest model versions first."""

    async def fetch_artifact_state(self, version: str) -> ArtifactState:
        """Return whether this version can be served, as the trainer said last."""

    async def fetch_fingerprint(self, kind: EffectKind, event_id: UUID, *, timeout_seconds: float) -> str | None:
        """Return the fingerprint that came with the event of this id, None if there is no effect of it (yet)."""
