"""Run every algorithm, evaluate its lists, and put the figures into one report: JSON, a table in Markdown, plots."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainer.benchmark.algorithms.frontier import frontier_names
from trainer.benchmark.algorithms.registry import ALGORITHMS, missing_library
from trainer.benchmark.evaluation import build_ground_truths, evaluate_lists
from trainer.benchmark.kept_places import keep_places
from trainer.benchmark.lists import write_lists
from trainer.benchmark.plots import write_plots
from trainer.benchmark.protocol import read_benchmark
from trainer.benchmark.running import Run, run_algorithms

Say = Callable[[str], None]


def write_report(
    directory: Path, output: Path, *, reference_tables: Path, time_points: Sequence[str], jobs: int, say: Say
) -> dict[str, Any]:
    """Write lists-NAME.csv of every algorithm, report.json, report.md and the plots into `output`."""
    missing = {name: library for name in ALGORITHMS if (library := missing_library(name))}
    names = [name for name in ALGORITHMS if name not in missing]
    runs = run_algorithms(
        directory,
        reference_tables=reference_tables,
        algorithms=[*names, *frontier_names()],
        time_points=time_points,
        jobs=jobs,
    )
    lists, seconds = _collect(runs, len(names) + len(frontier_names()), say)
    truths = build_ground_truths(read_benchmark(directory, reference_tables=reference_tables), list(time_points))
    reports = {name: evaluate_lists(pd.concat(frames), truths) for name, frames in lists.items()}
    for name in names:
        write_lists(lists[name], output / f"lists-{name}.csv")
    report = {
        "time_points": list(time_points),
        "python": platform.python_version(),
        "left_out": missing,
        "algorithms": {name: {"seconds": round(seconds[name], 3), **reports[name]} for name in names},
        "frontier": [_point(name, reports[name]) for name in frontier_names()],
        "kept_places_of_hybrid": keep_places(pd.concat(lists["hybrid"]), truths),
    }
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (output / "report.md").write_text(markdown(report), encoding="utf-8")
    write_plots(report, output)
    return report


def markdown(report: Mapping[str, Any]) -> str:
    """Return the tables of a report, best nDCG first."""
    algorithms = sorted(report["algorithms"].items(), key=lambda entry: -entry[1]["mean"]["ndcg_at_10"])
    points = report["time_points"]
    left_out = [f"`{name}` needs {library}, which is not installed." for name, library in report["left_out"].items()]
    sections = [
        f"# Recommendation benchmark, {len(points)} time points from {points[0]} to {points[-1]}",
        "\n".join([_HEADER, *(_row(name, entry) for name, entry in algorithms)]),
        "nDCG with its 95 % interval over time points, resampled in blocks. ROI: mean monthly return of the ten.",
        *(["\n".join(left_out)] if left_out else []),
        "## nDCG against ROI",
        "\n".join([_FRONTIER_HEADER, *map(_frontier_row, report["frontier"])]),
        "If the first places are the hybrid's, what the others must return a month for the ten to equal the market:",
        "\n".join([_KEPT_HEADER, *map(_kept_row, report["kept_places_of_hybrid"])]),
        "## nDCG@10 by customer",
        "\n".join(_group_table(dict(algorithms), "by_risk_level")),
        "\n".join(_group_table(dict(algorithms), "by_past_purchases")),
    ]
    return "\n\n".join(sections) + "\n"


_HEADER = """\
| algorithm | nDCG@10 | 95 % | recall@10 | ROI@10 | above market | points above | known | coverage | novelty \
| unsuitable lists | s |
|---|---|---|---|---|---|---|---|---|---|---|---|"""
_FRONTIER_HEADER = """\
| ranking | weight | nDCG@10 | ROI@10 | above market | points above | known | unsuitable lists |
|---|---|---|---|---|---|---|---|"""

_KEPT_HEADER = """\
| kept places | nDCG@10 | ROI of them | others must return | best in hindsight |
|---|---|---|---|---|"""


def _row(name: str, entry: Mapping[str, Any]) -> str:
    mean, interval = entry["mean"], entry["interval_95"]["ndcg_at_10"]
    chosen = interval["blocks"] or interval["independent"]
    cells = [
        name,
        figure(mean["ndcg_at_10"]),
        f"{figure(chosen[0], 3)}-{figure(chosen[1], 3)}" if chosen else "-",
        figure(mean["recall_at_10"]),
        figure(mean["roi_at_10"]),
        figure(mean["roi_above_market"]),
        f"{entry['points_above_market']}/{entry['time_points']}",
        figure(mean["known_return_share"], 2),
        figure(mean["coverage"], 2),
        figure(mean["novelty"], 1),
        figure(mean["unsuitable_share"], 2),
        figure(entry["seconds"], 2),
    ]
    return f"| {' | '.join(cells)} |"


def _frontier_row(point: Mapping[str, Any]) -> str:
    figures = [figure(point[name]) for name in ("ndcg_at_10", "roi_at_10", "roi_above_market")]
    shares = [figure(point[name], 2) for name in ("known_return_share", "unsuitable_share")]
    weight = f"{point['weight']:g}"
    above = f"{point['points_above_market']}/{point['time_points']}"
    return f"| {' | '.join([point['series'], weight, *figures, above, *shares])} |"


def _kept_row(row: Mapping[str, Any]) -> str:
    names = ("ndcg_at_10", "roi_of_kept", "others_must_return", "best_in_hindsight")
    return f"| {' | '.join([str(row['kept_places']), *(figure(row[name]) for name in names)])} |"


def _group_table(algorithms: Mapping[str, Any], group: str) -> list[str]:
    first = next(iter(algorithms.values()))[group]
    heads = [f"{name} ({members['lists']})" for name, members in first.items()]
    rows = [
        f"| {' | '.join([name, *(figure(entry[group].get(head, {}).get('ndcg_at_10')) for head in first)])} |"
        for name, entry in algorithms.items()
    ]
    title = group.removeprefix("by_").replace("_", " ")
    return [f"| {title} (lists) | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|", *rows]


def figure(value: float | None, places: int = 4) -> str:
    """Return a rounded figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{places}f}"


def _collect(runs: Any, runs_per_time_point: int, say: Say) -> tuple[dict[str, list[pd.DataFrame]], dict[str, float]]:
    lists: dict[str, list[pd.DataFrame]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    run: Run
    for number, run in enumerate(runs, start=1):
        lists[run.algorithm].append(run.lists)
        seconds[run.algorithm].append(run.seconds)
        if number % runs_per_time_point == 0:
            say(f"{run.time_point} done")
    return lists, {name: float(np.mean(values)) for name, values in seconds.items()}


def _point(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    series, _, weight = name.partition("@")
    counts = {key: report[key] for key in ("points_above_market", "time_points")}
    return {"series": series, "weight": float(weight), **report["mean"], **counts}
