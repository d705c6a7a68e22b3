"""make growth: exponents, resuming, and the data that it invents."""

from __future__ import annotations

import json
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from script import growth
from script.growing.invented import invent_training_data
from script.growing.measurements import measurement_names
from script.growing.plots import exponent, exponents, points_of, write_plots


def row(customers: int, assets: int, seconds: float) -> dict[str, Any]:
    return {
        "scale": customers / 100,
        "customers": customers,
        "assets": assets,
        "parts": {"model": {"seconds": seconds}},
    }


ROWS = [row(100, 10, 1.0), row(1_000, 10, 10.0), row(100, 20, 4.0)]


@pytest.mark.parametrize(("power", "expected"), [(1.0, 1.0), (2.0, 2.0), (0.0, 0.0)])
def test_the_exponent_of_a_power_is_that_power(power: float, expected: float) -> None:
    sizes = [10.0, 100.0, 1_000.0]

    assert exponent(sizes, [3 * size**power for size in sizes]) == expected


def test_one_size_has_no_exponent() -> None:
    assert exponent([10.0], [1.0]) is None


def test_an_axis_has_the_sizes_with_the_least_of_the_other_axis() -> None:
    assert [one["customers"] for one in points_of(ROWS, "customers")] == [100, 1_000]
    assert [one["assets"] for one in points_of(ROWS, "assets")] == [10, 20]
    found = exponents(ROWS)
    assert found["customers"]["fit all signals, seconds of the processor"] == 1.0
    assert found["assets"]["fit all signals, seconds of the processor"] == 2.0


def test_the_plots_of_a_report_that_has_little_are_written(tmp_path: Path) -> None:
    write_plots(ROWS, tmp_path / "growth.png")

    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_report_has_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    names = measurement_names()[2:]

    def run_part(part: str, data: Path, *, database_url: str) -> dict[str, Any]:
        measured.append(part)
        if part == "model":
            raise KeyboardInterrupt
        return {"seconds": 1.0}

    monkeypatch.setattr(growth, "run_part", run_part)
    report = tmp_path / "growth.json"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            growth.measure_size(0.02, 150, names=names, folder=tmp_path, postgres=None, report=report)

    assert measured == [*names[: names.index("model") + 1], "model"]
    [size] = json.loads(report.read_text())["sizes"]
    assert (size["customers"], size["assets"]) == (582, 150)


def test_a_consumer_group_is_measured_at_the_smallest_size_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[tuple[float, int], list[str]] = {}

    def measure_size(scale: float, assets: int, *, names: list[str], postgres: object, **_: Any) -> None:
        asked[scale, assets] = names
        assert postgres is not None  # a group works on a database

    monkeypatch.setattr(growth, "LocalPostgres", lambda *_, **__: nullcontext())
    monkeypatch.setattr(growth, "measure_size", measure_size)
    growth.growth(quick=True, part=["model", "workers"], report=tmp_path / "growth.json", folder=tmp_path)

    assert asked == {(0.02, 150): ["model", "workers"], (0.04, 150): ["model"], (0.02, 300): ["model"]}


def test_a_part_that_ends_with_an_error_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "Traceback\nLocalServerError: why\n\n")

    monkeypatch.setattr(subprocess, "run", run)

    assert growth.run_part("serve", tmp_path, database_url="") == {"failed": "LocalServerError: why"}


def test_invented_data_have_the_wanted_size_and_are_the_same_again() -> None:
    data, again = (invent_training_data(0.01, assets=160) for _ in range(2))

    assert (len(data.customers), len(data.assets)) == (300, 160)
    assert np.array_equal(data.purchases.asset_index, again.purchases.asset_index)
    assert (np.diff(data.purchases.day) >= 0).all()
    assert (np.diff(data.close_prices.asset_index) >= 0).all()
