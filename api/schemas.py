"""What goes over HTTP: request bodies, answers and problems. The order of fields is part of the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.events import RequestedWeights
from shared.identifiers import PLAIN_TEXT_PATTERN, CustomerId, Isin
from shared.recommender.types import InteractionType

CUSTOMER_EXAMPLE = "85583A768E48870A546D"


class RequestBody(BaseModel):
    """A body with no fields but the named ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RecommendationsBody(RequestBody):
    """Ask for a customer's list."""

    customer_id: CustomerId = Field(description="the bank's id of the customer", examples=[CUSTOMER_EXAMPLE])
    action: Literal["request_recs", "refresh_recs"] = Field(
        description="`request_recs` may be answered from a list that is still fresh, `refresh_recs` recomputes",
        examples=["request_recs"],
    )
    weights: RequestedWeights | None = Field(
        default=None,
        description="weights of the three components for this request alone; only their proportions count",
        examples=[{"collaborative": 0.5, "content": 0.2, "profitability": 0.3}],
    )


class InteractionBody(RequestBody):
    """Say what a customer did with an asset in the app."""

    customer_id: CustomerId = Field(description="the bank's id of the customer", examples=[CUSTOMER_EXAMPLE])
    isin: Isin = Field(description="an asset of the catalogue (`GET /assets`)", examples=["GRS434003000"])
    type: InteractionType = Field(description="what the customer did", examples=["click"])


class RetrainBody(RequestBody):
    """Say why a new model is wanted."""

    reason: str = Field(
        default="requested", min_length=1, max_length=200, pattern=PLAIN_TEXT_PATTERN, examples=["new data was loaded"]
    )


class Activation(RequestBody):
    """What an activation means, for its fingerprint; the version comes from the path."""

    version: str


class Cancellation(RequestBody):
    """What a cancellation means, for its fingerprint: it has no fields."""


class Acknowledged(BaseModel):
    """The broker has the event; `X-Request-ID` names it."""

    status: Literal["ok"] = "ok"


class Components(BaseModel):
    """What each component adds to the score."""

    collaborative: float = Field(examples=[0.41])
    content: float = Field(examples=[0.12])
    profitability: float = Field(examples=[0.2])


class RecommendationItem(BaseModel):
    """One recommended asset; every key is always there."""

    isin: str = Field(examples=["GRS434003000"])
    assetname: str = Field(examples=["PUBLIC POWER CORPORATION S.A."])
    assetcategory: str = Field(examples=["Stock"])
    sector: str | None = Field(examples=["Utilities"])
    industry: str | None = Field(examples=[None])
    current_price: float | None = Field(examples=[3.76])
    profitability: float | None = Field(examples=[0.160494])
    recommendation_date: str = Field(
        description="UTC, to the second, without offset",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$",
        examples=["2025-11-30T22:00:00"],
    )
    score: float = Field(description="sum of the three components", examples=[0.73])
    rank: int = Field(ge=1, examples=[1])
    components: Components


class RecommendationList(BaseModel):
    """A customer's newest list, best first; empty while there is none."""

    status: Literal["ok"] = "ok"
    recommendations: list[RecommendationItem]


class AssetItem(BaseModel):
    """The latest version of an asset, with its latest price."""

    model_config = ConfigDict(from_attributes=True)

    isin: str
    assetname: str
    assetcategory: str
    assetsubcategory: str | None
    sector: str | None
    industry: str | None
    current_price: float | None
    profitability: float | None


class AssetList(BaseModel):
    """Assets in order of their ISIN; `total` counts all that match."""

    status: Literal["ok"] = "ok"
    total: int
    assets: list[AssetItem]


class ModelItem(BaseModel):
    """One model version, trained or tried."""

    model_config = ConfigDict(from_attributes=True)

    version: str
    status: str = Field(description="training, stored (not promoted: see reason), promoted or failed")
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
    servable: bool | None = Field(
        description="whether its artifact is on the models volume; null while the trainer has not said so"
    )


class ModelList(BaseModel):
    """Model versions, newest first, and the one that is served."""

    status: Literal["ok"] = "ok"
    active: str | None
    models: list[ModelItem]


class Alive(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Ready means: events can be taken. Reads also need the database."""

    status: Literal["ok", "unavailable"]
    broker: bool
    database: bool
    shutting_down: bool


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["weights.content"])
    message: str = Field(examples=["Input should be greater than or equal to 0"])


class Problem(BaseModel):
    """An error as RFC 9457 has it."""

    type: str = Field(examples=["urn:far-trans-recommender:problem:invalid-request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str
    errors: list[FieldProblem] | None = Field(default=None, description="with 422")
    outcome: Literal["unknown", "not_accepted"] | None = Field(
        default=None,
        description="with 503 for an event: `unknown` means that the broker may have it. Repeat it with the same "
        "`Idempotency-Key` to be safe.",
    )


Limit = Annotated[int, Field(ge=1, le=1000)]
FilterText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
