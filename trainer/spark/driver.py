"""The process that talks to Spark: `SparkEngine` starts it for a training, with the descriptor of a connection.

A process of its own, so that a training can end whatever Spark does, and its memory is gone with the training.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import describe_error
from shared.recommender.customer_sums import SummedSignal, Sums
from shared.recommender.signal import Arrays
from shared.recommender.training_data import TrainingData
from trainer.spark import partial_sums
from trainer.spark.chunks import SCHEMA
from trainer.spark.java import find_java_home

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPOSITORY = Path(__file__).resolve().parents[2]
_ON_ONE_MACHINE = ("local", "local-cluster")
_WHOLE_FILE = str(1 << 27)  # with this cost of opening, each file is a partition of its own, as far as it is no larger
_OPTIONS = {
    "spark.sql.adaptive.enabled": "false",  # the plans are simple; compiling and observing them takes longer than they
    "spark.sql.codegen.wholeStage": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.files.openCostInBytes": _WHOLE_FILE,
    "spark.sql.files.maxPartitionBytes": _WHOLE_FILE,
}
_QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # only the quick compiler: most time is spent in Python
_ONE_MACHINE_OPTIONS = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": _QUICK_JAVA,
    "spark.executor.extraJavaOptions": _QUICK_JAVA,
}


@dataclass(frozen=True)
class Start:
    """The first request: connect to a master. folder: for files of this training, on this machine alone."""

    master: str
    folder: Path
    json_logs: bool


@dataclass(frozen=True)
class Fit:
    """Fit signals on the chunks in a folder that every executor sees. shell: what the chunks have in common."""

    signals: Sequence[SummedSignal]
    folder: Path
    shell: TrainingData


def main(descriptor: int) -> int:
    """Answer requests until the trainer closes the connection: (True, result) or (False, the reason)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer decides
    threading.Thread(target=_end_with_trainer, daemon=True).start()
    connection, session = Connection(descriptor), None
    while True:
        try:
            request = connection.recv()
        except EOFError:
            break
        try:
            if isinstance(request, Start):
                session, answer = open_session(request), None
            else:
                answer = fit(session, request)
        except Exception as error:
            traceback.print_exc()
            connection.send((False, describe_error(error)))
        else:
            connection.send((True, answer))
    if session is not None:
        session.stop()
    return 0


def open_session(start: Start) -> SparkSession:
    """Connect to the master with our code on every executor; what is not set here, spark-defaults.conf may set."""
    from pyspark.sql import SparkSession

    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")  # we hand it Arrow, not pandas
    if (java_home := find_java_home(start.folder)) is not None:
        os.environ["JAVA_HOME"] = str(java_home)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    options = {**_OPTIONS, "spark.log.structuredLogging.enabled": str(start.json_logs).lower()}
    if start.master.split("[")[0] in _ON_ONE_MACHINE:
        options |= _ONE_MACHINE_OPTIONS
    session = SparkSession.Builder().master(start.master).appName("trainer").config(map=options).getOrCreate()
    session.sparkContext.addPyFile(str(_pack_code(start.folder / "trainer-code.zip")))
    return session


def fit(session: SparkSession, request: Fit) -> list[Arrays]:
    """Return the arrays of each signal: its sums are computed by Spark, what follows from them here."""
    signals, asset_count = request.signals, len(request.shell.id_map)
    counted = [signal for signal in signals if _counts(signal)]
    counts = iter(_sum(session, request, counted, None)) if counted else iter(())
    prepared = [signal.prepare(next(counts) if _counts(signal) else {}) for signal in signals]
    sums = _sum(session, request, signals, prepared)
    return [
        signal.fit_sums(of_signal, arrays, asset_count=asset_count)
        for signal, of_signal, arrays in zip(signals, sums, prepared, strict=True)
    ]


def _sum(
    session: SparkSession, request: Fit, signals: Sequence[SummedSignal], prepared: Sequence[Arrays] | None
) -> list[Sums]:
    """Each chunk becomes blocks of sums; each block is added by one task, in the order of the chunks."""
    context = session.sparkContext
    task = context.broadcast((signals, prepared, request.shell))
    try:
        rows = session.read.schema(SCHEMA).parquet(str(request.folder))
        blocks = rows.mapInArrow(partial_sums.summing(task), partial_sums.DDL)
        sorted_blocks = blocks.repartition(context.defaultParallelism, *partial_sums.KEY).sortWithinPartitions(
            *partial_sums.KEY, "chunk"
        )
        added = sorted_blocks.mapInArrow(partial_sums.add_blocks, partial_sums.DDL).toArrow()
    finally:
        task.destroy()
    return partial_sums.from_blocks(added, signal_count=len(signals))


def _counts(signal: SummedSignal) -> bool:
    return type(signal).count_customers is not SummedSignal.count_customers


def _pack_code(path: Path) -> Path:
    """Write our packages as one archive: executors then run the code of this trainer, whatever they have installed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in ("shared", "trainer"):
            for file in sorted((REPOSITORY / package).rglob("*.py")):
                archive.write(file, file.relative_to(REPOSITORY))
    return path


def _end_with_trainer() -> None:
    """End this process, and Java with it, when the trainer has ended: standard input is closed then."""
    while os.read(0, 1):
        pass
    os._exit(1)
