"""The one type of a recommended asset: the worker builds and stores it, the gateway returns it over HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

DECIMALS = 6
MILLION = 10**DECIMALS  # a rounded number times this is whole
# The fields of an item that depend on the list; the others are what is shown of the asset.
LIST_FIELDS = {"recommendation_date", "score", "rank", "components"}


class Components(BaseModel):
    """What each component adds to the score; null where the model cannot say anything, for every asset of the list."""

    model_config = ConfigDict(frozen=True)

    collaborative: float | None = Field(examples=[0.41])
    content: float | None = Field(examples=[0.12])
    profitability: float | None = Field(examples=[0.2])


class RecommendationItem(BaseModel):
    """One recommended asset; every key is there in lists that this version makes."""

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
    # Lists that an older version stored are without these.
    price_date: date | None = Field(
        default=None, description="the day of `current_price`; null where unknown", examples=["2022-11-29"]
    )
    currency: str | None = Field(
        default=None, description="of `current_price`; null where the data have none", examples=[None]
    )
    trailing_return_12m: float | None = Field(
        default=None,
        description="change of the price in the twelve months before the date of the model; null where unknown",
        examples=[0.084337],
    )


def build_list_fields(contributions: Sequence[float | None], *, made_at: datetime) -> Iterator[dict[str, Any]]:
    """Yield LIST_FIELDS of each item of a list; `contributions` has three rounded numbers for each, best first."""
    date_text = made_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    each = iter(contributions)
    for rank, (collaborative, content, profitability) in enumerate(zip(each, each, each, strict=True), start=1):
        yield {
            "recommendation_date": date_text,
            "score": rounded((collaborative or 0.0) + (content or 0.0) + (profitability or 0.0)),
            "rank": rank,
            "components": {"collaborative": collaborative, "content": content, "profitability": profitability},
        }


def rounded(value: float) -> float:
    """Return the value as the API shows it; raises ValueError when it is not finite."""
    if not math.isfinite(value):
        raise ValueError("a score is not finite")
    return round(float(value), DECIMALS) + 0.0  # never -0.0


def rounded_or_none(value: float | None) -> float | None:
    """Return a price or a profitability as the API shows it; None when it is unknown or not finite."""
    return None if value is None or not math.isfinite(value) else rounded(value)
