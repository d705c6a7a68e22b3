"""Model versions, their frontier, and commands about them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.fields import (
    JsonObject,
    RequestBody,
    RoundedWeight,
)
from shared.events import Preset
from shared.identifiers import PLAIN_TEXT_PATTERN


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
