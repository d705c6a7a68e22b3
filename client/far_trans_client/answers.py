"""What the API answers, as frozen dataclasses. Names and fields are those of the OpenAPI document's schemas.

A test compares the two. A constant `status` is left out, and fields that this version does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from far_trans_client.errors import Problem

Action = Literal["request_recs", "refresh_recs"]
Preset = Literal["popular", "balanced", "return", "low_volatility"]
InteractionType = Literal["click", "view", "watchlist", "dismiss", "impression", "unwatch", "undismiss"]
TransactionType = Literal["Buy", "Sell"]

# In the metadata of a field: the header of the answer that it comes from.
HEADER: Final = "header"


@dataclass(frozen=True)
class RequestedWeights:
    """Weights of the components for one request; only their proportions count."""

    collaborative: float = 0.0
    content: float = 0.0
    profitability: float = 0.0


@dataclass(frozen=True)
class RequestedLimits:
    """How many assets of one sector and of one category a list has at most; at least one of the two."""

    per_sector: int | None = None
    per_category: int | None = None


@dataclass(frozen=True)
class RecommendationsBody:
    """One request of a batch; the fields are the arguments of `request_recommendations`."""

    customer_id: str
    action: Action
    weights: RequestedWeights | None = None
    preset: Preset | None = None
    k: int | None = None
    categories: Sequence[str] | None = None
    sectors: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    limits: RequestedLimits | None = None
    save: bool | None = None


@dataclass(frozen=True)
class ComponentWeights:
    """The weights of the three components; they sum to one."""

    collaborative: float
    content: float
    profitability: float


@dataclass(frozen=True)
class Components:
    """What each component adds to the score; None where the model cannot say anything."""

    collaborative: float | None
    content: float | None
    profitability: float | None


@dataclass(frozen=True)
class RecommendationItem:
    """One recommended asset."""

    isin: str
    assetname: str
    assetcategory: str
    sector: str | None
    industry: str | None
    current_price: float | None
    profitability: float | None
    recommendation_date: str
    score: float
    rank: int
    components: Components
    price_date: date | None = None
    currency: str | None = None
    trailing_return_12m: float | None = None


@dataclass(frozen=True)
class ListedItem(RecommendationItem):
    """One recommended asset; `sentence` says why it is there, where the request asks for it."""

    sentence: str | None = None


@dataclass(frozen=True)
class RecommendationList:
    """The newest list of a customer, best first, with what the headers say of it; all None without a list."""

    recommendations: tuple[ListedItem, ...]
    request_id: UUID | None = field(default=None, metadata={HEADER: "X-Request-ID"})
    model_version: str | None = field(default=None, metadata={HEADER: "X-Model-Version"})
    basis: str | None = field(default=None, metadata={HEADER: "X-Recommendation-Basis"})
    weights: ComponentWeights | None = field(default=None, metadata={HEADER: "X-Recommendation-Weights"})
    k: int | None = field(default=None, metadata={HEADER: "X-Recommendation-K"})
    is_stale: bool = field(default=False, metadata={HEADER: "X-Recommendation-Stale"})
    components_unknown: tuple[str, ...] = field(default=(), metadata={HEADER: "X-Components-Unknown"})


@dataclass(frozen=True)
class PortfolioFigures:
    """Figures of a portfolio whose assets have equal weights; None where nothing can be said."""

    assets: int
    priced: int
    volatility: float | None
    sector_hhi: float | None
    share_above_profile: float | None


@dataclass(frozen=True)
class PortfolioEffect:
    """A portfolio without and with the assets of the newest list; None where there is no list."""

    request_id: UUID | None
    model_version: str | None
    as_of: date | None
    before: PortfolioFigures | None
    after: PortfolioFigures | None


@dataclass(frozen=True)
class AssetRefusal:
    """A rule that keeps an asset out of a list, what it looked at, and the bound that this is beyond."""

    rule: str
    inputs: Mapping[str, Any]
    threshold: Any


@dataclass(frozen=True)
class SignalFact:
    """How far a signal moved the score of an asset from that of the mean candidate."""

    component: str
    signal: str
    effect: float


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate: its rank among all of them, and its place in the list."""

    isin: str
    rank: int
    place: int | None
    score: float
    components: Components


@dataclass(frozen=True)
class AssetExplanation:
    """Why the customer's list has an asset, or not."""

    isin: str
    state: Literal["listed", "refused", "below"]
    sentence: str
    candidates: int
    candidate: RankedCandidate | None
    facts: tuple[SignalFact, ...]
    refusals: tuple[AssetRefusal, ...]
    last: RankedCandidate | None
    ahead: Components | None
    model_version: str
    basis: str
    current_rank: int | None
    current_request_id: UUID | None


@dataclass(frozen=True)
class ListEvent:
    """A new list of a followed customer."""

    recommendations: tuple[RecommendationItem, ...]
    request_id: UUID
    model_version: str
    basis: str
    stale: bool
    weights: Mapping[str, float] | None
    k: int | None


@dataclass(frozen=True)
class QueuedList:
    """The awaited list is not there yet; ask again after `retry_after_seconds`."""

    request_id: UUID | None
    retry_after_seconds: float | None = field(default=None, metadata={HEADER: "Retry-After"})


@dataclass(frozen=True)
class RequestProgress:
    """What became of a request for a list."""

    request_id: UUID
    state: Literal["queued", "answered", "failed"]
    requested_at: datetime | None
    answered_at: datetime | None = None
    failed_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class AssetItem:
    """The latest version of an asset, with its latest price."""

    isin: str
    assetname: str
    assetcategory: str
    assetsubcategory: str | None
    sector: str | None
    industry: str | None
    current_price: float | None
    profitability: float | None
    price_date: date | None = None
    currency: str | None = None
    trailing_return_12m: float | None = None


@dataclass(frozen=True)
class WatchedAsset:
    """An asset of a watchlist: its latest version, and when it was added last."""

    isin: str
    assetname: str
    assetcategory: str
    sector: str | None
    industry: str | None
    current_price: float | None
    added_at: datetime


@dataclass(frozen=True)
class AcceptedRequest:
    """The broker has the event of this request."""

    customer_id: str
    status: Literal["ok"]
    request_id: UUID


@dataclass(frozen=True, kw_only=True)
class RefusedRequest:
    """This request has no event, or it is not known whether it has one (`problem.outcome`)."""

    customer_id: str | None = None
    status: Literal["error"]
    request_id: UUID | None = None
    problem: Problem


@dataclass(frozen=True)
class AssetList:
    """One page of assets in order of their ISIN; `total` counts all assets that match."""

    total: int
    assets: tuple[AssetItem, ...]


@dataclass(frozen=True)
class ModelItem:
    """One model version."""

    version: str
    status: str
    active: bool
    sequence: int | None
    algorithm: str | None
    metrics: Mapping[str, Any] | None
    champion_metrics: Mapping[str, Any] | None
    reason: str | None
    progress: str | None
    watermark: Mapping[str, Any] | None
    started_at: datetime
    finished_at: datetime | None
    activated_at: datetime | None
    servable: bool | None
    pinned: bool


@dataclass(frozen=True)
class ModelList:
    """Model versions, newest first, and the one that is served."""

    active: str | None
    models: tuple[ModelItem, ...]


@dataclass(frozen=True)
class SuspendedSubject:
    """What is suspended, since when, and why: an ISIN, the name of a category, or the version of a model."""

    kind: Literal["asset", "category", "model"]
    subject: str
    reason: str
    suspended_at: datetime


@dataclass(frozen=True)
class FrontierPoint:
    """The lists of a model at one setting of the weights, measured on the window of the model's figures."""

    weights: ComponentWeights
    ndcg_at_10: float
    ndcg_interval_95: tuple[float, float] | None
    roi_above_market: float | None
    roi_interval_95: tuple[float, float] | None
    volatility: float | None
    turnover: float


@dataclass(frozen=True)
class Frontier:
    """What more weight of profitability costs and brings, and the weights of each preset."""

    version: str
    points: tuple[FrontierPoint, ...]
    presets: Mapping[str, ComponentWeights]


@dataclass(frozen=True)
class Readiness:
    """Whether the gateway accepts events."""

    status: Literal["ok", "unavailable"]
    broker: bool
    database: bool
    shutting_down: bool


@dataclass(frozen=True)
class Alive:
    """The process answers."""
