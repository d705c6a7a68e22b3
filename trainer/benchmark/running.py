"""Run algorithms over time points, in processes of their own where there are several."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from trainer.benchmark.algorithms.policies import PolicyHybrid
from trainer.benchmark.algorithms.registry import algorithm_named
from trainer.benchmark.algorithms.signals import Hybrid
from trainer.benchmark.lists import build_frame
from trainer.benchmark.protocol import Benchmark, read_benchmark, read_split

_benchmark: Benchmark | None = None


@dataclass(frozen=True)
class Run:
    """The lists of one algorithm at one time point, and how long fitting and ranking took.

    policy_figures: of a policy, what it refused. weight_choice: of the hybrid, which weights were chosen and why. What
    one process computes for several algorithms (the fit and the choice of the hybrid, the scores of the blend) counts
    for the first of them.
    """

    algorithm: str
    time_point: str
    lists: pd.DataFrame
    seconds: float
    weight_choice: Mapping[str, Any] | None = None
    policy_figures: Mapping[str, Mapping[str, Any]] | None = None


def run_algorithms(
    directory: Path, *, reference_tables: Path, algorithms: Sequence[str], time_points: Sequence[str], jobs: int
) -> Iterator[Run]:
    """Yield every run, time point by time point in the given order, whatever the number of processes."""
    work = partial(_run_time_point, algorithms=tuple(algorithms))
    if jobs == 1:
        _read(directory, reference_tables)
        for time_point in time_points:
            yield from work(time_point)
        return
    spawn = get_context("spawn")  # a fork would copy the locks of numeric libraries' threads
    with ProcessPoolExecutor(jobs, spawn, initializer=_read, initargs=(directory, reference_tables)) as pool:
        for runs in pool.map(work, time_points):
            yield from runs


def _read(directory: Path, reference_tables: Path) -> None:
    global _benchmark  # one reading per process
    _benchmark = read_benchmark(directory, reference_tables=reference_tables)


def _run_time_point(time_point: str, *, algorithms: Sequence[str]) -> list[Run]:
    assert _benchmark is not None
    split = read_split(_benchmark.directory, time_point)
    known = _benchmark.knowledge_at(split)
    runs = []
    for name in algorithms:
        start = time.perf_counter()
        # One thread: sums do not depend on the machine's cores, and the processes do not get in each other's way.
        with threadpool_limits(limits=1):
            algorithm = algorithm_named(name)
            lists = algorithm.fit_and_rank(known, split)
        seconds = time.perf_counter() - start
        choice = algorithm.weight_choice(known, split) if isinstance(algorithm, Hybrid) else None
        refused = algorithm.figures(known, split, lists) if isinstance(algorithm, PolicyHybrid) else None
        runs.append(Run(name, time_point, build_frame(lists, known, split), seconds, choice, refused))
    return runs
