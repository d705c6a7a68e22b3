"""One training from its trigger to the pointer, step by step; a crash after any step can be repaired."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as library_version
from typing import Any, Literal, TypeVar

import numpy as np

from shared.errors import ArtifactInvalid, StaleOffsets, describe_error
from shared.logging import get_logger
from shared.ports import Partition, Pointer
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.dataset import TrainingData
from shared.recommender.fitting import fit_model
from shared.recommender.model import Model
from shared.recommender.training_data import FinishedTraining
from shared.recommender.training_rows import build_training_data
from trainer.evaluation.promotion import PromotionDecision, decide_promotion, find_problems, find_shortfalls
from trainer.evaluation.selection import Evaluation, SelectionRules, evaluate_candidates
from trainer.service.backoff import TrainingAbandoned, patiently
from trainer.service.champion import Champion, fetch_champion
from trainer.service.model_registry import ReleaseBusy, Releases
from trainer.service.ports import TrainerArtifacts, TrainerStore

SAFETY_SAMPLE = 500
CANCELLED = "cancelled on request"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "rectools-lightfm")

Answer = TypeVar("Answer")
OutcomeKind = Literal["promoted", "stored", "failed", "abandoned"]
log = get_logger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """How every training of this process is done."""

    candidates: tuple[ModelConfiguration, ...]
    selection: SelectionRules
    margin: float
    seed: int


@dataclass(frozen=True)
class TrainingOrder:
    """What to train now: `covered` are the interaction offsets that a finished training accounts for."""

    version: str
    triggered_by: str
    covered: Mapping[Partition, int]
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    kind: OutcomeKind
    reason: str
    seconds: float


class TrainingJob:
    """Runs orders one at a time; `stop` abandons the one under way at its next step."""

    def __init__(
        self,
        plan: TrainingPlan,
        *,
        store: TrainerStore,
        artifacts: TrainerArtifacts,
        releases: Releases,
        stop: threading.Event,
    ) -> None:
        self._plan = plan
        self._store = store
        self._artifacts = artifacts
        self._releases = releases
        self._stop = stop

    def run(self, order: TrainingOrder) -> Outcome:
        """Train, judge, keep and perhaps promote; never raises: this is the edge of the training's thread."""
        began = time.monotonic()
        log.info("training.started", version=order.version, triggered_by=order.triggered_by)
        try:
            kind, reason = self._train(order)
        except (TrainingAbandoned, StaleOffsets) as error:
            kind, reason = "abandoned", str(error)
            if order.cancelled.is_set():
                reason = CANCELLED
                self._fail(order.version, reason)
        except Exception as error:  # whatever it is, the next trigger may do better; the loop must not die of it
            log.exception("training.crashed", version=order.version)
            kind, reason = self._fail(order.version, describe_error(error))
        seconds = time.monotonic() - began
        log.info("training.finished", version=order.version, outcome=kind, reason=reason, seconds=round(seconds, 2))
        return Outcome(kind, reason, seconds)

    def _train(self, order: TrainingOrder) -> tuple[OutcomeKind, str]:
        self._patiently(lambda: self._store.start_training(order.version, triggered_by=order.triggered_by))
        self._progress(order, "reading")
        rows = self._patiently(self._store.fetch_training_rows)
        if rows.ignored:
            log.warning("training.rows_ignored", version=order.version, **rows.ignored)
        data = build_training_data(rows, now=datetime.now(UTC))
        champion = self._patiently(lambda: fetch_champion(self._store, self._artifacts, self._releases))
        judgement = evaluate_candidates(
            data,
            self._plan.candidates,
            champion=champion.configuration,
            rules=self._plan.selection,
            progress=lambda step: self._progress(order, step),
        )
        self._progress(order, f"fitting {judgement.best.algorithm}")
        model = fit_model(
            data, judgement.best, version=order.version, metadata=_metadata(data, judgement, order.covered)
        )
        self._progress(order, "saving")
        digest = self._artifacts.save_model(model)
        self._progress(order, "checking")
        problems = self._find_problems(data, Pointer(1, order.version, digest))
        return self._conclude(order, model=model, digest=digest, judgement=judgement, verdict=(champion, problems))

    def _conclude(
        self,
        order: TrainingOrder,
        *,
        model: Model,
        digest: str,
        judgement: Evaluation,
        verdict: tuple[Champion, Sequence[str]],
    ) -> tuple[OutcomeKind, str]:
        """Decide and keep the decision while nobody else can move the pointer."""
        champion, problems = verdict

        def conclude() -> PromotionDecision:
            with self._releases.exclusively():
                self._check_wanted(order)
                decision = self._decide(judgement, champion, problems, model.metadata["watermark"])
                finished = _finished(order, decision, model=model, digest=digest, judgement=judgement)
                problem = self._patiently(lambda: self._releases.finish(finished))
                return PromotionDecision(False, problem) if problem else decision

        decision = self._when_free(conclude)
        event = "model.promoted" if decision.promoted else "model.not_promoted"
        log.info(event, version=order.version, algorithm=model.configuration.algorithm, reason=decision.reason)
        return ("promoted" if decision.promoted else "stored"), decision.reason

    def _decide(
        self, judgement: Evaluation, champion: Champion, problems: Sequence[str], watermark: Mapping[str, Any]
    ) -> PromotionDecision:
        pointer = self._releases.current()
        if (pointer.version if pointer else None) != champion.version:
            return PromotionDecision(False, "another version was activated by hand meanwhile")
        return decide_promotion(
            challenger=judgement.metrics.ndcg_at_10 if judgement.metrics else None,
            champion=judgement.champion.ndcg_at_10 if judgement.champion else None,
            standard_error=judgement.standard_error,
            least_margin=self._plan.margin,
            problems=problems,
            shortfalls=find_shortfalls(watermark, champion.watermark) if champion.is_served else None,
        )

    def _find_problems(self, data: TrainingData, pointer: Pointer) -> list[str]:
        """Ask the artifact, as a worker would load it, for lists of a sample of customers."""
        try:
            model = self._artifacts.load_model(pointer)
        except ArtifactInvalid as error:
            return [f"the artifact does not load: {error}"]
        size = min(SAFETY_SAMPLE, len(data.customers))
        chosen = np.random.default_rng(self._plan.seed).choice(len(data.customers), size, replace=False)
        histories = data.histories(sorted(chosen.tolist()))
        return find_problems(model, histories, assets=data.assets, now=data.now)

    def _progress(self, order: TrainingOrder, step: str) -> None:
        """Say what is done next; also the place where a training is abandoned.

        Raises TrainingAbandoned, or StaleOffsets when its row says that it ended.
        """
        self._check_wanted(order)
        log.info("training.progress", version=order.version, step=step)
        self._patiently(lambda: self._store.store_progress(order.version, step))

    def _check_wanted(self, order: TrainingOrder) -> None:
        if self._stop.is_set() or order.cancelled.is_set():
            raise TrainingAbandoned

    def _fail(self, version: str, reason: str) -> tuple[OutcomeKind, str]:
        try:
            self._patiently(lambda: self._store.fail_training(version, reason=reason))
        except TrainingAbandoned:
            return "abandoned", reason
        return "failed", reason

    def _patiently(self, operation: Callable[[], Answer]) -> Answer:
        return patiently(operation, stop=self._stop)

    def _when_free(self, operation: Callable[[], Answer]) -> Answer:
        while True:
            try:
                return operation()
            except ReleaseBusy:
                if self._stop.is_set():
                    raise TrainingAbandoned from None


def _metadata(data: TrainingData, judgement: Evaluation, covered: Mapping[Partition, int]) -> dict[str, Any]:
    """Return what the manifest says of a model besides its arrays."""
    return {
        "metrics": judgement.to_json(),
        "watermark": {
            "as_of": data.as_of.isoformat(),
            "customers": len(data.customers),
            "assets": len(data.assets),
            "purchases": len(data.purchases.day),
            "close_prices": len(data.close_prices.day),
            "interactions": len(data.interactions.occurred_at),
            "interaction_offsets": {str(partition): offset for (_, partition), offset in sorted(covered.items())},
        },
        "libraries": _library_versions(),
    }


def _library_versions() -> dict[str, str | None]:
    """Return what the fit ran on; None for a library that is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = library_version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _finished(
    order: TrainingOrder, decision: PromotionDecision, *, model: Model, digest: str, judgement: Evaluation
) -> FinishedTraining:
    return FinishedTraining(
        version=order.version,
        status="promoted" if decision.promoted else "stored",
        reason=decision.reason,
        algorithm=model.configuration.algorithm,
        manifest_sha256=digest,
        metrics=model.metadata["metrics"],
        champion_metrics=judgement.champion.to_json() if judgement.champion else None,
        configuration=model.configuration.to_json(),
        watermark=model.metadata["watermark"],
        next_offsets=order.covered,
    )
