"""Assets of the catalogue. The order of the fields is part of the contract."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.fields import RoundedNumber


class AssetItem(BaseModel):
    """The latest version of an asset, with its latest price."""

    model_config = ConfigDict(frozen=True)

    isin: str = Field(examples=["GRS434003000"])
    assetname: str = Field(examples=["PUBLIC POWER CORPORATION S.A."])
    assetcategory: str = Field(examples=["Stock"])
    assetsubcategory: str | None = Field(examples=[None])
    sector: str | None = Field(examples=["Utilities"])
    industry: str | None = Field(examples=[None])
    current_price: RoundedNumber = Field(description="the latest that is known, of any source", examples=[6.68])
    profitability: RoundedNumber = Field(
        description="published return over the whole period of the prices", examples=[0.160494]
    )
    price_date: date | None = Field(
        default=None, description="the day of `current_price`; null where unknown", examples=["2022-11-29"]
    )
    currency: str | None = Field(
        default=None, description="of `current_price`; null where the data have none", examples=[None]
    )
    trailing_return_12m: RoundedNumber = Field(
        default=None,
        description="change of the price in the twelve months before the date of the active model; null where unknown",
        examples=[0.825553],
    )


class AssetAnswer(BaseModel):
    """One asset."""

    status: Literal["ok"] = "ok"
    asset: AssetItem


class AssetList(BaseModel):
    """A page of assets; `total` counts all assets that match."""

    status: Literal["ok"] = "ok"
    total: int
    assets: list[AssetItem]
