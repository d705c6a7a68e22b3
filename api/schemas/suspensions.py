"""Suspensions of assets, categories and models, and commands about them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.fields import RequestBody
from shared.events import Subject, SuspensionKind, SuspensionReason


class SuspensionBody(RequestBody):
    """Suspend or resume; the subject is part of the path."""

    reason: SuspensionReason = Field(examples=["the issuer stopped trading"])


class SuspensionChange(RequestBody):
    """The fields of the event."""

    kind: SuspensionKind
    subject: Subject
    suspended: bool
    reason: SuspensionReason


class SuspendedSubject(BaseModel):
    """What is suspended, since when (UTC), and why."""

    model_config = ConfigDict(frozen=True)

    kind: SuspensionKind
    subject: str = Field(description="the ISIN, the name of the category, or the version of the model")
    reason: str
    suspended_at: datetime


class SuspensionList(BaseModel):
    """Everything that is suspended, the newest suspension first."""

    status: Literal["ok"] = "ok"
    suspensions: list[SuspendedSubject]
