"""The FAR-Trans benchmark: `recommend` makes lists blind to what came after, `evaluate` judges lists."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from shared.errors import RecommenderError
from trainer.offline.algorithms.registry import ALGORITHMS
from trainer.offline.evaluation import build_judge, evaluate_lists, time_points_of
from trainer.offline.lists import read_lists, write_lists
from trainer.offline.protocol import find_reference_tables, read_benchmark, time_points
from trainer.offline.running import run_algorithms

REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 2 when the folder or the lists are not as the protocol wants them."""
    parsed = _parser().parse_args(arguments)
    parsed.far_trans = find_reference_tables(parsed.data, parsed.far_trans)
    try:
        return int(parsed.command(parsed))
    except RecommenderError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED


def recommend(parsed: argparse.Namespace) -> int:
    """Write the lists of one algorithm, or a file for each."""
    names = list(ALGORITHMS) if parsed.algorithm == "all" else [parsed.algorithm]
    frames: dict[str, list[pd.DataFrame]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    runs = run_algorithms(
        parsed.data,
        reference_tables=parsed.far_trans,
        algorithms=names,
        time_points=time_points(parsed.data, parsed.time_points),
        jobs=parsed.jobs,
    )
    for run in runs:
        frames[run.algorithm].append(run.lists)
        seconds[run.algorithm] += run.seconds
    for name in names:
        path = parsed.output if parsed.algorithm != "all" else _path_of(parsed.output, name)
        write_lists(frames[name], path)
        print(f"{name}: {len(frames[name])} time points, {seconds[name] / len(frames[name]):.2f} s each -> {path}")
    return 0


def evaluate(parsed: argparse.Namespace) -> int:
    """Write the report on one file of lists."""
    benchmark = read_benchmark(parsed.data, reference_tables=parsed.far_trans)
    if not benchmark.has_reference_tables:
        print(f"no reference tables in {parsed.far_trans}: suitability is not judged", file=sys.stderr)
    lists = read_lists(parsed.lists)
    report = evaluate_lists(lists, build_judge(benchmark, time_points_of(lists, benchmark)))
    parsed.report.parent.mkdir(parents=True, exist_ok=True)
    parsed.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report["mean"], indent=2))
    return 0


def _path_of(output: Path, name: str) -> Path:
    return output.with_name(f"{output.stem}-{name}{output.suffix}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.benchmark", description=__doc__)
    commands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, required=True, help="folder with first_buys.csv and splits/")
    shared.add_argument(
        "--far-trans",
        type=Path,
        default=Path("FAR-Trans"),
        help="reference tables (FAR-Trans/, else beside DATA)",
    )
    one = commands.add_parser("recommend", parents=[shared], help="make lists")
    one.add_argument("--algorithm", required=True, choices=["all", *ALGORITHMS], metavar="NAME|all")
    one.add_argument("--output", type=Path, required=True, help="CSV; with all: one file OUTPUT-NAME.csv for each")
    one.add_argument("--time-points", nargs="*", default=(), metavar="DATE", help="only these")
    one.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    one.set_defaults(command=recommend)
    other = commands.add_parser("evaluate", parents=[shared], help="judge lists")
    other.add_argument("--lists", type=Path, required=True)
    other.add_argument("--report", type=Path, required=True, help="JSON")
    other.set_defaults(command=evaluate)
    return parser


if __name__ == "__main__":
    sys.exit(main())
