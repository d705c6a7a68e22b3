"""The events on Kafka: frozen, with an id, a time and a schema version.

tests/contract/ has one golden JSON file per event and version, which is never edited. A change of meaning needs a new
`schema_version`, and a new topic suffix where old consumers could misread it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from hashlib import sha256
from typing import Annotated, ClassVar, Literal
from uuid import UUID, uuid4

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import ContractViolation, InvalidWeights
from shared.identifiers import (
    CAPACITY_CODE_PATTERN,
    EARLIEST_DATE,
    EARLIEST_EVENT,
    EARLIEST_QUESTIONNAIRE,
    EVENT_CLOCK_TOLERANCE,
    MAX_KEY_CHARACTERS,
    PLAIN_TEXT_PATTERN,
    RISK_LEVEL_CODE_PATTERN,
    Currency,
    CustomerId,
    Fingerprint,
    Isin,
    ModelVersion,
    TransactionId,
)
from shared.number_bounds import MAX_NUMBER, MIN_PRICE
from shared.recommender.types import NO_OPTIONS, InteractionType, ListOptions, Weights
from shared.requested_options import ExcludedIsins, Names, Places, RequestedLimits, Save

RECOMMENDATIONS_REQUESTED = "recommendations.requested.v1"
INTERACTIONS_RECORDED = "interactions.recorded.v1"
TRANSACTIONS_RECORDED = "transactions.recorded.v1"
CUSTOMERS_CHANGED = "customers.changed.v1"
ASSETS_CHANGED = "assets.changed.v1"
CLOSE_PRICES_RECORDED = "close_prices.recorded.v1"
SUSPENSIONS_CHANGED = "suspensions.changed.v1"
CUSTOMERS_ERASED = "customers.erased.v1"
MODELS_COMMANDS = "models.commands.v1"
MODELS_PUBLISHED = "models.published.v1"

# Keyed by customer_id, with the same number of partitions: one worker owns all partitions of a customer. The events of
# AWAITED_TOPICS change what a list depends on, so a request waits for those that were acknowledged before it. Those of
# WRITE_TOPICS are what a customer did: a training learns from them.
WRITE_TOPICS = (INTERACTIONS_RECORDED, TRANSACTIONS_RECORDED)
AWAITED_TOPICS = (*WRITE_TOPICS, CUSTOMERS_CHANGED)
CUSTOMER_TOPICS = (RECOMMENDATIONS_REQUESTED, *AWAITED_TOPICS)
# Keyed by isin, with any number of partitions: no request waits for them.
ASSET_TOPICS = (ASSETS_CHANGED, CLOSE_PRICES_RECORDED)
REFERENCE_TOPICS = (*ASSET_TOPICS, CUSTOMERS_CHANGED, SUSPENSIONS_CHANGED)
WORKER_TOPICS = (*CUSTOMER_TOPICS, *ASSET_TOPICS, SUSPENSIONS_CHANGED)

MODEL_NAME = "hybrid"  # the key of both model topics

LARGEST_WEIGHT = 1e6
MOST_RANK = 50  # the last place of the longest list
LARGEST_AMOUNT = MAX_NUMBER  # of units and money
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
Rank = Annotated[int, Field(ge=1, le=MOST_RANK, strict=True)]
Units = Annotated[float, Field(ge=LEAST_UNITS, le=LARGEST_AMOUNT, allow_inf_nan=False, strict=True)]
TotalValue = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT, allow_inf_nan=False, strict=True)]
ClosePrice = Annotated[float, Field(ge=MIN_PRICE, le=MAX_NUMBER, allow_inf_nan=False, strict=True)]
# A text like 2026-01-02, nothing else: no time, and no number of days.
Day = Annotated[
    date, Field(ge=EARLIEST_DATE, strict=True, description="from 1990-01-01 to the day after that of the log (UTC)")
]
QuestionnaireDay = Annotated[
    date,
    Field(ge=EARLIEST_QUESTIONNAIRE, strict=True, description="from 1900-01-01 to the day after that of the log (UTC)"),
]
ShortText = Annotated[str, Field(max_length=MAX_KEY_CHARACTERS, pattern=PLAIN_TEXT_PATTERN)]
RiskLevelCode = Annotated[str, Field(pattern=RISK_LEVEL_CODE_PATTERN)]
CapacityCode = Annotated[str, Field(pattern=CAPACITY_CODE_PATTERN)]
AssetCategory = Literal["Stock", "Bond", "MTF"]
SuspensionKind = Literal["asset", "category", "model"]
Subject = Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARACTERS, pattern=PLAIN_TEXT_PATTERN)]
SuspensionReason = Annotated[str, Field(min_length=1, max_length=500, pattern=PLAIN_TEXT_PATTERN)]


def _now() -> datetime:
    return datetime.now(UTC)


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


class Event(BaseModel):
    """The fields of every event. Requests with one Idempotency-Key and different bodies differ in `fingerprint`.

    key_field: names the field whose UTF-8 text is the key of the message; None where the key does not matter.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    key_field: ClassVar[str | None] = None

    event_id: UUID = Field(default_factory=uuid4)
    occurred_at: EventTime = Field(default_factory=_now)
    schema_version: Literal[1] = 1
    fingerprint: Fingerprint | None = None

    def times(self) -> dict[str, datetime]:
        """Return the times by the sender's clock, by the name of their field; a day stands for its start (UTC)."""
        return {"occurred_at": self.occurred_at}

    def key(self) -> bytes | None:
        """Return the key that the message must have, None where it does not matter."""
        return None if self.key_field is None else str(getattr(self, self.key_field)).encode()


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
    """A client requested a list for a customer, with weights, a preset of the model, or the weights of the model.

    k: at most so many assets. categories, sectors, exclude, limits: as in ListOptions. save: false for a preview, which
    does not become the customer's list. why: the asset whose place, or absence, is explained beside the answer.
    """

    key_field: ClassVar[str | None] = "customer_id"
    event_type: Literal["RecommendationRequested"] = "RecommendationRequested"
    customer_id: CustomerId
    action: Literal["request_recs", "refresh_recs"]
    weights: RequestedWeights | None = None
    preset: Preset | None = None
    k: Places | None = None
    categories: Names | None = None
    sectors: Names | None = None
    exclude: ExcludedIsins | None = None
    limits: RequestedLimits | None = None
    save: Save = None
    why: Isin | None = None

    @property
    def is_preview(self) -> bool:
        """Whether the list is for this request alone."""
        return self.save is False

    def options(self) -> ListOptions:
        """Return what the list must be as the type of the recommender."""
        if self.limits is None and self.categories is None and self.sectors is None and self.exclude is None:
            return NO_OPTIONS
        limits = self.limits.model_dump() if self.limits else {}
        return ListOptions(self.categories, self.sectors, self.exclude, **limits)

    @model_validator(mode="after")
    def _weights_or_preset(self) -> RecommendationRequested:
        if self.weights is not None and self.preset is not None:
            raise ValueError(WEIGHTS_OR_PRESET)
        return self


class InteractionRecorded(Event):
    """A customer interacted with an asset in the app, or the app showed it (`impression`).

    request_id: of the request whose list showed the asset. rank: its place in that list.
    """

    key_field: ClassVar[str | None] = "customer_id"
    event_type: Literal["InteractionRecorded"] = "InteractionRecorded"
    customer_id: CustomerId
    isin: Isin
    type: InteractionType
    request_id: UUID | None = None
    rank: Rank | None = None


class TransactionRecorded(Event):
    """An order of a customer was executed. Several may share a `transaction_id`: the whole content is one order.

    units: bought or sold, whichever `type` says. total_value: in `currency`. executed_at: its day in UTC is the day of
    the transaction.
    """

    key_field: ClassVar[str | None] = "customer_id"
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


class CustomerChanged(Event):
    """The profile of a customer since `changed_on`: all of it, so what is absent is not known to the bank."""

    key_field: ClassVar[str | None] = "customer_id"
    event_type: Literal["CustomerChanged"] = "CustomerChanged"
    customer_id: CustomerId
    customer_type: ShortText | None = None
    risk_level: RiskLevelCode | None = None
    investment_capacity: CapacityCode | None = None
    last_questionnaire_date: QuestionnaireDay | None = None
    changed_on: Day

    def times(self) -> dict[str, datetime]:
        asked = self.last_questionnaire_date
        questionnaire = {} if asked is None else {"last_questionnaire_date": _start_of(asked)}
        return {**super().times(), "changed_on": _start_of(self.changed_on), **questionnaire}


class AssetChanged(Event):
    """An asset of the catalogue since `changed_on`: all of it, so what is absent is unknown."""

    key_field: ClassVar[str | None] = "isin"
    event_type: Literal["AssetChanged"] = "AssetChanged"
    isin: Isin
    asset_name: ShortText | None = None
    asset_short_name: ShortText | None = None
    asset_category: AssetCategory
    asset_sub_category: ShortText | None = None
    market_id: ShortText | None = None
    sector: ShortText | None = None
    industry: ShortText | None = None
    changed_on: Day

    def times(self) -> dict[str, datetime]:
        return {**super().times(), "changed_on": _start_of(self.changed_on)}


class ClosePriceRecorded(Event):
    """The close price of an asset on a day; a later event about the same day replaces it."""

    key_field: ClassVar[str | None] = "isin"
    event_type: Literal["ClosePriceRecorded"] = "ClosePriceRecorded"
    isin: Isin
    priced_on: Day
    close_price: ClosePrice
    currency: Currency | None = None

    def times(self) -> dict[str, datetime]:
        return {**super().times(), "priced_on": _start_of(self.priced_on)}


class SuspensionChanged(Event):
    """An operator suspended an asset, a category or a model, or resumed it; the last event about a subject decides.

    subject: the isin, the name of the category, or the version of the model.
    """

    key_field: ClassVar[str | None] = "subject"
    event_type: Literal["SuspensionChanged"] = "SuspensionChanged"
    kind: SuspensionKind
    subject: Subject
    suspended: Annotated[bool, Field(strict=True)]
    reason: SuspensionReason


class CustomerErased(Event):
    """Everything about a customer was removed, and nothing of older messages may come back.

    legal_hold: the decisions stay, under a pseudonym.
    """

    key_field: ClassVar[str | None] = "customer_id"
    event_type: Literal["CustomerErased"] = "CustomerErased"
    customer_id: CustomerId
    legal_hold: Annotated[bool, Field(strict=True)] = False


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
    CUSTOMERS_CHANGED: (CustomerChanged,),
    ASSETS_CHANGED: (AssetChanged,),
    CLOSE_PRICES_RECORDED: (ClosePriceRecorded,),
    SUSPENSIONS_CHANGED: (SuspensionChanged,),
    CUSTOMERS_ERASED: (CustomerErased,),
    MODELS_COMMANDS: (RetrainRequested, RetrainCancelled, ModelActivated, ModelPinned, ModelUnpinned),
    MODELS_PUBLISHED: (ModelPublished,),
}

IDENTITY_FIELDS = frozenset({"event_id", "occurred_at", "schema_version", "event_type"})


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
            missing = sorted(IDENTITY_FIELDS - event.model_fields_set)
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
