"""The model in use: looks at the pointer file between batches, checks what it names, swaps one reference."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from shared.errors import ArtifactInvalid
from shared.logging import get_logger
from shared.ports import ArtifactReader, Pointer
from shared.recommender.model import Model
from shared.recommender.types import Customer, CustomerHistory, InvestmentCapacity, RiskLevel
from worker.answers import Recommend
from worker.metrics import WorkerMetrics

log = get_logger(__name__)

_RETRY_LEAST_SECONDS = 1.0
_RETRY_MOST_SECONDS = 60.0
_SMOKE_K = 10


class ModelSlot:
    """Holds the served model. Whatever happens to the volume, the model that was loaded last is kept."""

    def __init__(
        self,
        reader: ArtifactReader,
        *,
        recommend: Recommend,
        poll_seconds: float,
        metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._recommend = recommend
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self._clock = clock
        self._model: Model | None = None
        self._served: Pointer | None = None
        self._looking_at: Pointer | None = None
        self._refused: tuple[Pointer | None, str] | None = None
        self._failures = 0
        self._look_at = -float("inf")
        self._retry_at = -float("inf")

    @property
    def model(self) -> Model | None:
        """The served model, None while there was never one."""
        return self._model

    @property
    def sequence(self) -> int:
        """The served pointer's sequence, 0 while there is none."""
        return self._served.sequence if self._served else 0

    def refresh(self) -> bool:
        """Look at the pointer, once every `poll_seconds`, and serve what it names; return whether the model changed.

        Any exception means that the old model is kept; hand it to `refuse`.
        """
        now = self._clock()
        if now < self._look_at:
            return False
        self._look_at = now + self._poll_seconds
        self._looking_at = None
        pointer = self._looking_at = self._reader.read_pointer()
        if pointer is None or pointer == self._served or self._is_waiting(pointer, now):
            return False
        if pointer.sequence <= self.sequence:
            raise ArtifactInvalid(f"sequence {pointer.sequence} is not after {self.sequence}, which is served")
        model = self._reader.load_model(pointer)
        smoke_test(model, recommend=self._recommend)
        self._swap(pointer, model)
        return True

    def refuse(self, error: Exception) -> None:
        """Note why the pointer was not followed: one log line per bad pointer, and a pause before the next try."""
        self._metrics.model_swaps.labels("failed").inc()
        refused = (self._looking_at, f"{type(error).__name__}: {error}")
        if self._refused is None or self._refused[0] != refused[0]:
            self._failures = 0
        if refused != self._refused:
            self._refused = refused
            version = self._looking_at.version if self._looking_at else None
            kept = self._served.version if self._served else None
            log.error("model.refused", version=version, reason=refused[1], kept=kept)
        self._failures += 1
        pause_seconds = min(_RETRY_MOST_SECONDS, _RETRY_LEAST_SECONDS * 2.0 ** min(self._failures - 1, 10))
        self._retry_at = self._clock() + pause_seconds

    def _is_waiting(self, pointer: Pointer, now: float) -> bool:
        return self._refused is not None and self._refused[0] == pointer and now < self._retry_at

    def _swap(self, pointer: Pointer, model: Model) -> None:
        replaced = self._served.version if self._served else None
        self._model, self._served, self._refused, self._failures = model, pointer, None, 0
        self._metrics.model_swaps.labels("ok").inc()
        self._metrics.model_sequence.set(pointer.sequence)
        self._metrics.model.info({"version": pointer.version, "algorithm": model.configuration.algorithm})
        log.info("model.swapped", version=pointer.version, sequence=pointer.sequence, replaced=replaced)


def smoke_test(model: Model, *, recommend: Recommend) -> None:
    """Score a customer without history and one who owns an asset; raises ArtifactInvalid when that gives no list."""
    customer = Customer("smoke-test", RiskLevel.AGGRESSIVE, InvestmentCapacity.FROM_30K_TO_80K)
    histories = [CustomerHistory(customer), CustomerHistory(customer, owned=model.id_map.isins[:1])]
    rankings = recommend(
        model,
        histories,
        k=_SMOKE_K,
        now=datetime.now(UTC),
        weights=[None] * len(histories),
    )
    if len(rankings) != len(histories) or not rankings[0].assets:
        raise ArtifactInvalid("the model recommends nothing to a smoke-test customer")
    scores = [asset.score for ranking in rankings for asset in ranking.assets]
    if not all(-1e6 < score < 1e6 for score in scores):  # false for what is not a number, too
        raise ArtifactInvalid("the model gives scores that are not finite")
