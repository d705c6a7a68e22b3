"""The types of fields that several schemas share."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.served_list import rounded, rounded_or_none

CUSTOMER_EXAMPLE = "85583A768E48870A546D"


def _parsed(column: Any) -> Any:
    """Return the value of a JSONB column, which asyncpg returns as text."""
    return json.loads(column) if isinstance(column, str) else column


RoundedWeight = Annotated[float, BeforeValidator(rounded)]
RoundedNumber = Annotated[float | None, BeforeValidator(rounded_or_none)]
JsonObject = Annotated[dict[str, Any] | None, BeforeValidator(_parsed)]
Limit = Annotated[int, Field(ge=1, le=1000)]
FilterText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]

Language = Annotated[str, Field(max_length=35, pattern=r"^[A-Za-z0-9-]+$")]
LANGUAGE_DESCRIPTION = (
    "the language of the sentences, such as `de`; without it, and for a language that has no sentences, that of "
    "`Accept-Language`, or English"
)


class RequestBody(BaseModel):
    """A body that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
