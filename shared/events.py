"""The events on Kafka: frozen, with an id, a time and a schema version.

tests/contract/ has one golden JSON file per event and version, which is never edited. A change of meaning needs a new
`schema_version`, and a new topic suffix where old consumers could misread it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Literal
from uuid import UUID, uuid4

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import ContractViolation, InvalidWeights
from shared.identifiers import (
    EARLIEST_EVENT,
    EVENT_CLOCK_TOLERANCE,
    PLAIN_TEXT_PATTERN,
    Currency,
    CustomerId,
    Fingerprint,
    Isin,
    ModelVersion,
    TransactionId,
)
from shared.recommender.types import InteractionType, Weights

RECOMMENDATIONS_REQUESTED = "recommendations.requested.v1"
INTERACTIONS_RECORDED = "interactions.recorded.v1"
TRANSACTIONS_RECORDED = "transactions.recorded.v1"
MODELS_COMMANDS = "models.commands.v1"
MODELS_PUBLISHED = "models.published.v1"

# Keyed by customer_id, with the same number of partitions: one worker owns all partitions of a customer. The events of
# WRITE_TOPICS change what a list depends on, so a request waits for those that were acknowledged before it.
WRITE_TOPICS = (INTERACTIONS_RECORDED, TRANSACTIONS_RECORDED)
CUSTOMER_TOPICS = (RECOMMENDATIONS_REQUESTED, *WRITE_TOPICS)

MODEL_NAME = "hybrid"  # the key of both model topics

LARGEST_WEIGHT = 1e6
LARGEST_AMOUNT = 1e12  # of units and money, as in the files: sums of it do not overflow
LEAST_UNITS = 1e-9  # a smaller number underflows where it is multiplied
Preset = Literal["popular", "balanced", "return", "low_volatility"]
WEIGHTS_OR_PRESET = "give weights or a preset, not both"


def _readable_time(moment: datetime) -> datetime:
    """Reject times that PostgreSQL, NumPy or a time zone conversion cannot represent."""
    if moment < EARLIEST_EVENT:
        raise ValueError(f"is before {EARLIEST_EVENT:%Y-%m-%d}")
    if moment.year > 9000:
        raise ValueError("is after the year 9000")
    return moment.astimezone(UTC)  # PostgreSQL rejects an offset of 16 hours and more


EventTime = Annotated[AwareDatetime, AfterValidator(_readable_time)]
TransactionType = Literal["Buy", "Sell"]
Units = Annotated[float, Field(ge=LEAST_UNITS, le=LARGEST_AMOUNT, allow_inf_nan=False, strict=True)]
TotalValue = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT, allow_inf_nan=False, strict=True)]


def _now() -> datetime:
    return datetime.now(UTC)


class Event(BaseModel):
    """The fields of every event. Requests with one Idempotency-Key and different bodies differ in `fingerprint`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: UUID = Field(default_factory=uuid4)
    occurred_at: EventTime = Field(default_factory=_now)
    schema_version: Literal[1] = 1
    fingerprint: Fingerprint | None = None

    def times(self) -> dict[str, datetime]:
        """Return the times by the sender's clock, by the name of their field."""
        return {"occurred_at": self.occurred_at}


class RequestedWeights(BaseModel):
    """Weights of the components for one request: finite, not negative, not all zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    collaborative: float = Field(default=0.0, ge=0.0, le=LARGEST_WEIGHT)
    content: float = Field(default=0.0, ge=0.0, le=LARGEST_WEIGHT)
    profitability: float = Field(default=0.0, ge=0.0, le=LARGEST_WEIGHT)

    @model_validator(mode="after")
    def _not_all_zero(self) -> RequestedWeights:
        try:
            self.to_domain()
        except InvalidWeights as error:
            raise ValueError(str(error)) from error
        return self

    def to_domain(self) -> Weights:
        """Return the weights as the type of the recommender."""
        return Weights(self.collaborative, self.content, self.profitability)


class RecommendationRequested(Event):
    """A client requested a list for a customer, with weights, a preset of the model, or the weights of the model."""

    event_type: Literal["RecommendationRequested"] = "RecommendationRequested"
    customer_id: CustomerId
    action: Literal["request_recs", "refresh_recs"]
    weights: RequestedWeights | None = None
    preset: Preset | None = None

    @model_validator(mode="after")
    def _weights_or_preset(self) -> RecommendationRequested:
        if self.weights is not None and self.preset is not None:
            raise ValueError(WEIGHTS_OR_PRESET)
        return self


class InteractionRecorded(Event):
    """A customer interacted with an asset in the app."""

    event_type: Literal["InteractionRecorded"] = "InteractionRecorded"
    customer_id: CustomerId
    isin: Isin
    type: InteractionType


class TransactionRecorded(Event):
    """An order of a customer was executed. Several may share a `transaction_id`: the whole content is one order.

    units: bought or sold, whichever `type` says. total_value: in `currency`. executed_at: its day in UTC is the day of
    the transaction.
    """

    event_type: Literal["TransactionRecorded"] = "TransactionRecorded"
    customer_id: CustomerId
    isin: Isin
    type: TransactionType
    units: Units
    total_value: TotalValue
    currency: Currency | None = None
    executed_at: EventTime
    transaction_id: TransactionId

    def times(self) -> dict[str, datetime]:
        return {**super().times(), "executed_at": self.executed_at}


class RetrainRequested(Event):
    """An operator requested a training."""

    event_type: Literal["RetrainRequested"] = "RetrainRequested"
    reason: str = Field(default="requested", max_length=200, pattern=PLAIN_TEXT_PATTERN)


class RetrainCancelled(Event):
    """An operator cancelled the queued and the running training."""

    event_type: Literal["RetrainCancelled"] = "RetrainCancelled"


class ModelActivated(Event):
    """An operator activated a stored model version, for example as a rollback."""

    event_type: Literal["ModelActivated"] = "ModelActivated"
    version: ModelVersion


class ModelPinned(Event):
    """An operator pinned a stored version: it stays on the volume, and while it is served no training replaces it."""

    event_type: Literal["ModelPinned"] = "ModelPinned"
    version: ModelVersion


class ModelUnpinned(Event):
    """An operator ended the pin of a model version."""

    event_type: Literal["ModelUnpinned"] = "ModelUnpinned"
    version: ModelVersion


class ModelPublished(Event):
    """The pointer file now names this version."""

    event_type: Literal["ModelPublished"] = "ModelPublished"
    version: ModelVersion
    sequence: int = Field(ge=1, lt=2**63)
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


EVENTS_OF_TOPIC: dict[str, tuple[type[Event], ...]] = {
    RECOMMENDATIONS_REQUESTED: (RecommendationRequested,),
    INTERACTIONS_RECORDED: (InteractionRecorded,),
    TRANSACTIONS_RECORDED: (TransactionRecorded,),
    MODELS_COMMANDS: (RetrainRequested, RetrainCancelled, ModelActivated, ModelPinned, ModelUnpinned),
    MODELS_PUBLISHED: (ModelPublished,),
}

_IDENTITY = frozenset({"event_id", "occurred_at", "schema_version", "event_type"})


def encode(event: Event) -> bytes:
    """Return the event as UTF-8 JSON for Kafka."""
    return event.model_dump_json(exclude_none=True).encode()


def decode(topic: str, payload: bytes | None, *, logged_at: datetime | None = None) -> Event:
    """Return the event in `payload`; `topic` is the name without a prefix.

    Its times must not be more than EVENT_CLOCK_TOLERANCE after `logged_at` (the time of the message in the log, if
    known) or after now, whichever is later; a broker whose clock is slow therefore causes no rejection. Raises
    ContractViolation with the reason when no event type of the topic matches.
    """
    if not payload:
        raise ContractViolation("empty message")
    reasons = []
    for event_type in EVENTS_OF_TOPIC[topic]:
        try:
            event = event_type.model_validate_json(payload)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            reasons.append(f"not a {event_type.__name__}: {place}: {first['msg']}")
        else:
            # Defaults are for the producer; a message must contain these fields.
            missing = sorted(_IDENTITY - event.model_fields_set)
            if not missing:
                now = _now()
                _check_clock(event, max(logged_at or now, now))
                return event
            reasons.append(f"not a {event_type.__name__}: {missing[0]}: missing")
    raise ContractViolation("; ".join(reasons))


def content_digest(event: Event) -> str:
    """Return the SHA-256 of the fields without id, time and fingerprint; equal for repetitions of one event.

    Absent fields do not count, so an optional field that a later version adds changes no digest.
    """
    identity = {"event_id", "occurred_at", "schema_version", "fingerprint"}
    content = event.model_dump_json(exclude=identity, exclude_none=True)
    return sha256(content.encode()).hexdigest()


def _check_clock(event: Event, latest: datetime) -> None:
    for name, moment in event.times().items():
        if moment - EVENT_CLOCK_TOLERANCE > latest:
            raise ContractViolation(
                f"{name}: {moment.isoformat()} is more than a day after the log's time"
                f" {latest.isoformat(timespec='seconds')}"
            )
