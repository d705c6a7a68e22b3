"""What every endpoint can answer: an acknowledgement, the state of the gateway, a problem."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Outcome = Literal["unknown", "not_accepted"]


class Acknowledged(BaseModel):
    """The broker has acknowledged the event; `X-Request-ID` is its id."""

    status: Literal["ok"] = "ok"


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
