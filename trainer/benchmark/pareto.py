"""The Pareto front of every algorithm and price tilt: nDCG@10 against ROI minus market, and where ours are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.benchmark.intervals import Values, difference_intervals_95

AXES = ("ndcg_at_10", "roi_above_market")
OUR_PREFIX = "hybrid"  # the names of what the worker serves, and of its points on the frontier, begin with it


def pareto(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return every point and the names on the front, highest ROI first; points without a known return are left out.

    A point dominates another when both means are at least as high and one is higher. `dominated_by` names all such
    points; for ours, `dominated_beyond_noise_by` those whose paired 95 % intervals of both differences, in blocks of
    time points, lie above 0; `differences` holds both intervals for each of `dominated_by`.
    """
    series = {name: _series(report) for name, report in reports.items()}
    series = {name: values for name, values in series.items() if np.isfinite(values).any(axis=0).all()}
    means = {name: np.nanmean(values, axis=0) for name, values in series.items()}
    points = [_point(name, means, series) for name in series]
    front = sorted((point for point in points if not point["dominated_by"]), key=lambda point: point[AXES[0]])
    return {"points": points, "front": [point["name"] for point in front]}


def is_ours(name: str) -> bool:
    """Is this a point of the recommender that is served?"""
    return name.startswith(OUR_PREFIX)


def _series(report: Mapping[str, Any]) -> Values:
    """Return (T, 2) figures of AXES by time point, NaN where unknown."""
    rows = [[point[axis] for axis in AXES] for point in report["by_time_point"]]
    return np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def _point(name: str, means: Mapping[str, Values], series: Mapping[str, Values]) -> dict[str, Any]:
    own = means[name]
    better = [other for other, mean in means.items() if (mean >= own).all() and (mean > own).any()]
    point = {
        "name": name,
        "ours": is_ours(name),
        **{axis: round(float(value), 6) for axis, value in zip(AXES, own, strict=True)},
        "dominated_by": better,
    }
    return point | _beyond_noise(name, better, series) if is_ours(name) else point


def _beyond_noise(name: str, better: Sequence[str], series: Mapping[str, Values]) -> dict[str, Any]:
    differences: dict[str, dict[str, Any]] = {other: {} for other in better}
    for column, axis in enumerate(AXES) if better else ():
        others = np.stack([series[other][:, column] for other in better], axis=1)
        intervals = difference_intervals_95(series[name][:, column], others)
        for other, interval in zip(better, intervals, strict=True):
            differences[other][axis] = [round(end, 6) for end in interval] if interval else None
    sure = [other for other, of_axes in differences.items() if all(ends and ends[0] > 0 for ends in of_axes.values())]
    return {"dominated_beyond_noise_by": sure, "differences": differences}
