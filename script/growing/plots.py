"""The plots of a growth report: time, memory and size against customers and assets, with fitted exponents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from shared.recommender.asset_matrix import DENSE_ASSETS

Row = dict[str, Any]
_AXES = ("customers", "assets")
# Title, unit, and for each line its name, the part and the figure of it.
_PANELS: Sequence[tuple[str, str, Sequence[tuple[str, str, str]]]] = (
    (
        "load, read, build, fit",
        "seconds of the processor",
        (
            ("load the CSV files", "load", "seconds"),
            ("read the rows", "read", "seconds"),
            ("build the arrays", "read", "build_seconds"),
            ("digest the rows", "read", "digest_seconds"),
            ("fit all signals", "model", "seconds"),
        ),
    ),
    (
        "fit of one signal",
        "seconds of the processor",
        tuple(
            (name, f"fit {name}", "seconds")
            for name in (
                *("item_item", "edlae", "basket", "next_purchase", "residual_next_purchase"),
                *("portfolio_mix", "content", "profitability"),
            )
        ),
    ),
    (
        "serving",
        "seconds of the processor",
        (
            ("take a model (swap)", "serve", "swap_seconds"),
            ("one customer alone", "serve", "one_customer_seconds"),
            ("one customer of a batch", "serve", "seconds"),
        ),
    ),
    (
        "gateway and worker, database loaded",
        "seconds of the processor",
        (
            ("GET, gateway", "answer", "get_seconds"),
            ("GET, database", "answer", "get_database_seconds"),
            ("POST, gateway", "answer", "post_seconds"),
            ("a list, worker", "answer", "list_seconds"),
            ("a list, database", "answer", "list_database_seconds"),
        ),
    ),
    (
        "peak memory and size",
        "MB",
        (
            ("loading", "load", "peak_mb"),
            ("reading and building", "read", "peak_mb"),
            ("fitting all signals", "model", "peak_mb"),
            ("serving, two models", "serve", "peak_mb"),
            ("the artifact", "model", "size_mb"),
            ("worker, resident", "answer", "worker_mb"),
            ("gateway, resident", "answer", "gateway_mb"),
        ),
    ),
)


def write_plots(rows: Sequence[Row], path: Path) -> None:
    """Write one PNG: a row of panels for each axis."""
    figure, grid = pyplot.subplots(len(_AXES), len(_PANELS), figsize=(28.0, 13.0), layout="constrained")
    for axis, panels in zip(_AXES, grid, strict=True):
        for (title, unit, lines), panel in zip(_PANELS, panels, strict=True):
            _draw(panel, points_of(rows, axis), axis, lines)
            panel.set_title(f"{title}, by {axis}")
            panel.set_ylabel(unit)
            panel.set_xlabel(axis)
            panel.grid(alpha=0.3, which="both")
            if axis == "assets":
                panel.axvline(DENSE_ASSETS, color="black", linewidth=0.8, linestyle=":")
            if panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize=8, ncol=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    figure.suptitle(
        "Log-log, with the exponent of each line by least squares. Dotted: from here on matrices are sparse"
    )
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def points_of(rows: Sequence[Row], axis: str) -> list[Row]:
    """Return the rows along one axis: those with the least value of the other one."""
    other = _AXES[1 - _AXES.index(axis)]
    least = min((row[other] for row in rows), default=0)
    return sorted((row for row in rows if row[other] == least), key=lambda row: row[axis])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of log(value) by log(size) by least squares, None without two sizes."""
    if len(set(sizes)) < 2:
        return None
    slope, _ = np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)
    return round(float(slope), 2)


def exponents(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Return the exponent of every line by axis."""
    found: dict[str, dict[str, float | None]] = {}
    for axis in _AXES:
        for _, unit, lines in _PANELS:
            for name, part, key in lines:
                sizes, values = _line(points_of(rows, axis), axis, part, key)
                found.setdefault(axis, {})[f"{name}, {unit}"] = exponent(sizes, values)
    return found


def _line(rows: Sequence[Row], axis: str, part: str, key: str) -> tuple[list[float], list[float]]:
    known = [(row[axis], row["parts"][part][key]) for row in rows if key in row["parts"].get(part, {})]
    return [size for size, _ in known], [value for _, value in known]


def _draw(panel: Axes, rows: Sequence[Row], axis: str, lines: Sequence[tuple[str, str, str]]) -> None:
    plot: Callable[..., Any] = panel.loglog
    for name, part, key in lines:
        sizes, values = _line(rows, axis, part, key)
        if sizes:
            slope = exponent(sizes, values)
            plot(sizes, values, marker="o", markersize=4, label=name if slope is None else f"{name}: {slope:+.2f}")
