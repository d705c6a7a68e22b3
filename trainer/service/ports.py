"""What the trainer needs from outside the process, and the records that pass through these ports."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from shared.ports import ArtifactReader, Message, OffsetSource, Partition, Pointer
from shared.recommender.model import Model
from shared.recommender.training_rows import TrainingRows

OutcomeKind = Literal["promoted", "stored", "failed", "abandoned"]


@dataclass(frozen=True)
class TrainingSnapshot:
    """Everything that a model is fitted on, read in one transaction.

    worker_offsets: for each partition of interactions and of executed orders, the next offset of the worker. The rows
    contain every one before it, and none after it.
    """

    rows: TrainingRows
    worker_offsets: Mapping[Partition, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingOrder:
    """What to train now. uncovered_from: the first offset of each partition that no finished training covers."""

    version: str
    triggered_by: str
    uncovered_from: Mapping[Partition, int]
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True)
class Outcome:
    """How a training ended. covered: the offset after the last interaction that it read, of each partition."""

    kind: OutcomeKind
    reason: str
    seconds: float
    covered: Mapping[Partition, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A message of models.commands.v1 as it is stored with its effect: identity, content, and the offset after it."""

    event_id: UUID
    event_type: str
    content_digest: str
    next_offsets: Mapping[Partition, int]


@dataclass(frozen=True)
class CancelledTrainings:
    """The versions that a cancellation ended."""

    running: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionRow:
    """One row of model_versions; request_id and request_reason are those of the RetrainRequested that asked for it."""

    version: str
    status: str
    active: bool
    triggered_by: str
    progress: str | None
    sequence: int | None
    configuration: Mapping[str, Any] | None
    watermark: Mapping[str, Any] | None = None
    request_id: UUID | None = None
    request_reason: str | None = None


@dataclass(frozen=True)
class FinishedTraining:
    """How a training ended: `status` is promoted or stored, `next_offsets` are the offsets that it covers."""

    version: str
    status: str
    reason: str
    algorithm: str
    manifest_sha256: str
    metrics: Mapping[str, Any]
    champion_metrics: Mapping[str, Any] | None
    configuration: Mapping[str, Any]
    watermark: Mapping[str, Any]
    next_offsets: Mapping[Partition, int]


class Lease(Protocol):
    """The right to train: at most one process has it."""

    def acquire(self) -> bool:
        """Take the lease, or keep it; False when another process has it. Raises DatabaseUnavailable."""

    def release(self) -> None:
        """Let another trainer take over; never raises."""


class TrainingRunner(Protocol):
    """Runs one training at a time beside the loop."""

    def start(self, order: TrainingOrder) -> None:
        """Start a training; raises RuntimeError while another one runs."""

    def is_busy(self) -> bool:
        """Return whether a training runs, or its outcome is not taken yet."""

    def take_outcome(self) -> Outcome | None:
        """Return how the training ended, once."""


class ArtifactStore(ArtifactReader, Protocol):
    """The models volume, as the trainer uses it."""

    def save_model(self, model: Model) -> str:
        """Write one version durably and return the SHA-256 of its manifest; CURRENT does not change."""

    def activate(self, version: str, *, keep: int = 3, pinned: Collection[str] = ()) -> Pointer:
        """Let CURRENT name a stored version, then prune; raises ArtifactInvalid."""

    def prune(self, *, keep: int = 3, pinned: Collection[str] = ()) -> None:
        """Remove the oldest versions beyond `keep`, never one that is `pinned` or the one that CURRENT names."""

    def remove(self, version: str) -> None:
        """Remove a version, if it is there; raises ArtifactInvalid for the one that CURRENT names."""

    def versions(self) -> Sequence[str]:
        """Return the versions that are on the volume, the oldest first."""


class TrainerStore(OffsetSource, Protocol):
    """The trainer's database. Every method is one transaction and raises DatabaseUnavailable."""

    def has_assets(self) -> bool:
        """Return whether the reference tables contain an asset."""

    def fetch_training_rows(self) -> TrainingSnapshot:
        """Read everything that a model is fitted on, and how far the worker has stored interactions and orders."""

    def fetch_worker_offsets(self) -> Mapping[Partition, int]:
        """Return the worker's next offset of each partition of interactions and of executed orders."""

    def fetch_active_version(self) -> VersionRow | None:
        """Return the row of the served version."""

    def fetch_unpointed(self) -> Sequence[str]:
        """Return the promoted versions that the pointer never named, the oldest first.

        A version that is older than one that the pointer named is left out.
        """

    def fetch_pinned(self) -> Collection[str]:
        """Return the versions that are pinned."""

    def fetch_queued(self) -> VersionRow | None:
        """Return the requested training that waits in the queue."""

    def fetch_last_finished_at(self) -> datetime | None:
        """Return when the last training that made a model ended."""

    def fetch_command_digest(self, event_id: UUID) -> str | None:
        """Return the content digest of a command that had its effect; None for an unknown id."""

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        """Store the offsets after messages that have no effect."""

    def queue_training(self, version: str, *, command: Command, reason: str) -> bool:
        """Queue a requested training and store its command.

        Returns False when another training waits already, or when this request has a row: the request joins it.
        """

    def cancel_trainings(self, *, command: Command, reason: str) -> CancelledTrainings:
        """Mark the training that runs and the one that waits as failed, and store the command."""

    def start_training(self, version: str, *, triggered_by: str) -> None:
        """Take a training from the queue, or insert its row.

        Raises StaleOffsets when the row has ended: it was cancelled, or another trainer took over.
        """

    def store_progress(self, version: str, progress: str) -> None:
        """Store the step that a training is at; raises StaleOffsets when its row has ended."""

    def finish_training(self, finished: FinishedTraining) -> None:
        """Store the result and the offsets that it covers in one transaction; safe to repeat.

        Raises StaleOffsets when later offsets are stored, or when the row has ended.
        """

    def fail_training(self, version: str, *, reason: str) -> None:
        """Store that a training ended without a model; offsets do not change."""

    def abandon_trainings(self, *, reason: str, retry_version: str, counts: bool) -> Sequence[str]:
        """Mark every running training as failed and return their versions.

        A requested one is queued again as `retry_version` unless another one waits; with `counts` only once.
        """

    def record_pointer(self, pointer: Pointer, *, command: Command | None = None) -> None:
        """Mark the version that the pointer names as the served one, and store the command that asked for it."""

    def record_refusal(self, version: str, *, reason: str, command: Command | None = None) -> None:
        """Store why a version was not activated, and the command that asked for it; the row may be missing."""

    def store_pin(self, version: str, *, pinned: bool, command: Command) -> bool:
        """Pin or unpin a finished version, and store the command.

        Returns False when there is no such version, or for a pin when it is not servable.
        """

    def record_servable(self, versions: Sequence[str]) -> None:
        """Store for every finished version whether it is one of these, which are on the volume."""

    def insert_dead_letter(self, message: Message, *, reason: str, next_offsets: Mapping[Partition, int]) -> None:
        """Store a message that no retry can help, once, and the offsets."""
