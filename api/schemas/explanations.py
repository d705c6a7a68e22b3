"""What a list does to a portfolio."""

from __future__ import annotations

from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field


class PortfolioFigures(BaseModel):
    """Figures of a portfolio whose assets have equal weights; null where nothing can be said."""

    assets: int = Field(description="how many there are")
    priced: int = Field(description="how many have prices that `volatility` rests on")
    volatility: float | None = Field(description="deviation of daily returns in the year up to `as_of`, annualised")
    sector_hhi: float | None = Field(
        description="Herfindahl-Hirschman index of the sectors, up to 1; an asset without a sector is one of its own"
    )
    share_above_profile: float | None = Field(
        description="share of the assets whose risk level is above the one that the customer had when the list was made"
    )


class PortfolioEffect(BaseModel):
    """The customer's portfolio without and with the assets of the newest list; null where there is no list."""

    status: Literal["ok"] = "ok"
    request_id: UUID | None = Field(description="the request that produced the list")
    model_version: str | None
    as_of: date | None = Field(description="the date of the model: no later price counts; null where unknown")
    before: PortfolioFigures | None = Field(description="what the customer held when the list was made")
    after: PortfolioFigures | None = Field(description="that and the assets that the list shows now")
