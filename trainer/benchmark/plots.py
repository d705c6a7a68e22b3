"""The report's plots: nDCG over time for each algorithm, and the nDCG/ROI frontier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display

from matplotlib import pyplot
from matplotlib.axes import Axes

MOST_LABELLED = 12  # further lines are dotted
BEST_PUBLISHED_NDCG = 0.381  # LightGCN on the 31 published time points, the bar of the frontier


def write_plots(report: Mapping[str, Any], output: Path) -> None:
    """Write ndcg-over-time.png and frontier.png."""
    _write(output / "ndcg-over-time.png", lambda axes: _ndcg_over_time(axes, report["algorithms"]))
    _write(output / "frontier.png", lambda axes: _frontier(axes, report["frontier"]))


def _write(path: Path, draw: Any) -> None:
    figure, axes = pyplot.subplots(figsize=(11, 6.5), layout="constrained")
    draw(axes)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _ndcg_over_time(axes: Axes, algorithms: Mapping[str, Any]) -> None:
    ordered = sorted(algorithms.items(), key=lambda entry: -entry[1]["mean"]["ndcg_at_10"])
    colours = matplotlib.colormaps["tab20"]
    for place, (name, entry) in enumerate(ordered):
        points = [point["time_point"] for point in entry["by_time_point"]]
        values = [point["ndcg_at_10"] for point in entry["by_time_point"]]
        style = "-" if place < MOST_LABELLED else ":"
        label = f"{name} {entry['mean']['ndcg_at_10']:.3f}"
        axes.plot(points, values, style, color=colours(place % 20), linewidth=1.4, label=label)
    axes.set_ylabel("nDCG@10")
    axes.set_xlabel("time point")
    axes.tick_params(axis="x", rotation=90, labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), title="mean over time points")


def _frontier(axes: Axes, points: list[dict[str, Any]]) -> None:
    for series in dict.fromkeys(point["series"] for point in points):
        members = [point for point in points if point["series"] == series and point["roi_at_10"] is not None]
        line = axes.plot([p["ndcg_at_10"] for p in members], [p["roi_at_10"] for p in members], "o-", label=series)
        for point in members:
            place = (point["ndcg_at_10"], point["roi_at_10"])
            axes.annotate(f"{point['weight']:g}", place, fontsize=7, color=line[0].get_color())
    markets = [point["market_return"] for point in points if point["market_return"] is not None]
    if markets:
        axes.axhline(markets[0], color="black", linestyle="--", label="market average")
    axes.axvline(BEST_PUBLISHED_NDCG, color="grey", linestyle=":", label="LightGCN's nDCG@10")
    axes.set_xlabel("nDCG@10")
    axes.set_ylabel("ROI@10, mean monthly return")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
