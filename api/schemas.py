"""Request bodies, responses and problems. The order of the fields is part of the contract."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from shared.events import WEIGHTS_OR_PRESET, Preset, RequestedWeights
from shared.identifiers import PLAIN_TEXT_PATTERN, CustomerId, Isin
from shared.recommender.types import InteractionType
from shared.served_list import RecommendationItem, rounded, rounded_or_none

CUSTOMER_EXAMPLE = "85583A768E48870A546D"


def _parsed(column: Any) -> Any:
    """Return the value of a JSONB column, which asyncpg returns as text."""
    return json.loads(column) if isinstance(column, str) else column


RoundedWeight = Annotated[float, BeforeValidator(rounded)]
RoundedNumber = Annotated[float | None, BeforeValidator(rounded_or_none)]
JsonObject = Annotated[dict[str, Any] | None, BeforeValidator(_parsed)]
Limit = Annotated[int, Field(ge=1, le=1000)]
Outcome = Literal["unknown", "not_accepted"]
FilterText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class RequestBody(BaseModel):
    """A body that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RecommendationsBody(RequestBody):
    """Request a list for a customer."""

    customer_id: CustomerId = Field(description="the bank's id of the customer", examples=[CUSTOMER_EXAMPLE])
    action: Literal["request_recs", "refresh_recs"] = Field(
        description="`request_recs` can return a list that is still fresh, `refresh_recs` computes a new one",
        examples=["request_recs"],
    )
    weights: RequestedWeights | None = Field(
        default=None,
        description="weights of the three components for this request; only their proportions count",
        examples=[{"collaborative": 0.5, "content": 0.2, "profitability": 0.3}],
    )
    preset: Preset | None = Field(
        default=None,
        description="instead of weights: a point of the curve of the model that makes the list "
        "(`GET /models/{version}/frontier`); a model without a curve uses its own weights",
    )

    @field_validator("preset")
    @classmethod
    def _instead_of_weights(cls, preset: Preset | None, info: ValidationInfo) -> Preset | None:
        if preset is not None and info.data.get("weights") is not None:
            raise ValueError(WEIGHTS_OR_PRESET)
        return preset


class InteractionBody(RequestBody):
    """Record an interaction of a customer with an asset."""

    customer_id: CustomerId = Field(description="the bank's id of the customer", examples=[CUSTOMER_EXAMPLE])
    isin: Isin = Field(description="an asset of the catalogue (`GET /assets`)", examples=["GRS434003000"])
    type: InteractionType = Field(description="what the customer did", examples=["click"])


class RetrainBody(RequestBody):
    """Request a training."""

    reason: str = Field(
        default="requested", min_length=1, max_length=200, pattern=PLAIN_TEXT_PATTERN, examples=["new data was loaded"]
    )


class ChosenVersion(RequestBody):
    """The fields of an activation, a pin or its end; the version is part of the path."""

    version: str


class Cancellation(RequestBody):
    """A cancellation has no fields."""


class Acknowledged(BaseModel):
    """The broker has acknowledged the event; `X-Request-ID` is its id."""

    status: Literal["ok"] = "ok"


class RecommendationList(BaseModel):
    """The newest list of a customer, best first; empty while there is none."""

    status: Literal["ok"] = "ok"
    recommendations: list[RecommendationItem]


class AwaitedList(BaseModel):
    """The query parameters of a client that waits for a list."""

    request_id: UUID | None = Field(
        default=None,
        description="answer with the list of this request (`X-Request-ID` of its POST), or a later one of the customer",
    )
    wait: float | None = Field(
        default=None,
        ge=0,
        le=30,
        allow_inf_nan=False,
        description="seconds to wait for the list; without `request_id`, for any list of the customer",
    )


class QueuedList(BaseModel):
    """The awaited list is not there yet: repeat the request after `Retry-After` seconds."""

    status: Literal["queued"] = "queued"
    request_id: UUID | None = Field(description="the request whose list is awaited; null without one")


class ListEvent(RecommendationList):
    """A new list of the customer, as the data of a server-sent event; `request_id` is its id, too."""

    request_id: UUID
    model_version: str
    basis: str
    stale: bool = Field(description="whether reference data was loaded after the list was made")


class RequestProgress(BaseModel):
    """What became of a request for a list."""

    status: Literal["ok"] = "ok"
    request_id: UUID
    state: Literal["queued", "answered", "failed"] = Field(
        description="`failed`: the request is a dead letter, and is queued again when an operator replays it"
    )
    requested_at: datetime | None = Field(description="null where neither the database nor the id tells")
    answered_at: datetime | None = None
    failed_at: datetime | None = None
    reason: str | None = Field(default=None, description="why it failed: an error class, then a text")


class AssetItem(BaseModel):
    """The latest version of an asset, with its latest price."""

    model_config = ConfigDict(frozen=True)

    isin: str
    assetname: str
    assetcategory: str
    assetsubcategory: str | None
    sector: str | None
    industry: str | None
    current_price: RoundedNumber
    profitability: RoundedNumber


class AssetList(BaseModel):
    """Assets in order of their ISIN; `total` counts all assets that match."""

    status: Literal["ok"] = "ok"
    total: int
    assets: list[AssetItem]


class ModelItem(BaseModel):
    """One model version."""

    model_config = ConfigDict(frozen=True)

    version: str
    status: str = Field(description="training, stored (not promoted: see reason), promoted or failed")
    active: bool
    sequence: int | None
    algorithm: str | None
    metrics: JsonObject
    champion_metrics: JsonObject
    reason: str | None
    progress: str | None
    watermark: JsonObject
    started_at: datetime
    finished_at: datetime | None
    activated_at: datetime | None
    servable: bool | None = Field(
        description="whether the artifact is on the models volume; null while the trainer has not reported it"
    )
    pinned: bool = Field(description="stays on the models volume, and while it is served no training replaces it")


class ModelList(BaseModel):
    """Model versions, newest first, and the one that is served."""

    status: Literal["ok"] = "ok"
    active: str | None
    models: list[ModelItem]


class ComponentWeights(BaseModel):
    """The weights of the three components; they sum to one."""

    model_config = ConfigDict(frozen=True)

    collaborative: RoundedWeight = Field(examples=[0.72])
    content: RoundedWeight = Field(examples=[0.08])
    profitability: RoundedWeight = Field(examples=[0.2])


class FrontierPoint(BaseModel):
    """The lists of a model at one setting of the weights, measured on the window of the model's figures."""

    model_config = ConfigDict(frozen=True)

    weights: ComponentWeights
    ndcg_at_10: float
    ndcg_interval_95: tuple[float, float] | None
    roi_above_market: float | None = Field(description="monthly return of the listed assets minus that of all assets")
    roi_interval_95: tuple[float, float] | None
    volatility: float | None = Field(description="annual, of the listed assets; null where no price is known")
    turnover: float = Field(description="share of the places that lists with the model's own weights do not have")


class Frontier(BaseModel):
    """What more weight of profitability costs and brings, and the weights of each preset."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok"] = "ok"
    version: str
    points: list[FrontierPoint]
    presets: dict[Preset, ComponentWeights]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether the gateway accepts events. Reads also need the database."""

    status: Literal["ok", "unavailable"]
    broker: bool
    database: bool
    shutting_down: bool


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["weights.content"])
    message: str = Field(examples=["Input should be greater than or equal to 0"])


class Problem(BaseModel):
    """An error as defined by RFC 9457."""

    type: str = Field(examples=["urn:far-trans-recommender:problem:invalid-request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str
    errors: list[FieldProblem] | None = Field(default=None, description="with 422")
    outcome: Outcome | None = Field(
        default=None,
        description="with 503 for an event: `unknown` means that the broker may have the event. Repeat the request "
        "with the same `Idempotency-Key`: it has one effect.",
    )
