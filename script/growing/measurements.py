"""What is measured of one size, each in a process of its own so that its peak memory is its own.

    python -m script.growing.measurements PART FOLDER    prints one JSON object

FOLDER is of one size and holds what an earlier part left. Seconds are those of the processor, which other load on the
machine changes least; elapsed_seconds are those of the clock, and contain the database's work.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from script.growing.invented import invent_training_data
from script.growing.months import measure_months
from script.growing.running import measure_answers, measure_consumer_group
from script.local.service_processes import REPOSITORY
from shared.artifacts.publication import FileArtifacts
from shared.postgres.engine import build_engine
from shared.postgres.migrations.upgrade import upgrade_database
from shared.recommender.configuration import ModelConfiguration, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend
from shared.recommender.training_data import TrainingData
from shared.recommender.training_rows import build_training_data
from shared.recommender.types import CustomerHistory
from trainer.service.store import PostgresTrainerStore
from trainer.service.training_rows import digest_rows

ALGORITHM = "ease_next_purchase"
ONCE = ("workers", "months")  # measured with the smallest size only
SERVED_CUSTOMERS, ONE_BY_ONE = 1_000, 50
Figures = dict[str, Any]


def measurement_names() -> list[str]:
    """Return the measurements in the order in which they need each other."""
    fits = [f"fit {signal.name}" for signal in _configuration().signals()]
    return ["load", "read", "data", *fits, "model", "serve", "answer", *ONCE]


def load(folder: Path) -> Figures:
    """FAR-Trans/script.py, the whole command; the peak is at least that of this process."""
    url = os.environ["DATABASE_URL"]
    upgrade_database(url)
    command = [sys.executable, str(REPOSITORY / "FAR-Trans/script.py"), "--data", str(folder)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    elapsed = time.perf_counter() - started
    return {"seconds": seconds, "elapsed_seconds": elapsed, "peak_mb": used.ru_maxrss * 1024 / 1e6}


def read(folder: Path) -> Figures:
    """Everything that a training reads, the arrays that are made of it, and its digest."""
    engine = build_engine(os.environ["DATABASE_URL"], application_name="growth")
    store = PostgresTrainerStore(engine, cluster_id="growth", consumer_group="growth")
    started = time.perf_counter()
    rows, seconds = _timed(lambda: store.fetch_training_rows().rows)
    elapsed = time.perf_counter() - started
    _, build_seconds = _timed(lambda: build_training_data(rows, now=datetime.now(UTC)))
    peak_mb = _peak_mb()
    _, digest_seconds = _timed(lambda: digest_rows(rows))
    return {
        "seconds": seconds,
        "elapsed_seconds": elapsed,
        "build_seconds": build_seconds,
        "digest_seconds": digest_seconds,
        "peak_mb": peak_mb,
    }


def data(folder: Path) -> Figures:
    """Invent the training data of the size that the folder is named after: SCALE-ASSETS."""
    scale, _, assets = folder.name.partition("-")
    invented = invent_training_data(float(scale), assets=int(assets))
    (folder / "data.pickle").write_bytes(pickle.dumps(invented))
    return {"purchases": len(invented.purchases.day), "close_prices": len(invented.close_prices.day)}


def fit(folder: Path, name: str) -> Figures:
    """One signal. peak_mb: of the process; data_mb: before the fit."""
    training = _read_data(folder)
    data_mb = _peak_mb()
    signal = next(signal for signal in _configuration().signals() if signal.name == name)
    arrays, seconds = _timed(lambda: signal.fit(training, random_state=7))
    size_mb = sum(array.nbytes for array in arrays.values()) / 1e6
    return {"seconds": seconds, "peak_mb": _peak_mb(), "data_mb": data_mb, "size_mb": size_mb}


def model(folder: Path) -> Figures:
    """All signals, and the artifact of them."""
    training = _read_data(folder)
    fitted, seconds = _timed(lambda: fit_model(training, _configuration(), version="v1"))
    peak_mb, artifacts = _peak_mb(), FileArtifacts(folder / "models", largest_artifact_bytes=2**34)
    if "v1" not in artifacts.versions():
        artifacts.save_model(fitted)
    artifacts.activate("v1")
    count = len(training.customers)
    chosen = np.random.default_rng(7).choice(count, min(SERVED_CUSTOMERS, count), replace=False)
    (folder / "histories.pickle").write_bytes(pickle.dumps((training.histories(sorted(chosen.tolist())), training.now)))
    size_mb = (folder / "models/versions/v1/arrays.npz").stat().st_size / 1e6
    return {"seconds": seconds, "peak_mb": peak_mb, "size_mb": size_mb}


def serve(folder: Path) -> Figures:
    """What a worker does with a model: take it, score, and take the next one while the first is served."""
    histories: list[CustomerHistory]
    histories, now = _read_pickle(folder / "histories.pickle")
    start_mb, artifacts = _peak_mb(), FileArtifacts(folder / "models", largest_artifact_bytes=2**34)
    pointer = artifacts.read_pointer()
    assert pointer is not None
    served: Model
    served, swap_seconds = _timed(lambda: artifacts.load_model(pointer))
    recommend(served, histories[:1], now=now)  # what is made once for a model
    one = [_timed(partial(recommend, served, [history], now=now))[1] for history in histories[:ONE_BY_ONE]]
    _, batch_seconds = _timed(lambda: recommend(served, histories, now=now))
    artifacts.load_model(pointer)
    return {
        "swap_seconds": swap_seconds,
        "one_customer_seconds": median(one),
        "seconds": batch_seconds / len(histories),
        "peak_mb": _peak_mb(),
        "start_mb": start_mb,
    }


def measure(part: str, folder: Path) -> Figures:
    """Return the figures of one part, rounded."""
    kind, _, name = part.partition(" ")
    measurements: dict[str, Callable[[Path], Figures]] = {"load": load, "read": read, "data": data}
    measurements |= {"model": model, "serve": serve, "answer": measure_answers}
    measurements |= {"workers": measure_consumer_group, "months": measure_months}
    figures = fit(folder, name) if kind == "fit" else measurements[kind](folder)
    return {name: value if isinstance(value, int) else float(f"{value:.4g}") for name, value in figures.items()}


def _configuration() -> ModelConfiguration:
    return build_configuration(ALGORITHM)


def _read_data(folder: Path) -> TrainingData:
    data: TrainingData = _read_pickle(folder / "data.pickle")
    return data


def _read_pickle(path: Path) -> Any:
    return pickle.loads(path.read_bytes())  # noqa: S301 - an earlier part of the same run wrote it


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def _peak_mb() -> float:
    """Return the peak of this program; ru_maxrss would contain that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
