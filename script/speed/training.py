"""The training's leg: choice, gate and fit at the size of the data, beside the fits alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from statistics import median
from typing import Any
from unittest.mock import patch

import psutil

from script.speed.legs import Leg
from script.speed.system import BenchSystem
from shared.postgres.engine import build_engine
from shared.recommender import fitting
from shared.recommender.training_data import TrainingData
from shared.recommender.training_rows import build_training_data
from trainer.evaluation.selection import evaluate_candidates
from trainer.service.store import PostgresTrainerStore
from trainer.settings import TrainerSettings

FITS_TO_TRAINING = 0.5
_USERS_OF_FIT = ("trainer.evaluation.folds.fit_model", "trainer.evaluation.rolling.fit_model")


def measure_training(system: BenchSystem, *, rounds: int) -> list[Leg]:
    """Return the legs of a first training and of one whose earlier cutoffs are known."""
    data = _read(system)
    sides: dict[str, tuple[list[float], list[float]]] = {"first": ([], []), "cutoffs known": ([], [])}
    fits: dict[str, int] = {}
    for _ in range(rounds):
        figures: dict[tuple[str, str], float] = {}
        for name, (whole, fitting_alone) in sides.items():
            seconds, seconds_in_fits, fits[name] = _train(data, figures)
            whole.append(seconds)
            fitting_alone.append(seconds_in_fits)
    peak_mb = round(psutil.Process().memory_info().rss / 1e6)
    return [
        Leg(
            f"training, choice and gate ({name})",
            "s",
            tuple(whole),
            tuple(alone),
            "the fits of the signals that it needs, alone",
            FITS_TO_TRAINING,
            more_is_better=False,
            details={"fits": fits[name], "process_mb": peak_mb, "median_s": round(median(whole), 2)},
        )
        for name, (whole, alone) in sides.items()
    ]


def _read(system: BenchSystem) -> TrainingData:
    engine = build_engine(system.database_url, application_name="bench")
    with closing(engine.raw_connection()):
        store = PostgresTrainerStore(engine, cluster_id="bench", consumer_group="bench", worker_group="bench")
        return build_training_data(store.fetch_training_rows().rows, now=datetime.now(UTC))


def _train(data: TrainingData, figures: dict[tuple[str, str], float]) -> tuple[float, float, int]:
    """Return the seconds of one training without reading and writing, those of its fits, and how many they are."""
    plan = TrainerSettings(
        kafka_bootstrap_servers="bench", database_url="postgresql://bench", models_dir="bench"
    ).training_plan()
    with _timed_fits() as (fit, times):
        started = time.perf_counter()
        champion = plan.candidates[0]
        evaluation = evaluate_candidates(
            data, plan.candidates, champion=champion, rules=plan.selection, progress=lambda _: None, figures=figures
        )
        fit(data, evaluation.best, version="bench")
        return time.perf_counter() - started, sum(times), len(times)


@contextmanager
def _timed_fits() -> Iterator[tuple[Callable[..., Any], list[float]]]:
    times: list[float] = []
    fit_model = fitting.fit_model

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        model = fit_model(*arguments, **options)
        times.append(time.perf_counter() - started)
        return model

    with patch(_USERS_OF_FIT[0], timed), patch(_USERS_OF_FIT[1], timed):
        yield timed, times
