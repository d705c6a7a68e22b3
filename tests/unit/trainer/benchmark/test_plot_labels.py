"""Labels of a plot overlap neither each other nor a point."""

from __future__ import annotations

import pytest

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from trainer.benchmark.plot_labels import Label, place_labels  # noqa: E402


def test_labels_of_crowded_points_overlap_nothing_and_stay_inside() -> None:
    figure = Figure(figsize=(8.0, 6.0))
    axes = figure.subplots()
    places = [(0.40 + 0.002 * step, -0.020 - 0.001 * (step % 3)) for step in range(12)]
    axes.set_xlim(0.35, 0.45)
    axes.set_ylim(-0.03, -0.01)

    place_labels(axes, [Label(*place, f"algorithm-{step}") for step, place in enumerate(places)], avoid=places)

    figure.draw_without_rendering()  # puts the texts where they belong
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line to the point
    assert len(boxes) == len(places)
    assert [box.count_overlaps(boxes) for box in boxes] == [1] * len(boxes)  # each overlaps itself alone
    points = axes.transData.transform(places)
    assert not any(box.contains(*point) for box in boxes for point in points)
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)
