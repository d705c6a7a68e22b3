"""A leg's ratio is that of its rounds, and is above 1 where ours is better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from script.speed.legs import Leg, alternate, write_report
from script.speed.plots import write_plot

RATE = Leg("POST", "requests/s", (50.0, 80.0, 60.0), (100.0, 100.0, 80.0), "no-op", 0.7)
TIME = Leg("training", "s", (2.0, 4.0), (1.0, 3.0), "fits alone", 0.5, more_is_better=False)


def test_the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() -> None:
    assert RATE.ratio == pytest.approx(0.75)
    assert RATE.row()["spread"] == [0.5, 0.8]


def test_a_time_that_is_twice_the_limit_has_the_ratio_one_half() -> None:
    assert TIME.ratios == [0.5, 0.75]


@pytest.mark.parametrize(("target", "reached"), [(0.75, True), (0.76, False), (None, None)])
def test_a_target_is_reached_by_the_median(target: float | None, reached: bool | None) -> None:
    leg = Leg("POST", "requests/s", RATE.ours, RATE.limit, "no-op", target)
    assert leg.is_reached is reached


def test_both_sides_are_measured_by_turns_and_the_first_one_changes() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    values = alternate(lambda: side("ours"), lambda: side("limit"), rounds=3)
    assert order == ["ours", "limit", "limit", "ours", "ours", "limit"]
    assert values == ((1.0, 4.0, 5.0), (2.0, 3.0, 6.0))


def test_the_report_has_every_leg_with_its_machine_and_the_plot_is_written(tmp_path: Path) -> None:
    write_report([RATE, TIME], tmp_path / "new" / "speed.json")
    report = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert report["machine"]["cpus"] >= 1
    required = {"name", "unit", "ours", "limit", "ratio", "target", "spread"}
    assert all(required <= row.keys() for row in report["legs"])
    write_plot([RATE, TIME], tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
