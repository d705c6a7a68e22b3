"""What the gateway needs from Kafka and the database; tests/fakes_gateway.py has a fake of each port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from api.portfolio import Portfolio
from api.schemas.assets import AssetItem
from api.schemas.interactions import WatchedAsset
from api.schemas.models import Frontier, ModelList
from api.schemas.suspensions import SuspendedSubject
from shared.events import Event
from shared.ports import EventPublisher
from shared.recommender.types import RiskLevel

# servable: on the models volume; gone: trained, and later removed; unknown: there is no such trained version.
ArtifactState = Literal["servable", "gone", "unknown"]


@dataclass(frozen=True)
class ListRow:
    """The newest list of a customer, or a preview.

    `items`: in the order of the contract; the JSON array that an older version stored; None where they cannot be read.
    `weights`: by component, or the JSON object that an older version stored. `k`: how many assets were asked; None in
    rows of older versions.
    `is_stale`: reference data was loaded after the list was made. `has_newer_interactions`: the customer interacted, or
    an order was recorded, after the list was made.
    """

    request_id: UUID
    model_version: str
    basis: str
    items: str | list[dict[str, Any]] | None
    is_stale: bool = False
    has_newer_interactions: bool = False
    weights: str | Mapping[str, float] | None = None
    k: int | None = None


class ListVersion(NamedTuple):
    """What an answer was made of: the decision of this request, as this transaction of the database wrote it."""

    request_id: UUID
    written_by: int


@dataclass(frozen=True)
class CustomerLists:
    """Whether the bank knows a customer, and the customer's newest list.

    `version`: of the newest list where its answer follows from it alone; None for a list that is stale, has newer
    interactions, or is not in its decision. `is_kept`: it is the version that was asked with, and `newest` is None.
    """

    known: bool
    newest: ListRow | None
    version: ListVersion | None = None
    is_kept: bool = False


@dataclass(frozen=True)
class Question:
    """What a client waits for: the answer of one request of the customer, or any list of the customer."""

    customer_id: str
    request_id: UUID | None = None


@dataclass(frozen=True)
class Answer:
    """The customer's newest list, and what became of the request.

    `is_answered`: the request has its decision, so the newest list is its own or a later one; without a request: there
    is a list. For the request of a preview `newest` is that preview, never a later list. `has_failed`: the request is a
    dead letter, and there is no later list, or it asked for a preview.
    """

    newest: ListRow | None
    is_answered: bool
    has_failed: bool = False


@dataclass(frozen=True)
class RequestRow:
    """What the database knows of a request: its decision, or else its dead letter.

    `customer_id`: None where a dead letter does not name a customer.
    """

    requested_at: datetime | None = None
    answered_at: datetime | None = None
    failed_at: datetime | None = None
    reason: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True)
class CurrentFacts:
    """What decides today whether a customer may see assets; an asset that no longer exists has no risk level."""

    customer_risk_level: RiskLevel | None
    asset_risk_levels: Mapping[str, RiskLevel]
    owned: frozenset[str]
    dismissed: frozenset[str]
    suspended: frozenset[str] = frozenset()  # by themselves, by their category, or by the model of the list


@dataclass(frozen=True)
class AssetFacts:
    """What is known today of an asset of a list, and of what its customer bought.

    bought_of_sector: how many other assets of the sector that the list shows. first_known_on: its first price, or the
    first day on which it was tradable, whichever is earlier.
    """

    bought_of_sector: int = 0
    was_bought: bool = False
    first_known_on: date | None = None


@dataclass(frozen=True)
class ListFacts:
    """What the sentences of a list may say besides its numbers. as_of: the date of its model, None where unknown.

    assets: by ISIN. exploration_share, new_asset_days: rules of the model, 0 where unknown.
    """

    as_of: date | None = None
    exploration_share: float = 0.0
    new_asset_days: int = 0
    assets: Mapping[str, AssetFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredExplanation:
    """What a worker stored of why an asset is in a list, or not (worker/explanations.py), and how the list was made."""

    content: Mapping[str, Any]
    model_version: str
    basis: str


class GatewayPublisher(EventPublisher, Protocol):
    """Publishes events, and reports the state of the connection."""

    async def start(self) -> None:
        """Start; needs no broker."""

    async def close(self, *, timeout_seconds: float) -> None:
        """Wait until the broker has answered for every event, at most `timeout_seconds`."""

    async def is_reachable(self) -> bool:
        """Return whether the broker answers within 2 s."""

    def queue_length(self) -> int:
        """Return how many events wait for their acknowledgement."""


class GatewayReader(Protocol):
    """Reads the database. Every fetch raises DatabaseUnavailable within a bounded time.

    It raises DatabaseBusy, a subclass, when the database answers but no connection became free in that time.
    """

    async def start(self) -> None:
        """Start; needs no database."""

    async def close(self) -> None:
        """Close the connections, within a second."""

    async def is_reachable(self) -> bool:
        """Return whether the database answers within 2 s."""

    async def fetch_lists(self, customer_id: str, *, kept: ListVersion | None = None) -> CustomerLists:
        """Return the customer's newest list, and whether the bank knows the customer, with one statement.

        `kept`: the version that the caller has an answer of. Reads at the same time can share a statement.
        """

    async def fetch_answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Return the answer of each question in order, with one statement."""

    async def fetch_request(self, request_id: UUID) -> RequestRow | None:
        """Return what is known of a request; None without a decision and without a dead letter to replay."""

    async def fetch_current_facts(
        self, customer_id: str, isins: Sequence[str], *, model_version: str = ""
    ) -> CurrentFacts:
        """Return what decides today whether the customer may see these assets in a list of this model.

        One statement.
        """

    async def fetch_list_facts(
        self, customer_id: str, sectors: Mapping[str, str | None], *, model_version: str
    ) -> ListFacts:
        """Return what the sentences of a list of this model may say; `sectors`: of its assets, by ISIN. One statement.

        What the trainer did not write is unknown.
        """

    async def fetch_portfolio(
        self, customer_id: str, isins: Sequence[str], *, request_id: UUID, model_version: str, made_on: date
    ) -> Portfolio:
        """Return what the customer held when this list with these assets was made. Two statements."""

    async def fetch_list_options(self, customer_id: str, request_id: UUID) -> Mapping[str, Any]:
        """Return what the list of this request was asked to be; empty where nothing, or nothing readable, is stored."""

    async def fetch_explanation(self, customer_id: str, request_id: UUID) -> StoredExplanation | None:
        """Return the explanation beside the decision of a preview; None without one."""

    async def fetch_suspensions(self) -> Sequence[SuspendedSubject]:
        """Return what is suspended, the newest suspension first."""

    async def fetch_watchlist(self, customer_id: str) -> Sequence[WatchedAsset]:
        """Return the assets of the catalogue that the customer watches, the one that was added last first."""

    async def fetch_reference_version(self) -> str:
        """Return a text that changes with every load of reference data, and with the date of the active model."""

    async def fetch_assets(self, *, limit: int) -> Sequence[AssetItem]:
        """Return the latest version of the first assets in order of their ISIN."""

    async def fetch_asset(self, isin: str, *, timeout_seconds: float) -> AssetItem | None:
        """Return the latest version of this asset; None where there is none."""

    async def has_isin(self, isin: str, *, timeout_seconds: float) -> bool:
        """Return whether the catalogue has this ISIN."""

    async def fetch_models(self, *, limit: int) -> ModelList:
        """Return the newest model versions first."""

    async def fetch_frontier(self, version: str) -> Frontier | None:
        """Return the measured curve of this version; None where there is none."""

    async def fetch_artifact_state(self, version: str) -> ArtifactState:
        """Return whether this version can be served, as the trainer last reported it."""

    async def fetch_fingerprint(self, event: Event, *, timeout_seconds: float) -> str | None:
        """Return the fingerprint of the stored event with this type and id; None while none is stored."""

    async def fetch_fingerprints(
        self, request_ids: Sequence[UUID], *, timeout_seconds: float
    ) -> Mapping[UUID, str | None]:
        """Return the fingerprints of those of these requests for lists that have a decision, with one statement."""

    async def listen_forever(
        self, *, on_notified: Callable[[Sequence[str]], None], on_connected: Callable[[], None]
    ) -> None:
        """Call `on_notified` with the customers of each notification about new lists, until cancelled.

        It uses one connection of its own. A lost one is made again with a back-off; `on_connected` is called after
        each connection, because notifications that were sent before it are missed.
        """
