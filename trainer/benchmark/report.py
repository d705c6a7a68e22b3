"""Run every algorithm, evaluate its lists, and put the figures into one report: JSON, a table in Markdown, plots."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainer.benchmark.algorithms.frontier import frontier_names
from trainer.benchmark.algorithms.policies import policy_names
from trainer.benchmark.algorithms.registry import ALGORITHMS, missing_library
from trainer.benchmark.differences import difference_sections, differences_from
from trainer.benchmark.evaluation import GroundTruths, build_ground_truths, evaluate_lists
from trainer.benchmark.kept_places import keep_places
from trainer.benchmark.lists import write_lists
from trainer.benchmark.pareto import pareto
from trainer.benchmark.plots import write_plots
from trainer.benchmark.policies import policy_sections, summarise_policy
from trainer.benchmark.protocol import read_benchmark
from trainer.benchmark.running import Run, run_algorithms
from trainer.benchmark.tables import markdown
from trainer.benchmark.weight_choices import choice_sections, summarise_choices

OURS = "hybrid"  # what the worker serves

Say = Callable[[str], None]
Refused = dict[str, list[Mapping[str, Mapping[str, Any]]]]


def write_report(
    directory: Path, output: Path, *, reference_tables: Path, time_points: Sequence[str], jobs: int, say: Say
) -> dict[str, Any]:
    """Write lists-NAME.csv of every algorithm, report.json, report.md and the plots into `output`."""
    missing = {name: library for name in ALGORITHMS if (library := missing_library(name))}
    names = [name for name in ALGORITHMS if name not in missing]
    runs = run_algorithms(
        directory,
        reference_tables=reference_tables,
        algorithms=[*names, *policy_names(), *frontier_names()],
        time_points=time_points,
        jobs=jobs,
    )
    per_point = len(names) + len(policy_names()) + len(frontier_names())
    lists, seconds, choices, refused = _collect(runs, per_point, say)
    truths = build_ground_truths(read_benchmark(directory, reference_tables=reference_tables), list(time_points))
    reports = _evaluate(lists, truths)
    for name in names:
        write_lists(lists[name], output / f"lists-{name}.csv")
    report: dict[str, Any] = {
        "time_points": list(time_points),
        "python": platform.python_version(),
        "left_out": missing,
        "algorithms": {name: {"seconds": round(seconds[name], 3), **reports[name]} for name in names},
        "frontier": [
            {**_point(name, reports[name]), "turnover": turnover(lists[name], lists.get(name.partition("@")[0]))}
            for name in frontier_names()
        ],
        "pareto": pareto(
            {name: reports[name] for name in (*names, *frontier_names())}
        ),  # policies: a section of theirs
        "kept_places_of_hybrid": keep_places(pd.concat(lists[OURS]), truths),
        "policies": summarise_policies(reports, refused),
        "weight_choices": summarise_choices(choices),
        "hybrid_above": differences_from(OURS, {name: pd.concat(lists[name]) for name in names}, truths),
    }
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    further = [
        *policy_sections(report["policies"]),
        *difference_sections(OURS, report["hybrid_above"]),
        *choice_sections(report["weight_choices"]),
    ]
    (output / "report.md").write_text(markdown(report) + "\n" + "\n\n".join(further) + "\n", encoding="utf-8")
    write_plots(report, output)
    return report


def _collect(
    runs: Iterable[Run], runs_per_time_point: int, say: Say
) -> tuple[dict[str, list[pd.DataFrame]], dict[str, float], dict[str, Mapping[str, Any]], Refused]:
    """Return lists and mean seconds by algorithm, the hybrid's choices of weights, and what each policy refused."""
    lists: dict[str, list[pd.DataFrame]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    choices: dict[str, Mapping[str, Any]] = {}
    refused: Refused = defaultdict(list)
    for number, run in enumerate(runs, start=1):
        lists[run.algorithm].append(run.lists)
        seconds[run.algorithm].append(run.seconds)
        if run.algorithm == OURS and run.weight_choice is not None:
            choices[run.time_point] = run.weight_choice
        if run.policy_figures is not None:
            refused[run.algorithm].append(run.policy_figures)
        if number % runs_per_time_point == 0:
            say(f"{run.time_point} done")
    return lists, {name: float(np.mean(values)) for name, values in seconds.items()}, choices, refused


def write_policy_report(
    directory: Path, output: Path, *, reference_tables: Path, time_points: Sequence[str], jobs: int, say: Say
) -> dict[str, Any]:
    """Write policies.json and policies.md, of the hybrid without a policy and under each shipped one."""
    names = [OURS, *policy_names()]
    runs = run_algorithms(
        directory, reference_tables=reference_tables, algorithms=names, time_points=time_points, jobs=jobs
    )
    lists, _, _, refused = _collect(runs, len(names), say)
    truths = build_ground_truths(read_benchmark(directory, reference_tables=reference_tables), list(time_points))
    reports = _evaluate(lists, truths)
    policies = summarise_policies(reports, refused)
    (output / "policies.json").write_text(json.dumps(policies, indent=2) + "\n", encoding="utf-8")
    (output / "policies.md").write_text("\n\n".join(policy_sections(policies)) + "\n", encoding="utf-8")
    return policies


def _evaluate(lists: Mapping[str, list[pd.DataFrame]], truths: GroundTruths) -> dict[str, dict[str, Any]]:
    """Return the report on each algorithm that has a list at all."""
    return {name: evaluate_lists(pd.concat(frames), truths) for name, frames in lists.items() if any(map(len, frames))}


def summarise_policies(reports: Mapping[str, Mapping[str, Any]], refused: Refused) -> dict[str, Any]:
    """Return the figures of the hybrid without a policy and under each one; none of one that refuses everything."""
    names = [name for name in (OURS, *policy_names()) if name in reports]
    return {name: summarise_policy(reports[name], refused.get(name, ())) for name in names}


def turnover(frames: Sequence[pd.DataFrame], today: Sequence[pd.DataFrame] | None) -> float | None:
    """Return the share of places that the lists of `today` do not have; None where there are none to compare with."""
    if today is None:
        return None
    keys = ["time_point", "customerID", "ISIN"]
    places = pd.concat(frames)
    kept = len(places.merge(pd.concat(today)[keys], on=keys))
    return round(1.0 - kept / max(len(places), 1), 6)


def _point(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    series, _, weight = name.partition("@")
    counts = {key: report[key] for key in ("points_above_market", "time_points")}
    return {"series": series, "weight": float(weight), **report["mean"], **counts}
