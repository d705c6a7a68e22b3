"""The types of what a request asks of its list: the same for the API and for the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from shared.identifiers import PLAIN_TEXT_PATTERN, Isin

MOST_PLACES = 50
MOST_NAMES = 30  # of categories, and of sectors
MOST_EXCLUDED = 200
EMPTY_LIMITS = "give per_sector, per_category or both"


def _in_order(values: Sequence[str]) -> tuple[str, ...]:
    """Return the values without repetitions in their order: two requests that ask the same are equal."""
    return tuple(sorted(set(values)))


def _only_false(value: Any) -> Any:
    """Return None for true, which is what a request without the field says."""
    return None if value is True else value


Places = Annotated[int, Field(ge=1, le=MOST_PLACES, strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=PLAIN_TEXT_PATTERN)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_NAMES), AfterValidator(_in_order)]
ExcludedIsins = Annotated[tuple[Isin, ...], Field(min_length=1, max_length=MOST_EXCLUDED), AfterValidator(_in_order)]
# None means that the list is saved, so that an event without the field is what it was before the field existed.
Save = Annotated[Literal[False] | None, BeforeValidator(_only_false), WithJsonSchema({"type": "boolean"})]


class RequestedLimits(BaseModel):
    """How many assets of one sector and of one category a list has at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_sector: Places | None = None
    per_category: Places | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> RequestedLimits:
        if self.per_sector is None and self.per_category is None:
            raise ValueError(EMPTY_LIMITS)
        return self
