"""One training from its trigger to the pointer, step by step; a crash after any step can be repaired."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import numpy as np

from shared.backoff import retry_until
from shared.errors import ArtifactInvalid, StaleOffsets, Stopped, TrainingEngineFailed, describe_error
from shared.logging import get_logger
from shared.ports import Partition, Pointer
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.fitting import fit_model
from shared.recommender.model import Model
from shared.recommender.signal import FittingEngine
from shared.recommender.training_data import TrainingData
from shared.recommender.training_rows import build_training_data
from trainer.evaluation.promotion import (
    Margins,
    PromotionDecision,
    decide_promotion,
    find_problems,
    find_shortfalls,
)
from trainer.evaluation.selection import Evaluation, SelectionRules, evaluate_candidates
from trainer.service.model_registry import Champion, ModelRegistry
from trainer.service.ports import (
    ArtifactStore,
    Outcome,
    OutcomeKind,
    TrainerStore,
    TrainingOrder,
    TrainingSnapshot,
)
from trainer.service.training_record import DATA_DIGEST, build_finished, build_metadata

SAFETY_SAMPLE = 500
CANCELLED = "cancelled on request"

Result = TypeVar("Result")
# Opens the engine of one training, None to fit in this process; it calls the argument, which raises when the training
# must end.
OpenEngine: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[FittingEngine | None]]
log = get_logger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """What every training of this process does."""

    candidates: tuple[ModelConfiguration, ...]
    selection: SelectionRules
    margins: Margins
    seed: int


@dataclass(frozen=True)
class Challenger:
    """A fitted and saved model, its evaluation, and what the safety check found."""

    model: Model
    manifest_sha256: str
    evaluation: Evaluation
    problems: Sequence[str]


def fit_here(check: Callable[[], None]) -> AbstractContextManager[None]:
    """Open no engine: signals are fitted in this process."""
    return nullcontext()


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
        open_engine: OpenEngine = fit_here,
    ) -> None:
        self._plan = plan
        self._store = store
        self._artifacts = artifacts
        self._registry = registry
        self._stop = stop
        self._open_engine = open_engine
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
            if isinstance(error, TrainingEngineFailed):
                log.error("training.engine_failed", version=order.version, error=str(error))
            else:
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
        with self._open_engine(lambda: self._check_wanted(order)) as engine:
            data = replace(build_training_data(snapshot.rows, now=datetime.now(UTC)), engine=engine)
            challenger = self._build_challenger(order, snapshot, champion, data)
        decision = self._retry(lambda: self._conclude(order, challenger, champion, covered))
        event = "model.promoted" if decision.promoted else "model.not_promoted"
        log.info(
            event, version=order.version, algorithm=challenger.model.configuration.algorithm, reason=decision.reason
        )
        return ("promoted" if decision.promoted else "stored"), decision.reason, covered

    def _build_challenger(
        self, order: TrainingOrder, snapshot: TrainingSnapshot, champion: Champion, data: TrainingData
    ) -> Challenger:
        evaluation = evaluate_candidates(
            data,
            self._plan.candidates,
            champion=champion.configuration,
            rules=self._plan.selection,
            progress=lambda step: self._progress(order, step),
            figures=self._figures,
        )
        self._progress(order, f"fitting {evaluation.best.algorithm}")
        metadata = build_metadata(data, evaluation, snapshot)
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
            finished = build_finished(
                challenger.model,
                challenger.evaluation,
                decision=decision,
                manifest_sha256=challenger.manifest_sha256,
                covered=covered,
            )
            problem = self._retry(lambda: self._registry.finish(finished, is_redundant=decision.is_redundant))
            return PromotionDecision(False, problem) if problem else decision

    def _decide(self, challenger: Challenger, champion: Champion) -> PromotionDecision:
        pointer = self._registry.current()
        if (pointer.version if pointer else None) != champion.version:
            return PromotionDecision(False, "another version was activated by hand meanwhile")
        evaluation, watermark = challenger.evaluation, challenger.model.metadata["watermark"]
        decision = decide_promotion(
            evaluation.metrics,
            champion=evaluation.champion,
            margins=replace(self._plan.margins, standard_error=evaluation.standard_error),
            problems=challenger.problems,
            shortfalls=find_shortfalls(watermark, champion.watermark) if champion.is_served else None,
        )
        if decision.promoted and _is_same(challenger.model, champion):
            reason = f"nothing changed: {champion.version} has the same data and configuration"
            return PromotionDecision(False, reason, is_redundant=True)
        if decision.promoted and (pinned := self._registry.fetch_pinned()) is not None:
            return PromotionDecision(False, f"{pinned} is pinned; otherwise promoted: {decision.reason}")
        return decision

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


def _is_same(model: Model, champion: Champion) -> bool:
    """Return whether the served model was fitted on the same data with the same configuration."""
    known = (champion.watermark or {}).get(DATA_DIGEST) if champion.is_served else None
    same_data = known is not None and known == model.metadata["watermark"][DATA_DIGEST]
    return same_data and champion.configuration == model.configuration
