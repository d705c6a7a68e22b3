"""The two commands: what lists hold, what reports say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.unit.trainer.benchmark.planted_folder import TIME_POINTS, isin_of, planted_folder, planted_split
from trainer.benchmark.__main__ import main

NOW = TIME_POINTS[0].isoformat()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return planted_folder().write(tmp_path)


def recommend(data: Path, algorithm: str = "ease") -> Path:
    output = data.parent / "lists.csv"
    arguments = ["recommend", "--data", str(data), "--algorithm", algorithm, "--output", str(output), "--jobs", "1"]
    assert main(arguments) == 0
    return output


def evaluate(data: Path, lists: Path) -> int:
    arguments = ["evaluate", "--data", str(data), "--lists", str(lists), "--report", str(data.parent / "report.json")]
    return main(arguments)


def test_lists_hold_ten_assets_of_the_split_that_the_customer_does_not_own(data: Path) -> None:
    lists = pd.read_csv(recommend(data), dtype=str)

    assert list(lists.columns) == ["time_point", "customerID", "rank", "ISIN"]
    for time_point in TIME_POINTS:
        split = planted_split(time_point)
        of_point = lists[lists["time_point"] == time_point.isoformat()]
        assert of_point["customerID"].unique().tolist() == split["customers"]
        assert set(of_point["ISIN"]) <= set(split["assets"])  # type: ignore[call-overload]
        assert (of_point.groupby("customerID").size() == 10).all()
        buys = planted_folder().first_buys
        owned = set(map(tuple, buys[buys["date"] <= time_point.isoformat()][["customerID", "ISIN"]].to_numpy()))
        assert not owned & set(map(tuple, of_point[["customerID", "ISIN"]].to_numpy()))


def test_recommend_works_without_relevant_and_the_lists_are_the_same(tmp_path: Path) -> None:
    told = recommend(planted_folder().write(tmp_path / "told")).read_text()
    blind = recommend(planted_folder().write(tmp_path / "blind", relevant=False)).read_text()

    assert told == blind


def test_recommend_works_without_reference_tables(tmp_path: Path) -> None:
    data = planted_folder().write(tmp_path)
    for table in (tmp_path / "FAR-Trans").glob("*.csv"):
        table.unlink()

    assert len(pd.read_csv(recommend(data, "hybrid")))


def test_recommend_keeps_to_the_chosen_time_points(data: Path) -> None:
    output = data.parent / "one.csv"
    chosen = ["--time-points", NOW, "--jobs", "1", "--algorithm", "popularity"]

    assert main(["recommend", "--data", str(data), "--output", str(output), *chosen]) == 0
    assert pd.read_csv(output)["time_point"].unique().tolist() == [NOW]


def test_two_processes_make_the_same_lists_as_one(data: Path) -> None:
    one = recommend(data).read_text()
    arguments = ["recommend", "--data", str(data), "--algorithm", "ease", "--output", str(data.parent / "two.csv")]

    assert main([*arguments, "--jobs", "2"]) == 0
    assert (data.parent / "two.csv").read_text() == one


def test_a_report_says_how_good_the_lists_are(data: Path) -> None:
    assert evaluate(data, recommend(data)) == 0

    report = json.loads((data.parent / "report.json").read_text())
    assert report["time_points"] == 2
    assert 0.0 < report["mean"]["ndcg_at_10"] <= 1.0
    assert set(report["by_risk_level"]) <= {"conservative", "income", "balanced", "aggressive", "unknown"}
    assert [point["time_point"] for point in report["by_time_point"]] == [day.isoformat() for day in TIME_POINTS]


def test_the_hybrid_with_the_suitability_rule_lists_nothing_unsuitable(data: Path) -> None:
    assert evaluate(data, recommend(data, "hybrid-suitable")) == 0
    assert json.loads((data.parent / "report.json").read_text())["mean"]["unsuitable_share"] == 0.0

    assert evaluate(data, recommend(data, "hybrid")) == 0
    assert json.loads((data.parent / "report.json").read_text())["mean"]["unsuitable_share"] > 0.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_point": "2011-11-11"}, "is no time point"),
        ({"customerID": "nobody"}, "is no customer of this time point"),
        ({"ISIN": "nothing"}, "is no asset of this time point"),
        ({"ISIN": "owned"}, "is owned already"),
        ({"ISIN": "the second"}, "is listed twice"),
        ({"rank": "2"}, "has two assets at one rank"),
        ({"rank": "11"}, "is not one of 1 to 10"),
        ({"rank": "first"}, "is not one of 1 to 10"),
    ],
)
def test_lists_that_break_the_protocol_are_refused(
    data: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], said: str
) -> None:
    path = recommend(data)
    lists = pd.read_csv(path, dtype=str)
    first = lists.iloc[0]
    buys = planted_folder().first_buys
    owned = buys[(buys["customerID"] == first["customerID"]) & (buys["date"] <= NOW)]["ISIN"]
    named = {"owned": next(isin for isin in owned if isin != isin_of(99)), "the second": lists.iloc[1]["ISIN"]}
    for column, value in change.items():
        lists.loc[0, column] = named.get(value, value)
    lists.to_csv(path, index=False)

    assert evaluate(data, path) == 2
    assert said in capsys.readouterr().err


def test_a_split_without_relevant_cannot_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted_folder().write(tmp_path, relevant=False)

    assert evaluate(data, recommend(data)) == 2
    assert "does not say what was relevant" in capsys.readouterr().err


def test_cutoffs_make_a_folder_that_the_other_commands_read(data: Path) -> None:
    tables, own = data.parent / "FAR-Trans", data.parent / "own"
    buys = planted_folder().first_buys.rename(columns={"date": "timestamp"})
    buys.assign(transactionID="1", transactionType="Buy").to_csv(tables / "transactions.csv", index=False)
    limits = pd.DataFrame({"ISIN": [isin_of(index) for index in range(24)], "minDate": "2018-01-01"})
    limits.assign(maxDate="2020-12-31").to_csv(tables / "limit_prices.csv", index=False)
    chosen = ["--dates", "2019-12-01", "2020-03-01", "--until", "2020-06-30"]

    assert main(["cutoffs", "--far-trans", str(tables), "--output", str(own), *chosen]) == 0
    assert evaluate(own, recommend(own)) == 0

    report = json.loads((data.parent / "report.json").read_text())
    assert [point["time_point"] for point in report["by_time_point"]] == ["2019-12-01", "2020-03-01"]
    assert report["mean"]["known_return_share"] == 1.0


def test_cutoffs_without_transactions_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--far-trans", str(data.parent / "FAR-Trans"), "--output", str(data.parent / "own")]

    assert main(["cutoffs", *arguments, "--dates", "2019-12-01", "--until", "2020-06-30"]) == 2
    assert "transactions.csv cannot be read" in capsys.readouterr().err


def test_examples_show_what_customers_own_and_their_suitable_lists(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = data.parent / "FAR-Trans"
    limits = pd.DataFrame({"ISIN": [isin_of(index) for index in range(24)], "minDate": "2018-01-01"})
    limits.assign(maxDate="2020-12-31").to_csv(tables / "limit_prices.csv", index=False)
    arguments = ["--data", str(data), "--far-trans", str(tables), "--date", NOW, "--customers", "C000", "stranger"]

    assert main(["examples", *arguments]) == 0

    owner, stranger = capsys.readouterr().out.split("### stranger")
    buys = planted_folder().first_buys
    owned = buys[(buys["customerID"] == "C000") & (buys["date"] <= NOW)]
    assert f"### C000: {level_of('C000')}, owns {len(owned)}, basis history" in owner
    bought, table = owner.split("|", 1)
    for isin, name, day in zip(owned["ISIN"], owned["ISIN"].str[-2:].astype(int), owned["date"], strict=True):
        assert f"asset {name} `{isin}` ({day})" in bought
        assert isin not in table
    assert "risk level unknown, owns 0, basis segment_prior" in stranger
    assert "Bought, latest first: nothing" in stranger
    assert "| Stock |" not in stranger  # only the least risk is suitable


def level_of(customer_id: str) -> str:
    """Return the risk level of a customer at the first time point as `examples` shows it."""
    customers = planted_folder().customers
    of_customer = customers[(customers["customerID"] == customer_id) & (customers["timestamp"] <= NOW)]
    level = str(of_customer["riskLevel"].iloc[-1])
    return "risk level unknown" if level == "Not_Available" else level
