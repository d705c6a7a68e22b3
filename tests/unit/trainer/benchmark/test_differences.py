"""Paired differences between two files of lists, by a truth that is small enough to compute by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from shared.recommender.types import RiskLevel
from tests.unit.trainer.benchmark.small_truth import small_truth
from trainer.benchmark.differences import difference_sections, differences_from
from trainer.benchmark.evaluation import GroundTruths
from trainer.benchmark.protocol import Benchmark

EMPTY = pd.DataFrame()
POINTS = ("2020-01-01", "2020-02-01", "2020-03-01")
CUSTOMERS = ("ann", "bob", "cid")


def truths() -> GroundTruths:
    """Build three time points at which everybody buys A next."""
    truth = small_truth(levels={"A": 1, "B": 1, "C": 1}, customers=dict.fromkeys(CUSTOMERS, RiskLevel.INCOME))
    return GroundTruths(Benchmark(Path(), EMPTY, EMPTY, EMPTY, EMPTY), dict.fromkeys(POINTS, truth))


def lists(of_customers: dict[str, str]) -> pd.DataFrame:
    """Build the same lists at every time point; a letter is a place."""
    rows = [
        (point, name, rank, isin)
        for point in POINTS
        for name, isins in of_customers.items()
        for rank, isin in enumerate(isins, start=1)
    ]
    return pd.DataFrame(rows, columns=["time_point", "customerID", "rank", "ISIN"])


def differences(**other: str) -> dict[str, Any]:
    frames = {"hybrid": lists(dict.fromkeys(CUSTOMERS, "AB")), "other": lists(other)}
    found: dict[str, Any] = differences_from("hybrid", frames, truths())["other"]
    return found


def test_the_difference_is_that_of_the_same_customers() -> None:
    found = differences(ann="AB", bob="AB", cid="BC")  # cid finds nothing: one of three customers loses all

    assert found["ndcg_at_10"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["points_better"] == found["time_points"] == 3


def test_customers_are_drawn_with_all_their_time_points() -> None:
    found = differences(ann="AB", bob="AB", cid="BC")

    assert found["interval_95"]["customers"] == [0.0, 1.0]  # of three drawn customers none or every one may be cid
    assert found["interval_95"]["time_points"] == pytest.approx([1 / 3, 1 / 3], abs=1e-6)  # each time point is alike


def test_equal_lists_have_no_difference_and_a_missing_list_counts_as_empty() -> None:
    assert differences(ann="AB", bob="AB", cid="AB")["interval_95"]["customers"] == [0.0, 0.0]
    assert differences(ann="AB", bob="AB")["ndcg_at_10"] == pytest.approx(1 / 3, abs=1e-6)


def test_the_table_begins_with_the_closest() -> None:
    near, far = differences(ann="AB", bob="AB", cid="BC"), differences(ann="BC", bob="BC", cid="BC")
    table = difference_sections("hybrid", {"far": far, "near": near})[2].splitlines()

    assert [row.split(" | ")[0] for row in table[2:]] == ["| near", "| far"]
    assert "| 0.3333 | 0.0000 to 1.0000 | 0.3333 to 0.3333 | 3/3 |" in table[2]
