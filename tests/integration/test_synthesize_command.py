"""The invented data set by its command: the published counts at scale 1, in time, and the same bytes everywhere."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from shared.far_trans.synthetic import synthesize
from tests.far_trans_files import REPOSITORY

COMMAND = [sys.executable, str(REPOSITORY / "FAR-Trans" / "synthesize.py")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=120)


def test_scale_one_has_the_published_counts_and_skew_within_a_minute(tmp_path: Path) -> None:
    started = time.monotonic()
    assert run("--scale", "1", "--seed", "7", "--output", str(tmp_path)).returncode == 0
    assert time.monotonic() - started < 60
    transactions = pd.read_csv(tmp_path / "transactions.csv", dtype=str)
    customers = pd.read_csv(tmp_path / "customer_information.csv")
    assets = pd.read_csv(tmp_path / "asset_information.csv")
    prices = pd.read_csv(tmp_path / "close_prices.csv")
    assert (customers.customerID.nunique(), len(customers)) == (29_090, 32_468)
    assert (assets.ISIN.nunique(), len(assets)) == (806, 836)
    assert (prices.ISIN.nunique(), len(prices)) == (806, 703_303)
    assert (transactions.ISIN.nunique(), len(transactions)) == (321, 388_049)
    assert (transactions.transactionType == "Buy").sum() == 228_913
    assert len(pd.read_csv(tmp_path / "markets.csv")) == 38
    assert transactions.transactionID.duplicated(keep=False).sum() == 29_000
    assert transactions.ISIN.value_counts().head(12).sum() > len(transactions) / 2
    per_customer = transactions.customerID.value_counts()
    assert (per_customer <= 3).sum() > 29_090 / 2
    assert 620 <= (per_customer > 100).sum() <= 680


def test_command_writes_the_same_bytes_as_the_function(tmp_path: Path) -> None:
    synthesize(tmp_path / "here", 0.02, 5)
    assert run("--scale", "0.02", "--seed", "5", "--output", str(tmp_path / "there")).returncode == 0
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "there").iterdir())
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.parametrize("scale", ["0", "nan", "1000"])
def test_impossible_scale_is_a_message(tmp_path: Path, scale: str) -> None:
    answer = run("--scale", scale, "--output", str(tmp_path / "out"))
    assert (answer.returncode, answer.stderr) == (2, "failed: the scale must be more than 0 and at most 100\n")
    assert not (tmp_path / "out").exists()
