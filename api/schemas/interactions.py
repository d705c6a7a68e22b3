"""What customers did: interactions and executed orders."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from api.schemas.fields import CUSTOMER_EXAMPLE, RequestBody, RoundedNumber
from shared.events import EventTime, Rank, TotalValue, TransactionType, Units
from shared.identifiers import EVENT_CLOCK_TOLERANCE, Currency, CustomerId, Isin, TransactionId
from shared.recommender.types import InteractionType


def _not_ahead(moment: datetime) -> datetime:
    """Reject a time that consumers would reject."""
    if moment - EVENT_CLOCK_TOLERANCE > datetime.now(UTC):
        raise ValueError("is more than a day ahead")
    return moment


_FIRST_VERSION = {"add_watchlist": InteractionType.WATCHLIST, "view_details": InteractionType.VIEW}


def _named_today(kind: Any) -> Any:
    """Return the type that a name of the first version stands for."""
    return _FIRST_VERSION.get(kind, kind) if isinstance(kind, str) else kind


class InteractionBody(RequestBody):
    """Record an interaction of a customer with an asset, or that the app showed it."""

    customer_id: CustomerId = Field(description="the bank's id of the customer", examples=[CUSTOMER_EXAMPLE])
    isin: Isin = Field(description="an asset of the catalogue (`GET /assets`)", examples=["GRS434003000"])
    type: Annotated[InteractionType, BeforeValidator(_named_today)] = Field(
        description="what the customer did; `impression`: the app showed the asset, which changes no list; `unwatch` "
        "and `undismiss` end a `watchlist` and a `dismiss`. The first version's `add_watchlist` (watchlist) and "
        "`view_details` (view) are accepted.",
        examples=["click"],
    )
    request_id: UUID | None = Field(
        default=None,
        description="the list that showed the asset: `X-Request-ID` of the list. One that is not known is accepted.",
    )
    rank: Rank | None = Field(default=None, description="the place of the asset in that list", examples=[1])
    weight: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = Field(
        default=None,
        exclude=True,
        deprecated=True,
        description="of the first version, and ignored: the server has a weight for each type",
    )


class TransactionBody(RequestBody):
    """Record an executed order of a customer."""

    customer_id: CustomerId = Field(description="the bank's id of the customer", examples=[CUSTOMER_EXAMPLE])
    isin: Isin = Field(description="an asset of the catalogue (`GET /assets`)", examples=["GRS434003000"])
    type: TransactionType = Field(description="what the customer did", examples=["Buy"])
    units: Units = Field(description="how much was bought or sold, more than 0", examples=[45])
    total_value: TotalValue = Field(description="the amount that was paid or received", examples=[580.5])
    currency: Currency | None = Field(default=None, description="of the amount (ISO 4217)", examples=["EUR"])
    executed_at: Annotated[EventTime, AfterValidator(_not_ahead)] = Field(
        description="when the order was executed; its day in UTC is the day of the transaction",
        examples=["2026-01-02T10:30:00Z"],
    )
    transaction_id: TransactionId = Field(
        description="the bank's id of the transaction; orders with equal fields count once", examples=["8061977"]
    )


class WatchlistBody(RequestBody):
    """Watch an asset; the same as an interaction `watchlist`."""

    isin: Isin = Field(description="an asset of the catalogue (`GET /assets`)", examples=["GRS434003000"])


class WatchedAsset(BaseModel):
    """An asset of a watchlist: its latest version, and when it was added last."""

    model_config = ConfigDict(frozen=True)

    isin: str
    assetname: str = Field(examples=["Public Power Corporation"])
    assetcategory: str
    sector: str | None
    industry: str | None
    current_price: RoundedNumber
    added_at: datetime


class Watchlist(BaseModel):
    """The assets that a customer watches, newest first."""

    status: Literal["ok"] = "ok"
    watchlist: list[WatchedAsset]
