"""Train right now and be done: what `python -m trainer --once` does."""

from __future__ import annotations

import threading

from shared.errors import NotEnoughData
from shared.logging import get_logger
from trainer.service.commands import new_version
from trainer.service.job import TrainingJob, TrainingOrder, TrainingPlan
from trainer.service.leadership import Surroundings, put_in_order

log = get_logger(__name__)


def train_once(surroundings: Surroundings, *, plan: TrainingPlan, force: bool, stop: threading.Event) -> bool:
    """Train if there is no model yet, or if forced; True when there is one to serve afterwards.

    Offsets stay as they are, so a running system counts its interactions again. Raises NotEnoughData without
    assets; another trainer at work is False.
    """
    if not surroundings.lease.acquire():
        log.error("trainer.busy", reason="another trainer has the lease")
        return False
    try:
        put_in_order(surroundings)
        if surroundings.releases.servable() is not None and not force:
            log.info("training.not_needed")
            return True
        if not surroundings.store.has_assets():
            raise NotEnoughData("there is no asset to recommend: load the reference tables first")
        job = TrainingJob(
            plan,
            store=surroundings.store,
            artifacts=surroundings.artifacts,
            releases=surroundings.releases,
            stop=stop,
        )
        outcome = job.run(TrainingOrder(new_version(), "command line", {}))
        surroundings.releases.publish_pending()
        return outcome.kind in {"promoted", "stored"} and surroundings.releases.servable() is not None
    finally:
        surroundings.lease.release()
