"""The one report: its files, its tables, and what the first places of the hybrid say."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.unit.trainer.benchmark.planted_folder import planted_folder
from trainer.benchmark import report as module
from trainer.benchmark.__main__ import main
from trainer.benchmark.algorithms.registry import ALGORITHMS

CHOSEN = ("popularity", "hybrid", "hybrid-suitable")
FRONTIER = ["hybrid@0", "hybrid@1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report on a few algorithms and with the data that it is about."""
    pytest.importorskip("matplotlib")
    path = tmp_path_factory.mktemp("report")
    arguments = ["--data", str(planted_folder().write(path)), "--far-trans", str(path / "FAR-Trans")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ALGORITHMS", {name: ALGORITHMS[name] for name in CHOSEN})
        patch.setattr(module, "frontier_names", lambda: FRONTIER)
        assert main(["report", *arguments, "--output", str(path), "--jobs", "1"]) == 0
    return path


def test_a_report_is_figures_tables_plots_and_lists(folder: Path) -> None:
    figures = json.loads((folder / "report.json").read_text())
    tables = (folder / "report.md").read_text()

    assert list(figures["algorithms"]) == list(CHOSEN)
    assert [point["weight"] for point in figures["frontier"]] == [0.0, 1.0]
    for name in CHOSEN:
        ndcg = figures["algorithms"][name]["mean"]["ndcg_at_10"]
        assert f"| {name} | {ndcg:.4f} |" in tables
        assert (folder / f"lists-{name}.csv").stat().st_size > 0
    for plot in ("ndcg-over-time.png", "frontier.png"):
        assert (folder / plot).read_bytes().startswith(b"\x89PNG")


def test_kept_places_are_worth_what_a_file_of_them_is(folder: Path) -> None:
    kept = json.loads((folder / "report.json").read_text())["kept_places_of_hybrid"]
    lists = pd.read_csv(folder / "lists-hybrid.csv", dtype=str)
    lists[lists["rank"].astype(int) <= 3].to_csv(folder / "three.csv", index=False)
    arguments = ["--lists", str(folder / "three.csv"), "--report", str(folder / "three.json")]

    assert main(["evaluate", "--data", str(folder / "benchmark"), *arguments]) == 0

    alone = json.loads((folder / "three.json").read_text())["mean"]
    of_three = kept[2]
    assert of_three["kept_places"] == 3
    assert of_three["ndcg_at_10"] == pytest.approx(alone["ndcg_at_10"], abs=1e-6)
    assert of_three["roi_of_kept"] == pytest.approx(alone["roi_at_10"], abs=1e-6)
    all_ten = 0.3 * of_three["roi_of_kept"] + 0.7 * of_three["others_must_return"]
    assert all_ten == pytest.approx(alone["market_return"], abs=1e-5)
    assert [row["ndcg_at_10"] for row in kept] == sorted(row["ndcg_at_10"] for row in kept)


def test_the_best_in_hindsight_are_the_best_known_returns(folder: Path) -> None:
    kept = json.loads((folder / "report.json").read_text())["kept_places_of_hybrid"]
    known = [index / 1000 for index in range(0, 22, 2)]  # of the assets that can be listed

    assert kept[8]["best_in_hindsight"] == pytest.approx(known[-1])
    assert kept[7]["best_in_hindsight"] == pytest.approx((known[-1] + known[-2]) / 2)
