"""Which version is served: the pointer file is the truth, the rows and the announcement follow it.

One lock guards the pointer, so that a command and a finishing training cannot cross.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import NAMESPACE_URL, uuid5

from shared.errors import ArtifactInvalid, PublishFailed, RecommenderError
from shared.events import MODEL_NAME, MODELS_PUBLISHED, ModelPublished
from shared.logging import get_logger
from shared.ports import Pointer, SyncEventPublisher
from shared.recommender.training_data import Command, FinishedTraining
from trainer.service.ports import TrainerArtifacts, TrainerStore

LOCK_TIMEOUT_SECONDS = 1.0

log = get_logger(__name__)


class ReleaseBusy(RecommenderError):
    """A training is being finished right now; try again later."""


class Releases:
    """Moves the pointer; usable from the loop's thread and the training's."""

    def __init__(
        self, *, artifacts: TrainerArtifacts, store: TrainerStore, publisher: SyncEventPublisher, keep: int
    ) -> None:
        self._artifacts = artifacts
        self._store = store
        self._publisher = publisher
        self._keep = keep
        self._lock = threading.Lock()
        self._unpublished: Pointer | None = None
        self._unservable: Pointer | None = None
        self._volume_changed = False
        self._pointer_error: str | None = None  # logged already

    def current(self) -> Pointer | None:
        """Return what is served; an unreadable pointer file counts as none, since no worker can read it either."""
        try:
            pointer = self._artifacts.read_pointer()
        except ArtifactInvalid as error:
            if str(error) != self._pointer_error:  # the loop asks ten times a second
                log.error("pointer.invalid", error=str(error))
            self._pointer_error = str(error)
            return None
        self._pointer_error = None
        return pointer

    def servable(self) -> Pointer | None:
        """Return what is served, None also when `reconcile` found that no worker can load it."""
        pointer = self.current()
        return None if pointer == self._unservable else pointer

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep the pointer as it is for a while; raises ReleaseBusy when somebody else does so."""
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            raise ReleaseBusy
        try:
            yield
        finally:
            self._lock.release()

    def finish(self, finished: FinishedTraining) -> str | None:
        """Keep a finished training and, if it is promoted, let the pointer name it; call it `exclusively`.

        Returns why a promotion did not succeed after all. Safe to repeat from any step; what a crash interrupts,
        `reconcile` completes.
        """
        self._store.finish_training(finished)
        problem = None
        if finished.status == "promoted":
            problem = self._promote(finished.version)
        else:
            self._artifacts.prune(keep=self._keep)
        self._record_servable()
        return problem

    def point_at(self, version: str, *, command: Command | None = None) -> Pointer:
        """Move the pointer unless it is there already, then the rows; raises ArtifactInvalid."""
        pointer = self.current()
        if pointer is None or pointer.version != version:
            pointer = self._artifacts.activate(version, keep=self._keep)
        self._unpublished = pointer
        self._store.record_pointer(pointer, command=command)
        return pointer

    def activate(self, version: str, *, command: Command | None = None) -> None:
        """Serve a stored version because somebody asked for it; one that cannot be served is refused once.

        Raises ReleaseBusy and DatabaseUnavailable; safe to repeat.
        """
        with self.exclusively():
            try:
                pointer = self.point_at(version, command=command)
            except ArtifactInvalid as error:
                log.error("model.not_activated", version=version, reason=str(error))
                reason = f"could not be activated: {error}"
                self._store.record_refusal(version, reason=reason, command=command)
            else:
                log.info("model.activated", version=version, sequence=pointer.sequence)
            self._record_servable()

    def reconcile(self) -> None:
        """Make the rows agree with the pointer, and complete a promotion that a crash interrupted.

        A version that cannot be loaded any more (of an older format, or damaged) keeps the pointer until there is
        another, but counts as no model.
        """
        with self.exclusively():
            for version in self._store.fetch_unpointed():
                problem = self._promote(version)
                log.warning("promotion.completed", version=version, problem=problem)
            pointer = self.current()
            if pointer is not None:
                self._unpublished = pointer
                self._store.record_pointer(pointer)
                self._check_servable(pointer)
            self._record_servable()

    def publish_pending(self) -> bool:
        """Announce the served version if that is still to be done; False when the broker did not take it.

        Rows that could not be told what is on the volume are told now.
        """
        if self._volume_changed:
            with self.exclusively():
                self._record_servable()
        pointer = self._unpublished
        if pointer is None:
            return True
        event = ModelPublished(
            # The same for every repetition, so that a reader can tell.
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

    def _record_servable(self) -> None:
        """Let the rows say what is on the volume: the gateway does not see it."""
        self._volume_changed = True  # until the rows say so
        self._store.record_servable(self._artifacts.versions())
        self._volume_changed = False

    def _check_servable(self, pointer: Pointer) -> None:
        try:
            self._artifacts.load_model(pointer)
        except ArtifactInvalid as error:
            log.error("pointer.unservable", version=pointer.version, error=str(error))
            self._unservable = pointer

    def _promote(self, version: str) -> str | None:
        try:
            self.point_at(version)
        except ArtifactInvalid as error:
            reason = f"could not be promoted: {error}"
            self._store.record_refusal(version, reason=reason)
            return reason
        return None
