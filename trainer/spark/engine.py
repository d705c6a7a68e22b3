"""Fit signals with Apache Spark: their sums over customers are computed by executors, the rest here as ever.

One engine serves one training. Spark runs behind a process of its own (`trainer.spark.driver`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from shared.errors import TrainingEngineFailed
from shared.logging import get_logger
from shared.recommender.customer_sums import CHUNK_CUSTOMERS, SummedSignal
from shared.recommender.signal import Arrays, Signal
from shared.recommender.training_data import TrainingData

POLL_SECONDS = 0.2
STOP_TIMEOUT_SECONDS = 10.0
LEFTOVER_SECONDS = 86_400.0  # a folder of a training that a crash left behind is removed after a day
FOLDER_PREFIX = "spark-training-"

log = get_logger(__name__)


@dataclass(frozen=True)
class SparkOptions:
    """How Spark is used. shared_folder: trainer and executors see it under the same path; None on one machine."""

    master: str
    shared_folder: Path | None = None
    timeout_seconds: float = 600.0  # of the start, and of the fits on one set of data
    json_logs: bool = False
    chunk_customers: int = CHUNK_CUSTOMERS


class SparkEngine:
    """Fits signals for one training; `check` raises when the training must end."""

    def __init__(self, options: SparkOptions, *, folder: Path, check: Callable[[], None]) -> None:
        self._options = options
        self._folder = folder
        self._check = check
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._fits = 0

    def fit_signals(self, signals: Sequence[Signal], data: TrainingData, *, random_state: int) -> list[Arrays]:
        """Return the arrays of each signal. Raises TrainingEngineFailed, and what `check` raises."""
        summed = [signal for signal in signals if isinstance(signal, SummedSignal) and data.customers]
        arrays = dict(zip(map(id, summed), self._fit(summed, data) if summed else [], strict=True))
        return [
            arrays[id(signal)] if id(signal) in arrays else signal.fit(data, random_state=random_state)
            for signal in signals
        ]

    def close(self) -> None:
        """End Spark, gently and then by force."""
        if self._process is None or self._connection is None:
            return
        self._connection.close()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = self._connection = None

    def kill(self) -> None:
        """End Spark now; a job that runs is given up."""
        if self._process is not None:
            self._process.kill()

    def _fit(self, signals: Sequence[SummedSignal], data: TrainingData) -> list[Arrays]:
        from trainer.spark.chunks import without_rows, write_chunks
        from trainer.spark.driver import Fit

        began = time.monotonic()
        self._start()
        self._fits += 1
        folder = self._folder / f"rows-{self._fits}"
        folder.mkdir(mode=0o755)
        try:
            written = write_chunks(data, folder, chunk_customers=self._options.chunk_customers)
            arrays: list[Arrays] = self._ask(Fit(signals, folder, without_rows(data)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = round(time.monotonic() - began, 2)
        log.info("spark.fitted", signals=len(signals), customers=len(data.customers), bytes=written, seconds=seconds)
        return arrays

    def _start(self) -> None:
        from trainer.spark.driver import Start

        if self._process is not None:
            return
        began = time.monotonic()
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", "trainer.spark", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()])
        self._ask(Start(self._options.master, self._folder, self._options.json_logs))
        log.info("spark.started", master=self._options.master, seconds=round(time.monotonic() - began, 2))

    def _ask(self, request: Any) -> Any:
        """Return the answer of the driver; gives up when the time is over or the training must end."""
        assert self._connection is not None
        master, limit = self._options.master, self._options.timeout_seconds
        end = time.monotonic() + limit
        try:
            self._connection.send(request)
            while not self._connection.poll(POLL_SECONDS):
                self._check()
                if time.monotonic() > end:
                    raise TrainingEngineFailed(
                        f"Spark at {master} has no result after {limit:g} s: are there executors with free cores?"
                    )
            succeeded, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise TrainingEngineFailed(f"the process that talks to Spark at {master} has ended") from error
        if not succeeded:
            raise TrainingEngineFailed(f"Spark at {master}: {answer}")
        return answer


@contextmanager
def open_spark_engine(options: SparkOptions, check: Callable[[], None]) -> Iterator[SparkEngine]:
    """Return an engine for one training: Spark is started by its first fit, and ended with the training."""
    if options.shared_folder is not None:
        remove_leftovers(options.shared_folder)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=options.shared_folder))
    engine = SparkEngine(options, folder=folder, check=check)
    try:
        folder.chmod(0o755)  # executors may run as somebody else
        yield engine
    except BaseException:
        engine.kill()
        raise
    finally:
        engine.close()
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the folders of trainings that ended without removing them, more than a day ago."""
    for leftover in folder.glob(f"{FOLDER_PREFIX}*"):
        if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
            log.info("spark.leftover_removed", folder=str(leftover))
            shutil.rmtree(leftover, ignore_errors=True)
