"""The report's plots: nDCG over time for each algorithm, and the nDCG/ROI frontier with its Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.benchmark.pareto import AXES
from trainer.benchmark.plot_labels import Label, place_labels

# Okabe & Ito (2008): told apart with every common kind of colour blindness. Black and grey are used apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BEST_PUBLISHED_NDCG = 0.381  # LightGCN on the 31 published time points, the bar of the frontier
CLOSE_UP = 0.06  # of nDCG below the best point: most algorithms are there


def write_plots(report: Mapping[str, Any], output: Path) -> None:
    """Write ndcg-over-time.png and frontier.png."""
    _write(output / "ndcg-over-time.png", (12.0, 7.0), lambda figure: _ndcg_over_time(figure, report["algorithms"]))
    _write(output / "frontier.png", (15.0, 8.5), lambda figure: _frontier(figure, report))


def _write(path: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    figure = pyplot.figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _ndcg_over_time(figure: Figure, algorithms: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    ordered = sorted(algorithms.items(), key=lambda entry: -entry[1]["mean"]["ndcg_at_10"])
    styles = list(product(LINES, COLOURS))
    for place, (name, entry) in enumerate(ordered):
        points = [point["time_point"] for point in entry["by_time_point"]]
        values = [point["ndcg_at_10"] for point in entry["by_time_point"]]
        line, colour = styles[place % len(styles)]
        label = f"{name} {entry['mean']['ndcg_at_10']:.3f}"
        axes.plot(points, values, line, color=colour, linewidth=1.4, label=label)
    axes.set_ylabel("nDCG@10")
    axes.set_xlabel("time point")
    axes.tick_params(axis="x", rotation=90, labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(
        fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), title="mean over time points", handlelength=3.5
    )


def _frontier(figure: Figure, report: Mapping[str, Any]) -> None:
    """Draw every point twice: all of them, and a close-up of those with the highest nDCG."""
    points = {point["name"]: point for point in report["pareto"]["points"]}
    whole, close = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    best = max((point[AXES[0]] for point in points.values()), default=0.0)
    for axes in (whole, close):
        _draw_points(axes, points, report)
        axes.set_xlabel("nDCG@10")
        axes.grid(alpha=0.3)
    near = [point for point in points.values() if point[AXES[0]] >= best - CLOSE_UP]
    _zoom(close, near)
    whole.indicate_inset(close.viewLim.bounds, edgecolor="black", alpha=0.4)
    whole.set_ylabel("ROI@10 minus market, mean monthly return")
    whole.set_title("every algorithm and price tilt; the marked part is on the right")
    close.set_title("the highest nDCG@10")
    handles, names = whole.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=9)
    figure.draw_without_rendering()  # settles the layout: labels are placed in pixels
    figure.set_layout_engine("none")
    shown = {point["name"] for point in near}
    place_labels(whole, _labels([point for name, point in points.items() if name not in shown]), avoid=_xy(points))
    place_labels(close, _labels(near), avoid=_xy(points))


def _draw_points(axes: Axes, points: Mapping[str, Mapping[str, Any]], report: Mapping[str, Any]) -> None:
    series = _series(points)
    for place, (name, members) in enumerate(series.items()):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        axes.plot(*_columns(members), "-", color=colour, marker=marker, markersize=5, linewidth=1.0, label=name)
    others = [point for name, point in points.items() if "@" not in name and not point["ours"]]
    axes.plot(*_columns(others), "o", color="grey", markersize=5, label="other algorithms")
    ours = [point for name, point in points.items() if "@" not in name and point["ours"]]
    axes.plot(*_columns(ours), "*", color="black", markersize=13, label="ours, chosen weights")
    front = [points[name] for name in report["pareto"]["front"]]
    axes.plot(
        *_columns(front), drawstyle="steps-pre", color="black", alpha=0.35, linewidth=4, zorder=1, label="Pareto front"
    )
    sure = [point for point in points.values() if point.get("dominated_beyond_noise_by")]
    axes.scatter(*_columns(sure), s=170, facecolors="none", edgecolors="black", label="ours, dominated beyond noise")
    axes.axhline(0.0, color="black", linestyle="--", linewidth=1.0, label="market")
    axes.axvline(BEST_PUBLISHED_NDCG, color="black", linestyle=":", linewidth=1.0, label="published LightGCN")


def _series(points: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the points of each series in order of the weight."""
    series: dict[str, list[Mapping[str, Any]]] = {}
    for name in points:
        if "@" in name:
            series.setdefault(name.partition("@")[0], []).append(points[name])
    return series


def _columns(points: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    return [point[AXES[0]] for point in points], [point[AXES[1]] for point in points]


def _xy(points: Mapping[str, Mapping[str, Any]]) -> list[tuple[float, float]]:
    return [(point[AXES[0]], point[AXES[1]]) for point in points.values()]


def _zoom(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    across, along = (_with_margin(values) for values in _columns(points))
    axes.set_xlim(*across)
    axes.set_ylim(*along)


def _with_margin(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max((high - low) * 0.12, 0.001)
    return low - margin, high + margin


def _labels(points: Sequence[Mapping[str, Any]]) -> list[Label]:
    """Return one label for each place: names of algorithms, or a series with its weight; equal places share one."""
    texts: dict[tuple[float, float], list[str]] = {}
    for point in sorted(points, key=lambda point: "@" in point["name"]):
        texts.setdefault((round(point[AXES[0]], 4), round(point[AXES[1]], 4)), []).append(point["name"])
    return [Label(*place, _together(names)) for place, names in texts.items()]


def _together(names: Sequence[str]) -> str:
    """Return the first name of a place, and of its own series the weights: "hybrid, @0 @0.3"."""
    series: dict[str, list[str]] = {}
    for name in names:
        of_series, _, weight = name.partition("@")
        series.setdefault(of_series, []).extend([f"@{weight}"] if weight else [])
    return ", ".join(" ".join([name, *weights]) for name, weights in series.items())
