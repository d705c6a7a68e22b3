"""Signals fitted by Apache Spark: on a cluster of two executors, and by a trainer on `local[2]`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed (make spark)")
pytest.importorskip("pyarrow", reason="the extra `spark` is not installed (make spark)")

from script.local.service_processes import ServiceEnvironment
from shared.artifacts.publication import FileArtifacts
from shared.errors import TrainingEngineFailed
from shared.ports import Pointer
from shared.postgres.engine import build_engine
from shared.recommender.customer_sums import fit_in_chunks
from shared.recommender.fitting import fit_model
from shared.recommender.signals.popularity import Popularity
from shared.recommender.training_rows import build_training_data
from tests.integration.trainer_process import REPOSITORY, System, postgres_store
from tests.unit.recommender.signal_laws import planted_data
from tests.unit.recommender.test_customer_sums import SIGNALS
from trainer.spark.engine import SparkOptions, open_spark_engine
from trainer.spark.java import find_java_home

TIMEOUT_SECONDS = 280.0  # a loaded machine is no finding
CHUNK_CUSTOMERS = 17


@pytest.fixture(scope="module", autouse=True)
def java(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where there is no Java that Spark supports."""
    try:
        home = find_java_home(tmp_path_factory.mktemp("java"))
    except TrainingEngineFailed as error:
        pytest.skip(str(error))
    program = str(home / "bin" / "java") if home else "java"
    told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    if int(told.split('version "')[-1].split(".")[0].strip('"') or 0) < 17:
        pytest.skip(f"Spark needs Java 17 or newer, and {program} is {told.splitlines()[0]}")


@pytest.fixture(scope="module", autouse=True)
def work_folders() -> Iterator[None]:
    """Remove what the workers of `local-cluster` leave in the installation of Spark."""
    installed = find_spec("pyspark")
    assert installed is not None
    assert installed.origin is not None
    work = Path(installed.origin).parent / "work"
    before = set(work.glob("app-*"))
    yield
    for folder in set(work.glob("app-*")) - before:
        shutil.rmtree(folder, ignore_errors=True)


def java_processes() -> set[psutil.Process]:
    """Return the Java processes that this one started, itself or through others."""
    return {one for one in psutil.Process().children(recursive=True) if one.name() == "java"}


def wait_until(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_cluster_of_two_executors_gives_the_arrays_of_a_local_fit() -> None:
    data, before = planted_data(), java_processes()
    options = SparkOptions("local-cluster[2,1,1024]", timeout_seconds=TIMEOUT_SECONDS, chunk_customers=CHUNK_CUSTOMERS)

    with open_spark_engine(options, lambda: None) as engine:
        arrays = engine.fit_signals([*SIGNALS, Popularity()], data, random_state=1)
        started = java_processes() - before

    assert len(started) == 3  # the driver and both executors
    wait_until(lambda: not any(process.is_running() for process in started))
    for signal, fitted in zip([*SIGNALS, Popularity()], arrays, strict=True):
        for name, array in signal.fit(data, random_state=1).items():
            np.testing.assert_allclose(fitted[name], array, atol=1e-6, rtol=0, err_msg=f"{signal.name}.{name}")
    for signal, fitted in zip(SIGNALS, arrays[: len(SIGNALS)], strict=True):
        for name, array in fit_in_chunks(signal, data, chunk_customers=CHUNK_CUSTOMERS).items():
            assert fitted[name].tobytes() == array.tobytes(), f"{signal.name}.{name}"


def test_a_cluster_that_cannot_be_reached_is_a_named_error_and_leaves_no_process(tmp_path: Path) -> None:
    before = java_processes()
    options = SparkOptions("spark://127.0.0.1:1", shared_folder=tmp_path, timeout_seconds=5.0)

    with (
        pytest.raises(TrainingEngineFailed, match=r"spark://127\.0\.0\.1:1"),
        open_spark_engine(options, lambda: None) as engine,
    ):
        engine.fit_signals(SIGNALS[:1], planted_data(), random_state=1)

    wait_until(lambda: java_processes() <= before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_training_on_one_machine_with_spark_promotes_the_model_of_a_local_training(system: System) -> None:
    settings = {
        "TRAINING_ENGINE": "spark",
        "SPARK_MASTER": "local[2]",
        "SPARK_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "CANDIDATE_ALGORITHMS": "ease_next_purchase",
        "CHOOSE_WEIGHTS": "false",
        "SELECTION_BUDGET_SECONDS": "0",
        "EVALUATION_WINDOW_DAYS": "730",  # few fits
    }
    place = ServiceEnvironment(system.bootstrap_servers, system.database_url, system.models, system.prefix, settings)
    command = [sys.executable, "-m", "trainer", "--once"]

    ended = subprocess.run(command, env=place.variables(), cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert "spark.fitted" in ended.stderr
    model = FileArtifacts(system.models).load_model(Pointer(**system.pointer()))
    rows = postgres_store(build_engine(system.database_url, application_name="test")).fetch_training_rows().rows
    here = fit_model(build_training_data(rows, now=datetime.now(UTC)), model.configuration, version="here")
    for name, arrays in here.signals.items():
        for key, array in arrays.items():
            np.testing.assert_allclose(model.signals[name][key], array, atol=1e-6, rtol=0, err_msg=f"{name}.{key}")
