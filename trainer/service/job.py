"""One training from its trigger to the pointer, step by step; a crash after any step can be repaired."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as library_version
from typing import Any, TypeVar

import numpy as np

from shared.backoff import retry_until
from shared.errors import ArtifactInvalid, StaleOffsets, Stopped, describe_error
from shared.events import INTERACTIONS_RECORDED, TRANSACTIONS_RECORDED
from shared.logging import get_logger
from shared.ports import Partition, Pointer
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.fitting import fit_model
from shared.recommender.model import Model
from shared.recommender.training_data import TrainingData
from shared.recommender.training_rows import build_training_data
from trainer.evaluation.promotion import PromotionDecision, decide_promotion, find_problems, find_shortfalls
from trainer.evaluation.selection import Evaluation, SelectionRules, evaluate_candidates
from trainer.service.model_registry import Champion, ModelRegistry
from trainer.service.ports import (
    ArtifactStore,
    FinishedTraining,
    Outcome,
    OutcomeKind,
    TrainerStore,
    TrainingOrder,
    TrainingSnapshot,
)

SAFETY_SAMPLE = 500
CANCELLED = "cancelled on request"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "rectools-lightfm")

Result = TypeVar("Result")
log = get_logger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """What every training of this process does."""

    candidates: tuple[ModelConfiguration, ...]
    selection: SelectionRules
    margin: float
    seed: int


@dataclass(frozen=True)
class Challenger:
    """A fitted and saved model, its evaluation, and what the safety check found."""

    model: Model
    manifest_sha256: str
    evaluation: Evaluation
    problems: Sequence[str]


class TrainingJob:
    """Runs one order at a time; `stop` ends the one that runs at its next step."""

    def __init__(
        self,
        plan: TrainingPlan,
        *,
        store: TrainerStore,
        artifacts: ArtifactStore,
        registry: ModelRegistry,
        stop: threading.Event,
    ) -> None:
        self._plan = plan
        self._store = store
        self._artifacts = artifacts
        self._registry = registry
        self._stop = stop
        self._figures: dict[tuple[str, str], float] = {}  # at earlier cutoffs, for the next training

    def run(self, order: TrainingOrder) -> Outcome:
        """Fit, evaluate, store and perhaps promote a model; never raises."""
        began = time.monotonic()
        log.info("training.started", version=order.version, triggered_by=order.triggered_by)
        covered: Mapping[Partition, int] = {}
        try:
            kind, reason, covered = self._train(order)
        except (Stopped, StaleOffsets) as error:
            kind, reason = "abandoned", str(error)
            if order.cancelled.is_set():
                reason = CANCELLED
                self._fail(order.version, reason)
        except Exception as error:  # the next training may succeed, and the loop must go on
            log.exception("training.crashed", version=order.version)
            kind, reason = self._fail(order.version, describe_error(error))
        seconds = time.monotonic() - began
        log.info("training.finished", version=order.version, outcome=kind, reason=reason, seconds=round(seconds, 2))
        return Outcome(kind, reason, seconds, covered)

    def _train(self, order: TrainingOrder) -> tuple[OutcomeKind, str, Mapping[Partition, int]]:
        self._retry(lambda: self._store.start_training(order.version, triggered_by=order.triggered_by))
        self._progress(order, "reading")
        snapshot = self._retry(self._store.fetch_training_rows)
        if snapshot.rows.ignored:
            log.warning("training.rows_ignored", version=order.version, **snapshot.rows.ignored)
        covered = covered_offsets(snapshot, order.uncovered_from)
        champion = self._retry(self._registry.fetch_champion)
        challenger = self._build_challenger(order, snapshot, champion)
        decision = self._retry(lambda: self._conclude(order, challenger, champion, covered))
        event = "model.promoted" if decision.promoted else "model.not_promoted"
        log.info(
            event, version=order.version, algorithm=challenger.model.configuration.algorithm, reason=decision.reason
        )
        return ("promoted" if decision.promoted else "stored"), decision.reason, covered

    def _build_challenger(self, order: TrainingOrder, snapshot: TrainingSnapshot, champion: Champion) -> Challenger:
        data = build_training_data(snapshot.rows, now=datetime.now(UTC))
        evaluation = evaluate_candidates(
            data,
            self._plan.candidates,
            champion=champion.configuration,
            rules=self._plan.selection,
            progress=lambda step: self._progress(order, step),
            figures=self._figures,
        )
        self._progress(order, f"fitting {evaluation.best.algorithm}")
        metadata = _metadata(data, evaluation, snapshot.worker_offsets)
        model = fit_model(data, evaluation.best, version=order.version, metadata=metadata)
        self._progress(order, "saving")
        digest = self._artifacts.save_model(model)
        self._progress(order, "checking")
        problems = self._find_problems(data, Pointer(1, order.version, digest))
        return Challenger(model, digest, evaluation, problems)

    def _conclude(
        self, order: TrainingOrder, challenger: Challenger, champion: Champion, covered: Mapping[Partition, int]
    ) -> PromotionDecision:
        """Decide and store the decision while no other thread can move the pointer; raises RegistryBusy."""
        with self._registry.exclusively():
            self._check_wanted(order)
            decision = self._decide(challenger, champion)
            finished = _finished(challenger, decision, covered)
            problem = self._retry(lambda: self._registry.finish(finished))
            return PromotionDecision(False, problem) if problem else decision

    def _decide(self, challenger: Challenger, champion: Champion) -> PromotionDecision:
        pointer = self._registry.current()
        if (pointer.version if pointer else None) != champion.version:
            return PromotionDecision(False, "another version was activated by hand meanwhile")
        evaluation, watermark = challenger.evaluation, challenger.model.metadata["watermark"]
        return decide_promotion(
            challenger=evaluation.metrics.ndcg_at_10 if evaluation.metrics else None,
            champion=evaluation.champion.ndcg_at_10 if evaluation.champion else None,
            standard_error=evaluation.standard_error,
            least_margin=self._plan.margin,
            problems=challenger.problems,
            shortfalls=find_shortfalls(watermark, champion.watermark) if champion.is_served else None,
        )

    def _find_problems(self, data: TrainingData, pointer: Pointer) -> list[str]:
        """Load the artifact as a worker does and check its lists for a sample of customers."""
        try:
            model = self._artifacts.load_model(pointer)
        except ArtifactInvalid as error:
            return [f"the artifact does not load: {error}"]
        size = min(SAFETY_SAMPLE, len(data.customers))
        chosen = np.random.default_rng(self._plan.seed).choice(len(data.customers), size, replace=False)
        histories = data.histories(sorted(chosen.tolist()))
        return find_problems(model, histories, assets=data.assets, now=data.now)

    def _progress(self, order: TrainingOrder, step: str) -> None:
        """Store the next step; raises Stopped or StaleOffsets when the training must end here."""
        self._check_wanted(order)
        log.info("training.progress", version=order.version, step=step)
        self._retry(lambda: self._store.store_progress(order.version, step))

    def _check_wanted(self, order: TrainingOrder) -> None:
        if self._stop.is_set() or order.cancelled.is_set():
            raise Stopped("the trainer stops, or the training was cancelled")

    def _fail(self, version: str, reason: str) -> tuple[OutcomeKind, str]:
        try:
            self._retry(lambda: self._store.fail_training(version, reason=reason))
        except Stopped:
            return "abandoned", reason
        return "failed", reason

    def _retry(self, operation: Callable[[], Result]) -> Result:
        return retry_until(self._stop, operation, log_event="training.waiting")


class TrainingThread:
    """Runs orders in a daemon thread: NumPy, SciPy and LightFM let the loop run, and a fit keeps no process alive."""

    def __init__(self, run: Callable[[TrainingOrder], Outcome]) -> None:
        self._run = run
        self._thread: threading.Thread | None = None
        self._outcome: Outcome | None = None

    def start(self, order: TrainingOrder) -> None:
        """Start a training; raises RuntimeError while another one runs."""
        if self.is_busy():
            raise RuntimeError("a training runs already")
        self._thread = threading.Thread(target=self._work, args=(order,), name="training", daemon=True)
        self._thread.start()

    def is_busy(self) -> bool:
        """Return whether a training runs, or its outcome is not taken yet."""
        return self._thread is not None

    def take_outcome(self) -> Outcome | None:
        """Return how the training ended, once."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread.join()
        outcome, self._outcome, self._thread = self._outcome, None, None
        return outcome

    def join(self, timeout_seconds: float) -> None:
        """Wait for the training, at most this long."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _work(self, order: TrainingOrder) -> None:
        began = time.monotonic()
        try:
            self._outcome = self._run(order)
        except Exception as error:  # without an outcome the next training would start without a delay
            log.exception("training.crashed", version=order.version)
            self._outcome = Outcome("failed", describe_error(error), time.monotonic() - began)


def covered_offsets(snapshot: TrainingSnapshot, uncovered_from: Mapping[Partition, int]) -> dict[Partition, int]:
    """Return the offsets up to which the rows contain every interaction, where they go beyond those covered before."""
    read = snapshot.worker_offsets
    return {p: read[p] for p, offset in uncovered_from.items() if read.get(p, offset) > offset}


def _metadata(data: TrainingData, evaluation: Evaluation, worker_offsets: Mapping[Partition, int]) -> dict[str, Any]:
    """Return what the manifest contains besides the description of the arrays."""
    return {
        "metrics": evaluation.to_json(),
        "watermark": {
            "as_of": data.as_of.isoformat(),
            "customers": len(data.customers),
            "assets": len(data.assets),
            "purchases": len(data.purchases.day),
            "close_prices": len(data.close_prices.day),
            "interactions": len(data.interactions.occurred_at),
            "interaction_offsets": _offsets_of(INTERACTIONS_RECORDED, worker_offsets),
            "transaction_offsets": _offsets_of(TRANSACTIONS_RECORDED, worker_offsets),
        },
        "libraries": {"python": platform.python_version(), **{name: _library_version(name) for name in LIBRARIES}},
    }


def _library_version(name: str) -> str | None:
    try:
        return library_version(name)
    except PackageNotFoundError:
        return None


def _offsets_of(topic: str, offsets: Mapping[Partition, int]) -> dict[str, int]:
    return {str(number): offset for (name, number), offset in sorted(offsets.items()) if name == topic}


def _finished(
    challenger: Challenger, decision: PromotionDecision, covered: Mapping[Partition, int]
) -> FinishedTraining:
    model, champion = challenger.model, challenger.evaluation.champion
    return FinishedTraining(
        version=model.version,
        status="promoted" if decision.promoted else "stored",
        reason=decision.reason,
        algorithm=model.configuration.algorithm,
        manifest_sha256=challenger.manifest_sha256,
        metrics={**model.metadata["metrics"], "signals": model.metadata["signals"]},
        champion_metrics=champion.to_json() if champion else None,
        configuration=model.configuration.to_json(),
        watermark=model.metadata["watermark"],
        next_offsets=covered,
    )
