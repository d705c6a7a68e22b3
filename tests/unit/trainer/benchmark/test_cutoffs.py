"""A benchmark folder of chosen dates: who is in it, what counts, and what is refused."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from shared.errors import ReferenceDataInvalid
from trainer.benchmark.cutoffs import write_cutoffs

DAY, UNTIL = date(2020, 3, 1), date(2020, 4, 30)
TRANSACTIONS = """\
customerID,ISIN,transactionID,transactionType,timestamp,totalValue,units,channel,marketID
ann,OLD,1,Buy,2020-01-01,,,,
ann,NEW,2,Buy,2020-03-02,,,,
ann,OLD,3,Buy,2020-03-03,,,,
ann,GONE,4,Buy,2020-03-04,,,,
ann,LATE,5,Buy,2020-05-01,,,,
bob,OLD,6,Buy,2020-03-01,,,,
bob,NEW,7,Sell,2020-03-05,,,,
cid,NEW,8,Buy,2020-03-06,,,,
"""
LIMITS = """\
ISIN,minDate,maxDate,priceMinDate,priceMaxDate,profitability
OLD,2018-01-02,2022-11-29,1,2,1
NEW,2020-03-01,2020-04-30,1,2,1
LATE,2020-03-02,2022-11-29,1,2,1
GONE,2018-01-02,2020-04-29,1,2,1
"""
PRICES = """\
ISIN,timestamp,closePrice
OLD,2020-02-20,1.0
OLD,2020-04-29,1.21
NEW,2020-02-01,1.0
NEW,2020-04-30,2.0
GONE,2020-03-01,1.0
GONE,2020-04-30,2.0
"""


@pytest.fixture
def far_trans(tmp_path: Path) -> Path:
    """A folder with the three tables that are read."""
    folder = tmp_path / "FAR-Trans"
    folder.mkdir()
    for name, text in (("transactions", TRANSACTIONS), ("limit_prices", LIMITS), ("close_prices", PRICES)):
        (folder / f"{name}.csv").write_text(text)
    return folder


def split(far_trans: Path) -> dict[str, Any]:
    output = far_trans.parent / "own"
    write_cutoffs(far_trans, output, dates=[DAY], until=UNTIL)
    fields: dict[str, Any] = json.loads((output / "splits" / "2020-03-01.json").read_text())
    return fields


def test_candidates_have_prices_from_the_date_to_the_end(far_trans: Path) -> None:
    assert split(far_trans)["assets"] == ["NEW", "OLD"]


def test_customers_have_a_history_and_buy_a_candidate_for_the_first_time(far_trans: Path) -> None:
    fields = split(far_trans)

    assert fields["customers"] == ["ann"]  # bob sells, cid has no history
    assert fields["relevant"] == {"ann": ["NEW"]}
    assert (fields["time_point"], fields["test_end"]) == ("2020-03-01", "2020-04-30")


def test_purchases_are_the_first_of_each_pair_up_to_the_end(far_trans: Path) -> None:
    split(far_trans)
    buys = pd.read_csv(far_trans.parent / "own" / "first_buys.csv")

    assert list(buys.columns) == ["customerID", "ISIN", "date"]
    assert list(zip(buys["customerID"], buys["ISIN"], buys["date"], strict=True)) == [
        ("ann", "OLD", "2020-01-01"),
        ("bob", "OLD", "2020-03-01"),
        ("ann", "NEW", "2020-03-02"),
        ("ann", "GONE", "2020-03-04"),
        ("cid", "NEW", "2020-03-06"),
    ]


def test_returns_are_monthly_and_of_candidates_with_a_price_near_both_dates(far_trans: Path) -> None:
    split(far_trans)
    returns = pd.read_csv(far_trans.parent / "own" / "asset_returns.csv")

    assert returns["ISIN"].tolist() == ["OLD"]  # the first price of NEW is 29 days old
    assert returns["monthly_return"].tolist() == pytest.approx([0.1])  # 21 % in sixty days


def test_returns_are_unknown_without_prices(far_trans: Path) -> None:
    (far_trans / "close_prices.csv").unlink()
    split(far_trans)

    assert len(pd.read_csv(far_trans.parent / "own" / "asset_returns.csv")) == 0


def test_a_date_that_leaves_nothing_to_evaluate_is_refused(far_trans: Path) -> None:
    with pytest.raises(ReferenceDataInvalid, match="nobody with a history"):
        write_cutoffs(far_trans, far_trans.parent / "own", dates=[UNTIL], until=UNTIL)


def test_a_missing_table_is_refused(far_trans: Path) -> None:
    (far_trans / "transactions.csv").unlink()

    with pytest.raises(ReferenceDataInvalid, match="cannot be read"):
        write_cutoffs(far_trans, far_trans.parent / "own", dates=[DAY], until=UNTIL)
