"""The one type of a recommended asset: the worker builds and stores it, the gateway returns it over HTTP."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

DECIMALS = 6


class Components(BaseModel):
    """What each component adds to the score; null where the model cannot say anything, for every asset of the list."""

    model_config = ConfigDict(frozen=True)

    collaborative: float | None = Field(examples=[0.41])
    content: float | None = Field(examples=[0.12])
    profitability: float | None = Field(examples=[0.2])


class RecommendationItem(BaseModel):
    """One recommended asset; every key is always there."""

    model_config = ConfigDict(frozen=True)

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


def rounded(value: float) -> float:
    """Return the value as the API shows it; raises ValueError when it is not finite."""
    if not math.isfinite(value):
        raise ValueError("a score is not finite")
    return round(float(value), DECIMALS) + 0.0  # never -0.0


def rounded_or_none(value: float | None) -> float | None:
    """Return a price or a profitability as the API shows it; None when it is unknown or not finite."""
    return None if value is None or not math.isfinite(value) else rounded(value)
