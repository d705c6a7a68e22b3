"""Measure where fits on Spark become faster than fits in the trainer: both by turns, on invented purchases.

The signals of ease_next_purchase that are sums over customers are fitted. The ratio is Spark / local; below 1 Spark is
faster. Prints a table in Markdown. Nothing is asserted.
"""

from __future__ import annotations

import os
import runpy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("typer", "pyspark", "pyarrow")

import sys
from functools import partial

import numpy as np
import typer

from script.growing.invented import invent_training_data
from script.terminal import build_app, run_app, say
from shared.errors import TrainingEngineFailed
from shared.recommender.configuration import build_configuration
from shared.recommender.customer_sums import CHUNK_CUSTOMERS, SummedSignal, fit_in_chunks
from shared.recommender.signal import Arrays
from shared.recommender.training_data import TrainingData
from trainer.spark.engine import SparkOptions, open_spark_engine

ASSETS = 806  # as in FAR-Trans
app = build_app(None)


@app.command(help=__doc__)
def measure(
    scale: Annotated[list[float] | None, typer.Option(help="customers in units of FAR-Trans")] = None,
    master: Annotated[str, typer.Option(help="SPARK_MASTER")] = "local[2]",
    folder: Annotated[Path | None, typer.Option(help="SPARK_FOLDER")] = None,
    rounds: Annotated[int, typer.Option(help="of both sides, by turns")] = 3,
    chunk: Annotated[int, typer.Option(help="customers of a chunk, on both sides")] = CHUNK_CUSTOMERS,
) -> None:
    signals = [one for one in build_configuration("ease_next_purchase").signals() if isinstance(one, SummedSignal)]
    options = SparkOptions(master, folder, timeout_seconds=3_600.0, chunk_customers=chunk)
    say(f"load at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {len(signals)} signals; {master}")
    say("| customers | purchases | local s | Spark s | Spark / local | largest difference |")
    say("|---|---|---|---|---|---|")
    with open_spark_engine(options, lambda: None) as engine:
        # The start of Spark is not measured.
        engine.fit_signals(signals, invent_training_data(0.01, assets=ASSETS), random_state=1)
        for one in scale or [1.0, 3.0, 10.0]:
            data = invent_training_data(one, assets=ASSETS)
            sides = (
                lambda fresh: _fit_here(signals, fresh, chunk),
                lambda fresh: engine.fit_signals(signals, fresh, random_state=1),
            )
            say(_row(data, sides, rounds))
    say(f"load at the end: {os.getloadavg()[0]:.1f}")


def _fit_here(signals: Sequence[SummedSignal], data: TrainingData, chunk: int) -> list[Arrays]:
    return [fit_in_chunks(signal, data, chunk_customers=chunk) for signal in signals]


def _row(data: TrainingData, sides: Sequence[Callable[[TrainingData], list[Arrays]]], rounds: int) -> str:
    seconds: list[list[float]] = [[], []]
    arrays: list[list[Arrays]] = [[], []]
    for _ in range(rounds):
        for side, fit in enumerate(sides):
            fresh = replace(data)  # nothing is derived from its rows yet
            began = time.perf_counter()
            arrays[side] = fit(fresh)
            seconds[side].append(time.perf_counter() - began)
    difference = max(
        float(np.abs(one[name] - other[name]).max()) for one, other in zip(*arrays, strict=True) for name in one
    )
    ratio = median(spark / local for local, spark in zip(*seconds, strict=True))
    medians = " | ".join(f"{median(of_side):.2f}" for of_side in seconds)
    return f"| {len(data.customers):,} | {len(data.purchases.day):,} | {medians} | {ratio:.1f} | {difference:.1e} |"


main = partial(run_app, app, exit_codes={TrainingEngineFailed: 2})

if __name__ == "__main__":
    sys.exit(main())
