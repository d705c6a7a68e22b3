"""The one report: its files, its tables, and what the first places of the hybrid say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.unit.trainer.benchmark.planted_folder import TIME_POINTS, planted_folder, with_rows
from trainer.benchmark import report as module
from trainer.benchmark.__main__ import main
from trainer.benchmark.algorithms.registry import ALGORITHMS
from trainer.benchmark.running import run_algorithms

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
    assert figures["frontier"][0]["turnover"] < figures["frontier"][1]["turnover"] <= 1.0
    for name in CHOSEN:
        ndcg = figures["algorithms"][name]["mean"]["ndcg_at_10"]
        assert f"| {name} | {ndcg:.4f} |" in tables
        assert (folder / f"lists-{name}.csv").stat().st_size > 0
    for plot in ("ndcg-over-time.png", "frontier.png"):
        assert (folder / plot).read_bytes().startswith(b"\x89PNG")


def test_turnover_is_the_share_of_places_that_the_lists_with_the_chosen_weights_do_not_have() -> None:
    def lists(**of_customers: str) -> pd.DataFrame:
        rows = [("2020-01-01", name, isin) for name, isins in of_customers.items() for isin in isins]
        return pd.DataFrame(rows, columns=["time_point", "customerID", "ISIN"])

    today, other = lists(ann="AB", bob="AB"), lists(ann="BC", bob="BA")

    assert module.turnover([other], [today]) == 0.25  # C of ann; the order does not count
    assert module.turnover([today], [today]) == 0.0
    assert module.turnover([today], None) is None


def test_the_pareto_front_is_of_all_points_and_marks_ours(folder: Path) -> None:
    figures = json.loads((folder / "report.json").read_text())
    tables = (folder / "report.md").read_text()
    points = {point["name"]: point for point in figures["pareto"]["points"]}

    assert set(points) == {*CHOSEN, *FRONTIER}
    assert {name for name, point in points.items() if point["ours"]} == {*CHOSEN[1:], *FRONTIER}
    for name in CHOSEN:
        mean = figures["algorithms"][name]["mean"]
        assert points[name]["ndcg_at_10"] == pytest.approx(mean["ndcg_at_10"], abs=2e-6)
        assert points[name]["roi_above_market"] == pytest.approx(mean["roi_above_market"], abs=2e-6)
    assert set(figures["pareto"]["front"]) == {name for name, point in points.items() if not point["dominated_by"]}
    for name in figures["pareto"]["front"]:
        assert f"| {name} | {points[name]['ndcg_at_10']:.4f} |" in tables


def test_figures_known_at_a_time_point_do_not_change_with_later_prices(folder: Path, tmp_path: Path) -> None:
    planted = planted_folder()
    first, later = TIME_POINTS[0].isoformat(), planted.prices["timestamp"] > TIME_POINTS[0].isoformat()
    told = evaluate_hybrid(folder, planted.write(tmp_path / "told"))
    blind = evaluate_hybrid(folder, with_rows(planted, prices=planted.prices[~later]).write(tmp_path / "blind"))

    assert told["by_time_point"][0]["time_point"] == first
    assert told["by_time_point"][0]["volatility"] > 0.0
    assert told["by_time_point"][0]["known_share"]["volatility"] == 1.0
    assert blind["by_time_point"][0] == told["by_time_point"][0]
    assert blind["by_time_point"][1] != told["by_time_point"][1]


def evaluate_hybrid(folder: Path, data: Path) -> dict[str, Any]:
    """Return the report on the hybrid's lists, compared with this folder."""
    arguments = ["--lists", str(folder / "lists-hybrid.csv"), "--report", str(data / "evaluated.json")]
    assert main(["evaluate", "--data", str(data), *arguments, "--far-trans", str(data.parent / "FAR-Trans")]) == 0
    figures: dict[str, Any] = json.loads((data / "evaluated.json").read_text())
    return figures


def test_figures_of_a_risk_level_are_given_for_each_time_point(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())["algorithms"]["hybrid-suitable"]
    tables = (folder / "report.md").read_text()

    assert "### hybrid-suitable by risk level" in tables
    for group in report["by_risk_level"].values():
        of_points = group["by_time_point"]
        assert len(of_points["regret"]) == len(TIME_POINTS)
        assert group["mean"]["regret"] == pytest.approx(sum(of_points["regret"]) / len(TIME_POINTS), abs=2e-6)
        assert group["mean"]["suitable_places"] == 1.0
    known = [group["known_share"]["profile_coherence"] for group in report["by_risk_level"].values()]
    assert set(known) == {0.0, 1.0}  # without a known level there is no coherence


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


def test_the_choice_of_weights_is_given_for_each_time_point(folder: Path) -> None:
    choices = json.loads((folder / "report.json").read_text())["weight_choices"]
    tables = (folder / "report.md").read_text()

    assert list(choices["by_time_point"]) == [day.isoformat() for day in TIME_POINTS]
    for name, choice in choices["by_time_point"].items():
        assert set(choice["chosen"]["components"]) == {"collaborative", "content", "profitability"}
        assert len(choice["cutoffs"]) >= 3
        assert max(choice["cutoffs"]) < name
        assert f"| {name} | {len(choice['cutoffs'])} |" in tables


def test_two_processes_choose_what_one_chooses(folder: Path) -> None:
    names = [day.isoformat() for day in TIME_POINTS]
    runs = run_algorithms(
        folder / "benchmark",
        reference_tables=folder / "FAR-Trans",
        algorithms=["hybrid", "hybrid-suitable"],
        time_points=names,
        jobs=2,
    )
    told = json.loads((folder / "report.json").read_text())["weight_choices"]["by_time_point"]

    assert all(run.weight_choice == told[run.time_point] for run in runs)


def test_the_difference_from_the_hybrid_is_that_of_the_means(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    means = {name: entry["mean"]["ndcg_at_10"] for name, entry in report["algorithms"].items()}

    assert set(report["hybrid_above"]) == {"popularity", "hybrid-suitable"}
    for name, entry in report["hybrid_above"].items():
        assert entry["ndcg_at_10"] == pytest.approx(means["hybrid"] - means[name], abs=2e-6)
        low, high = entry["interval_95"]["customers"]
        assert low < entry["ndcg_at_10"] < high
        assert f"| {name} | {entry['ndcg_at_10']:.4f} |" in (folder / "report.md").read_text()
