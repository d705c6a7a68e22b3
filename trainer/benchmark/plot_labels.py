"""Labels of points that overlap neither each other nor a point: each at the nearest free place, with a thin line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

FONT_SIZE, MARKER_PIXELS, GAP_PIXELS = 7.5, 13.0, 4.0
DISTANCES, DIRECTIONS = range(14, 300, 8), 16


@dataclass(frozen=True)
class Label:
    """A text for the point (x, y) in data coordinates."""

    x: float
    y: float
    text: str


def place_labels(axes: Axes, labels: Sequence[Label], *, avoid: Sequence[tuple[float, float]]) -> None:
    """Draw the labels of axes whose layout is settled; one without a free place is drawn beside its point."""
    taken = [_square(*axes.transData.transform(place)) for place in avoid]
    inside = axes.get_window_extent()
    for label in sorted(labels, key=lambda label: (-label.x, label.y)):
        note = axes.annotate(label.text, (label.x, label.y), xytext=(0, 0), textcoords="offset pixels")
        note.set_fontsize(FONT_SIZE)
        box = _free_box(note, axes.transData.transform((label.x, label.y)), taken, inside)
        taken.append(box)
        note.remove()
        _draw(axes, label, box)


def _free_box(note: Annotation, centre: np.ndarray, taken: Sequence[Bbox], inside: Bbox) -> Bbox:
    size = note.get_window_extent()
    for box in _boxes(centre, size.width + 2 * GAP_PIXELS, size.height + 2 * GAP_PIXELS):
        within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        if within and not box.count_overlaps(taken):
            return box
    return next(_boxes(centre, size.width, size.height))


def _boxes(centre: np.ndarray, width: float, height: float) -> Iterator[Bbox]:
    """Yield places around a point, the nearest first; each touches the circle with its nearest edge."""
    for distance in DISTANCES:
        for angle in np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS:
            across, along = np.cos(angle), np.sin(angle)
            x = centre[0] + across * (distance + width / 2) - width / 2
            y = centre[1] + along * (distance + height / 2) - height / 2
            yield Bbox.from_bounds(x, y, width, height)


def _draw(axes: Axes, label: Label, box: Bbox) -> None:
    place = axes.transData.inverted().transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
    note = axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(float(place[0]), float(place[1])),
        fontsize=FONT_SIZE,
        ha="center",
        va="center",
        arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
    )
    note.set_path_effects([withStroke(linewidth=2.5, foreground="white")])  # readable where a line crosses it


def _square(x: float, y: float) -> Bbox:
    return Bbox.from_bounds(x - MARKER_PIXELS, y - MARKER_PIXELS, 2 * MARKER_PIXELS, 2 * MARKER_PIXELS)
