"""Every named failure of the system, in one hierarchy.

RecommenderError
├── ContractViolation          a message that no retry can mend: it goes to dead_letters
│   ├── UnknownAsset
│   ├── EventIdReused
│   └── IdempotencyKeyReused
├── PublishFailed              the broker did not acknowledge an event
├── StaleOffsets               somebody else has already stored later offsets (a zombie's write is refused)
├── OffsetOutOfRange           the stored offset is no longer (or not yet) in the log
│   └── TopicReplaced          the topic was deleted and made anew since the offset was stored
├── DatabaseUnavailable        the database cannot be reached; try again later
│   ├── DatabaseBusy           it answers, but all connections of this process are in use
│   └── CommitUnknown          the connection was lost during a commit: all of it holds, or nothing
├── BrokerUnavailable          the broker does not answer in time; try again later
├── ArtifactInvalid            a model artifact that must not be loaded
│   └── ArtifactMissing
├── ConfigurationInvalid       a model's configuration with an unknown signal or hyper-parameter, or a bad plugin
├── NotEnoughData              nothing to train on
├── ReferenceDataInvalid       the published files are not as published: nothing is loaded from them
│   └── LoadRefused            the files would replace good data by implausible data
├── ListsInvalid               lists that break the benchmark's protocol and cannot be judged
└── InvalidWeights             weights that are negative, not finite or all zero
"""

from __future__ import annotations

LONGEST_DESCRIPTION = 2_000


class RecommenderError(Exception):
    """Something in the recommender failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ContractViolation(RecommenderError):
    """The message does not keep the contract of its topic."""


class UnknownAsset(ContractViolation):
    """The message names an asset that the catalogue does not have."""


class EventIdReused(ContractViolation):
    """The event_id belongs to another event, which had its effect already."""


class IdempotencyKeyReused(ContractViolation):
    """Idempotency key reused with another body."""


class PublishFailed(RecommenderError):
    """The broker did not acknowledge the event."""

    def __init__(self, message: str | None = None, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class StaleOffsets(RecommenderError):
    """Later offsets are already stored: this consumer no longer owns the partition."""


class OffsetOutOfRange(RecommenderError):
    """The stored offset lies outside the log: events may have been lost, an operator decides."""


class TopicReplaced(OffsetOutOfRange):
    """The topic is another one than the one that the stored offset belongs to: an operator decides."""


class DatabaseUnavailable(RecommenderError):
    """The database cannot be reached right now."""


class DatabaseBusy(DatabaseUnavailable):
    """All connections to the database are in use."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost during a commit: either all changes hold or none."""


class BrokerUnavailable(RecommenderError):
    """The broker does not answer in time."""


class ArtifactInvalid(RecommenderError):
    """The model artifact is damaged or of another format."""


class ArtifactMissing(ArtifactInvalid):
    """There is no such model artifact."""


class ConfigurationInvalid(RecommenderError):
    """The configuration of the model is not valid."""


class NotEnoughData(RecommenderError):
    """There is too little data to train a model."""


class ReferenceDataInvalid(RecommenderError):
    """The reference data is not as published."""


class LoadRefused(ReferenceDataInvalid):
    """The files would replace good data by implausible data."""


class ListsInvalid(RecommenderError):
    """The lists break the protocol of the benchmark."""


class InvalidWeights(RecommenderError, ValueError):
    """Weights must be finite, not negative, and not all zero."""


def describe_error(error: BaseException) -> str:
    """Return an error as text that can be stored and shown: its class first, so that reasons can be counted.

    At most LONGEST_DESCRIPTION characters. The error may quote a message: control characters and lone surrogates,
    which a database refuses or a terminal obeys, are escaped.
    """
    text = f"{type(error).__name__}: {error}"[:LONGEST_DESCRIPTION]
    escaped = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return escaped[:LONGEST_DESCRIPTION]
