"""The FAR-Trans benchmark: `recommend` makes lists, `evaluate` compares lists with later purchases, `report` both.

`policies` compares the suitability policies, `cutoffs` makes a benchmark folder of other dates, `examples` shows lists
of a few customers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path

import pandas as pd

from shared.errors import RecommenderError
from trainer.benchmark.algorithms.registry import ALGORITHMS, VARIANTS, missing_library
from trainer.benchmark.cutoffs import write_cutoffs
from trainer.benchmark.evaluation import build_ground_truths, evaluate_lists, time_points_of
from trainer.benchmark.examples import example_sections
from trainer.benchmark.lists import read_lists, write_lists
from trainer.benchmark.protocol import Benchmark, find_reference_tables, read_benchmark, time_points
from trainer.benchmark.running import run_algorithms

REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 2 when the folder or the lists are not as the protocol wants them."""
    parsed = _parser().parse_args(arguments)
    if "data" in parsed:
        parsed.far_trans = find_reference_tables(parsed.data, parsed.far_trans)
    try:
        return int(parsed.command(parsed))
    except RecommenderError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED


def recommend(parsed: argparse.Namespace) -> int:
    """Write the lists of one algorithm, or a file for each."""
    names = [parsed.algorithm]
    if parsed.algorithm == "all":
        missing = {name: library for name in ALGORITHMS if (library := missing_library(name))}
        names = [name for name in ALGORITHMS if name not in missing]
        for name, library in missing.items():
            print(f"{name} is left out: {library} is not installed", file=sys.stderr)
    elif library := missing_library(parsed.algorithm):
        raise RecommenderError(f"{parsed.algorithm} needs {library}, which is not installed")
    _say_what_is_missing(parsed, read_benchmark(parsed.data, reference_tables=parsed.far_trans))
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
    _say_what_is_missing(parsed, benchmark)
    lists = read_lists(parsed.lists)
    figures = evaluate_lists(lists, build_ground_truths(benchmark, time_points_of(lists, benchmark)))
    parsed.report.parent.mkdir(parents=True, exist_ok=True)
    parsed.report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures["mean"], indent=2))
    return 0


def report(parsed: argparse.Namespace) -> int:
    """Write the report on all algorithms into a folder."""
    try:
        from trainer.benchmark.report import write_report  # draws: needs the extra `benchmark`
    except ImportError as error:
        raise RecommenderError(f"the report needs {error.name}: install the extra `benchmark`") from error
    parsed.output.mkdir(parents=True, exist_ok=True)
    write_report(
        parsed.data,
        parsed.output,
        reference_tables=parsed.far_trans,
        time_points=time_points(parsed.data, parsed.time_points),
        jobs=parsed.jobs,
        say=partial(print, file=sys.stderr, flush=True),
    )
    print((parsed.output / "report.md").read_text(encoding="utf-8"))
    print(f"report.json, report.md, plots and lists are in {parsed.output}")
    return 0


def policies(parsed: argparse.Namespace) -> int:
    """Write the figures of every shipped policy into a folder."""
    try:
        from trainer.benchmark.report import write_policy_report
    except ImportError as error:
        raise RecommenderError(f"the report needs {error.name}: install the extra `benchmark`") from error
    parsed.output.mkdir(parents=True, exist_ok=True)
    write_policy_report(
        parsed.data,
        parsed.output,
        reference_tables=parsed.far_trans,
        time_points=time_points(parsed.data, parsed.time_points),
        jobs=parsed.jobs,
        say=partial(print, file=sys.stderr, flush=True),
    )
    print((parsed.output / "policies.md").read_text(encoding="utf-8"))
    return 0


def cutoffs(parsed: argparse.Namespace) -> int:
    """Write a benchmark folder of the given dates."""
    counts = write_cutoffs(parsed.far_trans, parsed.output, dates=parsed.dates, until=parsed.until)
    for day, customers in counts.items():
        print(f"{day}: {customers} customers who buy something new up to {parsed.until}")
    return 0


def examples(parsed: argparse.Namespace) -> int:
    """Print what a few customers own and their lists, as Markdown."""
    benchmark = read_benchmark(parsed.data, reference_tables=parsed.far_trans)
    sections = example_sections(benchmark, parsed.far_trans, day=parsed.date, customer_ids=parsed.customers)
    print("\n\n".join(sections))
    return 0


def _say_what_is_missing(parsed: argparse.Namespace, benchmark: Benchmark) -> None:
    if not benchmark.has_reference_tables:
        print(f"no reference tables in {parsed.far_trans}: risk levels and attributes are unknown", file=sys.stderr)


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
    running = argparse.ArgumentParser(add_help=False)
    running.add_argument("--time-points", nargs="*", default=(), metavar="DATE", help="only these")
    running.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    one = commands.add_parser("recommend", parents=[shared, running], help="make lists")
    one.add_argument("--algorithm", required=True, choices=["all", *ALGORITHMS, *VARIANTS], metavar="NAME|all")
    one.add_argument("--output", type=Path, required=True, help="CSV; with all: one file OUTPUT-NAME.csv for each")
    one.set_defaults(command=recommend)
    other = commands.add_parser("evaluate", parents=[shared], help="evaluate lists")
    other.add_argument("--lists", type=Path, required=True)
    other.add_argument("--report", type=Path, required=True, help="JSON")
    other.set_defaults(command=evaluate)
    both = commands.add_parser("report", parents=[shared, running], help="all algorithms, one report")
    both.add_argument("--output", type=Path, required=True, help="folder")
    both.set_defaults(command=report)
    each = commands.add_parser("policies", parents=[shared, running], help="every suitability policy, one report")
    each.add_argument("--output", type=Path, required=True, help="folder")
    each.set_defaults(command=policies)
    own = commands.add_parser("cutoffs", help="make a benchmark folder of other dates")
    own.add_argument("--far-trans", type=Path, required=True, help="folder with transactions.csv and limit_prices.csv")
    own.add_argument("--dates", type=date.fromisoformat, nargs="+", required=True, metavar="DATE")
    own.add_argument("--until", type=date.fromisoformat, required=True, metavar="DATE", help="the end of every window")
    own.add_argument("--output", type=Path, required=True, help="folder, for --data of the other commands")
    own.set_defaults(command=cutoffs)
    few = commands.add_parser("examples", parents=[shared], help="show customers with their lists")
    few.add_argument("--date", type=date.fromisoformat, required=True, help="the lists are of this day")
    few.add_argument("--customers", nargs="+", required=True, metavar="ID")
    few.set_defaults(command=examples)
    return parser


if __name__ == "__main__":
    sys.exit(main())
