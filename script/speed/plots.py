"""The plot of a speed report: every leg's ratio to its limit, with the spread of the rounds and the target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display

from matplotlib import pyplot

from script.speed.legs import Leg

_REACHED, _MISSED, _WITHOUT_TARGET = "#0072B2", "#D55E00", "#999999"


def write_plot(legs: Sequence[Leg], path: Path) -> None:
    """Write the plot as PNG."""
    figure, axes = pyplot.subplots(figsize=(11.0, 1.2 + 0.55 * len(legs)), layout="constrained")
    for place, leg in enumerate(reversed(legs)):
        colour = _WITHOUT_TARGET if leg.target is None else _REACHED if leg.is_reached else _MISSED
        axes.barh(place, leg.ratio, height=0.55, color=colour)
        axes.plot([min(leg.ratios), max(leg.ratios)], [place, place], color="black", linewidth=1.2)
        if leg.target is not None:
            axes.plot([leg.target, leg.target], [place - 0.38, place + 0.38], color="black", linewidth=2.4)
        axes.text(max(leg.ratios) * 1.04, place, f"{leg.ratio:.2f}", va="center", fontsize=9)
    labels = [f"{leg.name}\nbeside {leg.limit_name}" for leg in reversed(legs)]
    axes.set_yticks(range(len(legs)), labels, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("ratio to the limit (log scale); thin line: spread of the rounds; thick mark: target")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
