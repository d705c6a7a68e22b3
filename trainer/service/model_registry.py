"""Which version is served: the pointer file decides, the rows and the announcement follow it.

One lock guards the pointer, so that a command and a training that finishes do not move it at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from shared.errors import ArtifactInvalid, ConfigurationInvalid, PublishFailed, TransientError
from shared.events import MODEL_NAME, MODELS_PUBLISHED, ModelPublished
from shared.logging import get_logger
from shared.ports import Pointer, SyncEventPublisher
from shared.recommender.configuration import ModelConfiguration
from trainer.service.ports import ArtifactStore, Command, FinishedTraining, TrainerStore

LOCK_TIMEOUT_SECONDS = 1.0

log = get_logger(__name__)


class RegistryBusy(TransientError):
    """A training is being finished now; try again later."""


@dataclass(frozen=True)
class Champion:
    """The version that the pointer names.

    configuration: None when this installation cannot fit it again. is_served: whether a worker can load it.
    watermark: what it was fitted on, None when neither its row nor its manifest says so.
    """

    version: str | None
    configuration: ModelConfiguration | None = None
    is_served: bool = False
    watermark: Mapping[str, Any] | None = None


class ModelRegistry:
    """Moves the pointer; the loop's thread and the training's thread may both use it."""

    def __init__(
        self, *, artifacts: ArtifactStore, store: TrainerStore, publisher: SyncEventPublisher, keep: int
    ) -> None:
        self._artifacts = artifacts
        self._store = store
        self._publisher = publisher
        self._keep = keep
        self._lock = threading.Lock()
        self._unpublished: Pointer | None = None
        self._unservable: Pointer | None = None
        self._volume_changed = False

    def current(self) -> Pointer | None:
        """Return what the pointer file names; an unreadable file counts as none, since no worker can read it either."""
        try:
            return self._artifacts.read_pointer()
        except ArtifactInvalid as error:
            log.error("pointer.invalid", error=str(error))
            return None

    def servable(self) -> Pointer | None:
        """Return what is served; None also when `reconcile` found that no worker can load it."""
        pointer = self.current()
        return None if pointer == self._unservable else pointer

    def fetch_pinned(self) -> str | None:
        """Return the served version if it is pinned: no training replaces it. Raises DatabaseUnavailable."""
        pointer = self.servable()
        return pointer.version if pointer and pointer.version in self._store.fetch_pinned() else None

    def fetch_champion(self) -> Champion:
        """Return what is served now; raises DatabaseUnavailable."""
        pointer = self.current()
        if pointer is None:
            return Champion(None)
        if self.servable() is None:
            return Champion(pointer.version)
        row = self._store.fetch_active_version()
        if row is None or row.version != pointer.version or row.configuration is None:
            log.warning("champion.unknown", version=pointer.version)
            return Champion(pointer.version, is_served=True, watermark=self._load_watermark(pointer))
        watermark = row.watermark or self._load_watermark(pointer)
        return Champion(pointer.version, _read_configuration(row.version, row.configuration), True, watermark)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep the pointer as it is inside the block; raises RegistryBusy while another thread does so."""
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            raise RegistryBusy
        try:
            yield
        finally:
            self._lock.release()

    def finish(self, finished: FinishedTraining, *, is_redundant: bool = False) -> str | None:
        """Store a finished training and, if it is promoted, let the pointer name it; call it `exclusively`.

        The artifact of a redundant one is removed: it must not push out one that a rollback needs.
        Returns why a promotion failed. Safe to repeat after any failure; after a crash `reconcile` completes it.
        """
        self._store.finish_training(finished)
        problem = None
        if finished.status == "promoted":
            problem = self._promote(finished.version)
        elif is_redundant:
            self._artifacts.remove(finished.version)
        else:
            self._artifacts.prune(keep=self._keep, pinned=self._store.fetch_pinned())
        self._record_servable()
        return problem

    def activate(self, version: str, *, command: Command | None = None) -> None:
        """Serve a stored version on request; one that cannot be served is refused.

        Raises RegistryBusy and DatabaseUnavailable; safe to repeat.
        """
        with self.exclusively():
            try:
                pointer = self._point_at(version, command=command)
            except ArtifactInvalid as error:
                log.error("model.not_activated", version=version, reason=str(error))
                reason = f"could not be activated: {error}"
                self._store.record_refusal(version, reason=reason, command=command)
            else:
                log.info("model.activated", version=version, sequence=pointer.sequence)
            self._record_servable()

    def pin(self, version: str, *, pinned: bool, command: Command) -> None:
        """Pin or unpin a version on request; one that is not there is refused.

        Raises RegistryBusy and DatabaseUnavailable; safe to repeat.
        """
        with self.exclusively():
            self._record_servable()
            if self._store.store_pin(version, pinned=pinned, command=command):
                log.info("model.pinned" if pinned else "model.unpinned", version=version)
            else:
                log.error("model.not_pinned", version=version, pinned=pinned, reason="no such version, or not servable")

    def reconcile(self) -> None:
        """Make the rows agree with the pointer, and complete a promotion that a crash interrupted.

        A version that does not load (of an older format, or damaged) keeps the pointer until there is another one, but
        counts as no model. One that is pinned meanwhile keeps the pointer.
        """
        with self.exclusively():
            self._follow_pointer()
            for version in self._store.fetch_unpointed():
                problem = self._complete(version)
                log.warning("promotion.completed", version=version, problem=problem)
                self._follow_pointer()
            self._record_servable()

    def follow_volume(self) -> None:
        """Store what is on the volume now, whoever changed it; raises RegistryBusy and DatabaseUnavailable."""
        with self.exclusively():
            self._record_servable()

    def publish_pending(self) -> bool:
        """Announce the served version unless that is done; False when the broker did not take the announcement.

        A version that was replaced before its announcement is not announced: the topic is compacted to the newest one.
        Also stores what is on the volume, if that failed before.
        """
        if self._volume_changed:
            with self.exclusively():
                self._record_servable()
        pointer = self._unpublished
        if pointer is None:
            return True
        event = ModelPublished(
            # A repetition has the same id, so that a reader can recognize it.
            event_id=uuid5(NAMESPACE_URL, f"{MODEL_NAME}/{pointer.version}/{pointer.sequence}"),
            version=pointer.version,
            sequence=pointer.sequence,
            manifest_sha256=pointer.manifest_sha256,
        )
        try:
            self._publisher.publish(MODELS_PUBLISHED, key=MODEL_NAME, event=event)
        except PublishFailed as error:
            log.warning("model.not_published", version=pointer.version, error=str(error))
            return False
        if self._unpublished == pointer:
            self._unpublished = None
        return True

    def _follow_pointer(self) -> None:
        pointer = self.current()
        if pointer is not None:
            self._unpublished = pointer
            self._store.record_pointer(pointer)
            self._check_servable(pointer)

    def _complete(self, version: str) -> str | None:
        """Promote a version whose promotion was interrupted, unless the served one is pinned; return why not."""
        pinned = self.fetch_pinned()
        if pinned is None:
            return self._promote(version)
        reason = f"could not be promoted: {pinned} is pinned"
        self._store.record_refusal(version, reason=reason)
        return reason

    def _point_at(self, version: str, *, command: Command | None = None) -> Pointer:
        """Move the pointer unless it is there already, then the rows; raises ArtifactInvalid."""
        pointer = self.current()
        if pointer is None or pointer.version != version:
            pointer = self._artifacts.activate(version, keep=self._keep, pinned=self._store.fetch_pinned())
        self._unpublished = pointer
        self._store.record_pointer(pointer, command=command)
        return pointer

    def _promote(self, version: str) -> str | None:
        try:
            self._point_at(version)
        except ArtifactInvalid as error:
            reason = f"could not be promoted: {error}"
            self._store.record_refusal(version, reason=reason)
            return reason
        return None

    def _record_servable(self) -> None:
        """Store what is on the volume: the gateway does not see it."""
        self._volume_changed = True  # until the rows say so
        self._store.record_servable(self._artifacts.versions())
        self._volume_changed = False

    def _check_servable(self, pointer: Pointer) -> None:
        try:
            self._artifacts.load_model(pointer)
        except ArtifactInvalid as error:
            log.error("pointer.unservable", version=pointer.version, error=str(error))
            self._unservable = pointer

    def _load_watermark(self, pointer: Pointer) -> Mapping[str, Any] | None:
        try:
            watermark = self._artifacts.load_model(pointer).metadata.get("watermark")
        except ArtifactInvalid:
            return None
        return watermark if isinstance(watermark, dict) else None


def _read_configuration(version: str, values: Mapping[str, Any]) -> ModelConfiguration | None:
    try:
        configuration = ModelConfiguration.from_json(values)
        if configuration.is_available():
            return configuration
        problem = f"{configuration.algorithm} cannot be fitted here"
    except ConfigurationInvalid as error:
        problem = str(error)
    log.warning("champion.unreadable", version=version, error=problem)
    return None
