"""The served model: reads the pointer file between batches, loads and tests the model it names, and swaps to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from shared.backoff import delay_seconds
from shared.errors import ArtifactInvalid, describe_error
from shared.logging import get_logger
from shared.ports import ArtifactReader, Pointer
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend
from shared.recommender.types import Customer, CustomerHistory, InvestmentCapacity, RiskLevel
from worker.metrics import WorkerMetrics

log = get_logger(__name__)

_FIRST_RETRY_SECONDS = 1.0
_MOST_RETRY_SECONDS = 60.0
_SMOKE_K = 10


class ModelSlot:
    """Holds the served model, and keeps it whatever happens to the models volume."""

    def __init__(
        self,
        reader: ArtifactReader,
        *,
        poll_seconds: float,
        metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self._clock = clock
        self._model: Model | None = None
        self._served: Pointer | None = None
        self._pointer: Pointer | None = None
        self._refused: Pointer | None = None
        self._failures = 0
        self._read_at = -float("inf")
        self._retry_at = -float("inf")

    @property
    def model(self) -> Model | None:
        """The served model, None before the first one."""
        return self._model

    @property
    def sequence(self) -> int:
        """The sequence of the served pointer, 0 before the first one."""
        return self._served.sequence if self._served else 0

    def refresh(self) -> bool:
        """Read the pointer, once every `poll_seconds`, and serve the model it names; return whether the model changed.

        Whatever fails, the old model stays; a pointer that was refused is tried again after a back-off.
        """
        now = self._clock()
        if now < self._read_at:
            return False
        self._read_at, self._pointer = now + self._poll_seconds, None
        try:
            return self._follow_pointer(now)
        except Exception as error:
            self._refuse(error)
            return False

    def _follow_pointer(self, now: float) -> bool:
        pointer = self._pointer = self._reader.read_pointer()
        is_waiting = pointer == self._refused and now < self._retry_at
        if pointer is None or pointer == self._served or is_waiting:
            return False
        if pointer.sequence <= self.sequence:
            raise ArtifactInvalid(f"sequence {pointer.sequence} is not after {self.sequence}, which is served")
        model = self._reader.load_model(pointer)
        smoke_test(model)
        self._swap(pointer, model)
        return True

    def _refuse(self, error: Exception) -> None:
        self._metrics.model_swaps.labels("failed").inc()
        self._failures = self._failures + 1 if self._pointer == self._refused else 1
        self._refused = self._pointer
        delay = delay_seconds(self._failures, first_seconds=_FIRST_RETRY_SECONDS, most_seconds=_MOST_RETRY_SECONDS)
        self._retry_at = self._clock() + delay
        version = self._pointer.version if self._pointer else None
        kept = self._served.version if self._served else None
        log.error("model.refused", version=version, reason=describe_error(error), kept=kept)

    def _swap(self, pointer: Pointer, model: Model) -> None:
        replaced = self._served.version if self._served else None
        self._model, self._served, self._refused, self._failures = model, pointer, None, 0
        self._metrics.model_swaps.labels("ok").inc()
        self._metrics.model_sequence.set(pointer.sequence)
        self._metrics.model.info({"version": pointer.version, "algorithm": model.configuration.algorithm})
        log.info("model.swapped", version=pointer.version, sequence=pointer.sequence, replaced=replaced)


def smoke_test(model: Model) -> None:
    """Score a customer without history and one with an asset; raises ArtifactInvalid when the scores are unusable."""
    customer = Customer("smoke-test", RiskLevel.AGGRESSIVE, InvestmentCapacity.FROM_30K_TO_80K)
    histories = [CustomerHistory(customer), CustomerHistory(customer, owned=model.id_map.isins[:1])]
    rankings = recommend(model, histories, k=_SMOKE_K, now=datetime.now(UTC))
    if len(rankings) != len(histories) or not rankings[0].assets:
        raise ArtifactInvalid("the model recommends nothing to a smoke-test customer")
    scores = [asset.score for ranking in rankings for asset in ranking.assets]
    if not all(-1e6 < score < 1e6 for score in scores):  # also false for NaN
        raise ArtifactInvalid("the model gives scores that are not finite")
