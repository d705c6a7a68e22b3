"""Every named failure of the system, in one hierarchy.

RecommenderError
├── TransientError             a server fails for now: repeat after a back-off
│   ├── DatabaseUnavailable    the database does not answer, or cannot do its work now
│   │   ├── DatabaseBusy       it answers, but all connections of this process are in use
│   │   └── CommitUnknown      the connection broke during a commit: all changes hold, or none
│   ├── BrokerUnavailable      the broker does not answer in time
│   └── PublishFailed          the broker did not acknowledge an event
├── ContractViolation          no retry can help the message: it becomes a dead letter
│   ├── UnknownAsset
│   ├── EventIdReused
│   └── IdempotencyKeyReused
├── DatabaseMisused            a bug: the database rejects a statement that this program sends
├── StaleOffsets               another consumer has stored other offsets: this one no longer owns the partition
├── OffsetOutOfRange           the stored offset is not in the log: an operator decides
│   └── TopicReplaced          the topic was deleted and created again since the offset was stored
├── Stopped                    the process stops: the operation was not repeated
├── ArtifactInvalid            a model artifact that must not be loaded
│   └── ArtifactMissing
├── ConfigurationInvalid       a model's configuration with an unknown signal or hyper-parameter, or a bad plugin
├── PolicyInvalid              a suitability policy with an unknown key, a wrong type or an impossible threshold
├── NotEnoughData              nothing to train on
├── TrainingEngineFailed       Apache Spark could not be started or reached, or did not finish
├── ReferenceDataInvalid       the reference data files are invalid: nothing is loaded from them
│   └── LoadRefused            the files would replace good data by implausible data
├── ListsInvalid               lists that break the protocol of the benchmark
└── InvalidWeights             weights that are negative, not finite or all zero
"""

from __future__ import annotations

LONGEST_DESCRIPTION = 2_000


class RecommenderError(Exception):
    """Something in the recommender failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class TransientError(RecommenderError):
    """A server fails for now; the same operation can succeed later."""


class DatabaseUnavailable(TransientError):
    """The database does not answer now."""


class DatabaseBusy(DatabaseUnavailable):
    """All connections to the database are in use."""


class CommitUnknown(DatabaseUnavailable):
    """The connection broke during a commit: either all changes hold or none."""


class BrokerUnavailable(TransientError):
    """The broker does not answer in time."""


class PublishFailed(TransientError):
    """The broker did not acknowledge the event."""

    def __init__(self, message: str | None = None, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class ContractViolation(RecommenderError):
    """The message does not keep the contract of its topic."""


class UnknownAsset(ContractViolation):
    """The message names an asset that the catalogue does not have."""


class EventIdReused(ContractViolation):
    """The event_id belongs to another event, which had its effect already."""


class IdempotencyKeyReused(ContractViolation):
    """Idempotency key reused with another body."""


class DatabaseMisused(RecommenderError):
    """The database rejects a statement of this program: a bug."""


class StaleOffsets(RecommenderError):
    """Other offsets are stored: this consumer no longer owns the partition."""


class OffsetOutOfRange(RecommenderError):
    """The stored offset is not in the log: events may be lost, an operator decides."""


class TopicReplaced(OffsetOutOfRange):
    """The topic is not the one that the stored offset belongs to: an operator decides."""


class Stopped(RecommenderError):
    """The process stops, so the operation was not repeated."""


class ArtifactInvalid(RecommenderError):
    """The model artifact is damaged or of another format."""


class ArtifactMissing(ArtifactInvalid):
    """There is no such model artifact."""


class ConfigurationInvalid(RecommenderError):
    """The configuration of the model is not valid."""


class PolicyInvalid(RecommenderError):
    """The suitability policy is not valid."""


class NotEnoughData(RecommenderError):
    """There is too little data to train a model."""


class TrainingEngineFailed(RecommenderError):
    """The engine that trainings use could not be started or reached, or did not finish."""


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
