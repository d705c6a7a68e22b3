"""What explains a list: why an asset is in it, or not, and what it does to a portfolio."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.schemas.lists import RecommendationsBody
from shared.identifiers import Isin
from shared.served_list import Components


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


class WhyBody(RecommendationsBody):
    """A preview that asks about an asset: the question of the customer's newest list."""

    why: Isin


class AssetRefusal(BaseModel):
    """A rule that keeps the asset out of the list."""

    rule: str = Field(examples=["risk_level"])
    inputs: dict[str, Any] = Field(description="what the rule looked at", examples=[{"asset_level": 3}])
    threshold: Any = Field(description="the bound that the inputs are beyond", examples=[{"most": 2}])


class SignalFact(BaseModel):
    """How far a signal of the model moved the score from that of the mean candidate; negative: down."""

    component: str
    signal: str = Field(description="`no_demand`: nobody has bought the asset, in place of the collaborative signals")
    effect: float


class RankedCandidate(BaseModel):
    """A candidate for the customer's list."""

    isin: str
    rank: int = Field(description="among all candidates by score, from 1")
    place: int | None = Field(description="in the list, from 1; null where it is not there")
    score: float
    components: Components


class AssetExplanation(BaseModel):
    """Why the list has an asset, or not, as a worker answers now to the question of the customer's newest list."""

    status: Literal["ok"] = "ok"
    isin: str
    state: Literal["listed", "refused", "below"] = Field(
        description="`refused`: a rule keeps it out; `below`: candidates with a higher score fill the list"
    )
    sentence: str = Field(description="the same in words, in the language of the answer")
    candidates: int = Field(description="how many assets are candidates for this list")
    candidate: RankedCandidate | None = Field(description="the asset; null where it is no candidate")
    facts: list[SignalFact] = Field(description="the three that moved the score most, the largest first")
    refusals: list[AssetRefusal] = Field(description="every rule that keeps it out")
    last: RankedCandidate | None = Field(
        description="the last asset that is in the list for its score; null for an empty list"
    )
    ahead: Components | None = Field(description="what `last` has more than a candidate that is below, by component")
    model_version: str
    basis: str
    current_rank: int | None = Field(description="the place in the newest list as it is shown now; null: not there")
    current_request_id: UUID | None = Field(description="the request that produced the newest list; null without one")
