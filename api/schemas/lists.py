"""Requests for lists, and the lists. The order of the fields is part of the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field, SkipValidation, ValidationInfo, field_validator

from api.schemas.answers import Problem
from api.schemas.fields import CUSTOMER_EXAMPLE, LANGUAGE_DESCRIPTION, Language, RequestBody
from shared.events import WEIGHTS_OR_PRESET, Preset, RequestedWeights
from shared.identifiers import CustomerId
from shared.requested_options import ExcludedIsins, Names, Places, RequestedLimits, Save
from shared.served_list import RecommendationItem


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

    k: Places | None = Field(
        default=None,
        description="at most so many assets; without it, as many as the workers are set to (10)",
        examples=[20],
    )
    categories: Names | None = Field(
        default=None,
        description="only assets of these categories, spelled as in `GET /assets`; an unknown one has no assets",
        examples=[["Stock", "Bond"]],
    )
    sectors: Names | None = Field(
        default=None,
        description="only assets of these sectors, spelled as in `GET /assets`; an unknown one has no assets",
        examples=[["Technology"]],
    )
    exclude: ExcludedIsins | None = Field(
        default=None, description="ISINs that this list does not have", examples=[["GRS434003000"]]
    )
    limits: RequestedLimits | None = Field(
        default=None,
        description="at most so many assets of one sector (`per_sector`) and of one category (`per_category`); the "
        "list is shorter where it must be, and assets without a sector count in no sector",
        examples=[{"per_sector": 3}],
    )
    save: Save = Field(
        default=None,
        description="`false`: a preview. It is read with its request id alone, and the customer's list stays",
        json_schema_extra={"default": True},
        examples=[False],
    )

    @field_validator("preset")
    @classmethod
    def _instead_of_weights(cls, preset: Preset | None, info: ValidationInfo) -> Preset | None:
        if preset is not None and info.data.get("weights") is not None:
            raise ValueError(WEIGHTS_OR_PRESET)
        return preset


class ListedItem(RecommendationItem):
    """One recommended asset, explained where the request asks for it."""

    sentence: str | None = Field(
        default=None,
        description="only with `explain=true`: what stored numbers say about this place, in the language of the answer",
        examples=["62% of its score comes from what other customers bought, compared with your own history."],
    )


class RecommendationList(BaseModel):
    """The newest list of a customer, best first; empty while there is none."""

    status: Literal["ok"] = "ok"
    recommendations: list[ListedItem]


class BatchBody(RequestBody):
    """Request lists for up to 1,000 customers at once."""

    requests: list[SkipValidation[RecommendationsBody]] = Field(
        min_length=1,
        max_length=1000,
        description="each is validated and published by itself; requests of one customer keep their order",
    )


class AcceptedRequest(BaseModel):
    """The broker has the event of this request."""

    customer_id: str
    status: Literal["ok"] = "ok"
    request_id: UUID


class RefusedRequest(BaseModel):
    """This request has no event, or it is not known whether it has one (`problem.outcome`)."""

    customer_id: str | None = Field(default=None, description="absent where the request names no valid one")
    status: Literal["error"] = "error"
    request_id: UUID | None = Field(default=None, description="of an event that the broker may have")
    problem: Problem


class BatchResults(BaseModel):
    """One result for each request, in their order."""

    status: Literal["ok"] = "ok"
    results: list[AcceptedRequest | RefusedRequest]


class AwaitedList(BaseModel):
    """The query parameters of a client that waits for a list, or wants it explained."""

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
    explain: bool | None = Field(
        default=None, description="`true`: each item has a `sentence` that says why it is there"
    )
    lang: Language | None = Field(default=None, description=f"with `explain`: {LANGUAGE_DESCRIPTION}")


class QueuedList(BaseModel):
    """The awaited list is not there yet: repeat the request after `Retry-After` seconds."""

    status: Literal["queued"] = "queued"
    request_id: UUID | None = Field(description="the request whose list is awaited; null without one")


class ListEvent(BaseModel):
    """A new list of the customer, as the data of a server-sent event; `request_id` is its id, too."""

    status: Literal["ok"] = "ok"
    recommendations: list[RecommendationItem]
    request_id: UUID
    model_version: str
    basis: str
    stale: bool = Field(description="whether reference data was loaded after the list was made")
    weights: dict[str, float] | None = Field(description="the weights of the list; null where they cannot be read")
    k: int | None = Field(description="how many assets were asked; null for a list of an older version")


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
