"""What the trainer needs from the database, besides the ports that it shares with the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.ports import ArtifactReader, Message, OffsetSource, Partition, Pointer
from shared.recommender.model import Model
from shared.recommender.training_data import CancelledTrainings, Command, FinishedTraining, TrainingRows, VersionRow


class Lease(Protocol):
    """The right to train: at most one process has it."""

    def acquire(self) -> bool:
        """Take the lease, or keep it: after a lost session it is taken again unless somebody else has it now.

        Raises DatabaseUnavailable, which says nothing about who has it.
        """

    def release(self) -> None:
        """Let another trainer take over; never raises."""


class TrainerArtifacts(ArtifactReader, Protocol):
    """The models volume, which the trainer alone writes."""

    def save_model(self, model: Model) -> str:
        """Write one version durably and return the SHA-256 of its manifest; CURRENT stays as it is."""

    def manifest_sha256(self, version: str) -> str:
        """Return the SHA-256 of a stored version's manifest; raises ArtifactMissing."""

    def activate(self, version: str, *, keep: int = 3) -> Pointer:
        """Let CURRENT name this version with the next sequence, then remove all but `keep` versions."""

    def prune(self, *, keep: int = 3) -> None:
        """Remove the oldest versions beyond `keep`, never the one that CURRENT names."""

    def versions(self) -> Sequence[str]:
        """Return the versions that are on the volume, the oldest first."""


class TrainerStore(OffsetSource, Protocol):
    """The trainer's database. Every method is one transaction and raises DatabaseUnavailable."""

    def has_assets(self) -> bool:
        """Return whether the reference tables hold any asset."""

    def fetch_training_rows(self) -> TrainingRows:
        """Read one consistent snapshot of everything that a model is fitted on."""

    def fetch_active_version(self) -> VersionRow | None:
        """Return the row that is marked as served."""

    def fetch_unpointed(self) -> Sequence[str]:
        """Return the versions that were to be promoted and never got the pointer, the oldest first."""

    def fetch_queued(self) -> VersionRow | None:
        """Return the oldest requested training that waits for its turn."""

    def fetch_last_finished_at(self) -> datetime | None:
        """Return when the last training that ended with a model ended."""

    def fetch_command_digest(self, event_id: UUID) -> str | None:
        """Return what the command of this id said; None when none had its effect yet."""

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        """Go past messages that have no effect."""

    def queue_training(self, version: str, *, command: Command, reason: str) -> bool:
        """Queue a requested training, with its command.

        False when the request joins one that waits, or has a row already: at most one waits.
        """

    def cancel_trainings(self, *, command: Command, reason: str) -> CancelledTrainings:
        """Mark the training that runs and those that wait as failed, with the command."""

    def start_training(self, version: str, *, triggered_by: str) -> None:
        """Say that a training begins: a new row, or the queued one of this version.

        Raises StaleOffsets when the row ended meanwhile: it was cancelled, or another trainer took over.
        """

    def store_progress(self, version: str, progress: str) -> None:
        """Say what a training is at; raises StaleOffsets when its row ended meanwhile."""

    def finish_training(self, finished: FinishedTraining) -> None:
        """Keep the result and the offsets of the interactions that it covers, together; safe to repeat.

        Raises StaleOffsets when later offsets are stored, or the row is no longer in training.
        """

    def fail_training(self, version: str, *, reason: str) -> None:
        """Say that a training ended without a model; offsets stay."""

    def abandon_trainings(self, *, reason: str, retry_version: str, counts: bool) -> Sequence[str]:
        """Mark every begun training as failed; a requested one is queued again as `retry_version`, unless one waits.

        A request is repeated once where that `counts`. Returns the versions that were abandoned.
        """

    def record_pointer(self, pointer: Pointer, *, command: Command | None = None) -> None:
        """Mark the version that the pointer file names as the served one, with the command that asked for it."""

    def record_refusal(self, version: str, *, reason: str, command: Command | None = None) -> None:
        """Say in a version's row, if there is one, why it was not activated, with the command that asked for it."""

    def record_servable(self, versions: Sequence[str]) -> None:
        """Say of every finished version whether it is one of these, which are on the volume."""

    def insert_dead_letter(self, message: Message, *, reason: str, next_offsets: Mapping[Partition, int]) -> None:
        """Keep a message that no retry can mend, once, and offsets with it."""
