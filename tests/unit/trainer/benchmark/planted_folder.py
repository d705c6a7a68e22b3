"""A small invented benchmark folder: customers who like one kind of asset, prices, and reference tables with dates."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

FIRST = date(2018, 1, 2)
LAST = date(2020, 8, 1)
TIME_POINTS = (date(2019, 10, 1), date(2020, 2, 1))
ASSETS, CUSTOMERS, WINDOW_DAYS = 24, 90, 120
RISK_LEVELS = ("Conservative", "Income", "Balanced", "Aggressive", "Not_Available")


@dataclass(frozen=True)
class Folder:
    """The tables of a benchmark folder and of the reference tables beside it."""

    first_buys: pd.DataFrame
    customers: pd.DataFrame
    assets: pd.DataFrame
    prices: pd.DataFrame

    def write(self, directory: Path, *, relevant: bool = True) -> Path:
        """Write it; `relevant` False leaves that key out. Returns the benchmark folder; tables lie in FAR-Trans."""
        tables = directory / "FAR-Trans"
        tables.mkdir(parents=True, exist_ok=True)
        self.customers.to_csv(tables / "customer_information.csv", index=False)
        self.assets.to_csv(tables / "asset_information.csv", index=False)
        self.prices.to_csv(tables / "close_prices.csv", index=False)
        folder = directory / "benchmark"
        (folder / "splits").mkdir(parents=True, exist_ok=True)
        self.first_buys.to_csv(folder / "first_buys.csv", index=False)
        planted_returns().to_csv(folder / "asset_returns.csv", index=False)
        for time_point in TIME_POINTS:
            # For whom, from what and what came after is the planted folder's, whatever happened to the rows.
            fields = planted_split(time_point)
            if not relevant:
                del fields["relevant"]
            (folder / "splits" / f"{time_point}.json").write_text(json.dumps(fields))
        return folder


def planted_folder() -> Folder:
    """Build the folder, the same each time."""
    random = np.random.default_rng(5)
    return Folder(_first_buys(random), _customers(random), _assets(), _prices(random))


def planted_split(time_point: date) -> dict[str, object]:
    """Build one split: who bought before and after, what they first bought within the window, all but two assets."""
    buys = _first_buys(np.random.default_rng(5))
    now, end = time_point.isoformat(), (time_point + timedelta(days=WINDOW_DAYS)).isoformat()
    before, after = buys[buys["date"] <= now], buys[(buys["date"] > now) & (buys["date"] <= end)]
    assets = [isin_of(index) for index in range(ASSETS - 2)]
    after = after[after["customerID"].isin(before["customerID"]) & after["ISIN"].isin(assets)]
    relevant = {str(name): sorted(rows["ISIN"]) for name, rows in after.groupby("customerID")}
    return {
        **{"time_point": now, "test_end": end},
        **{"customers": sorted(relevant), "assets": assets, "relevant": relevant},
    }


def planted_returns() -> pd.DataFrame:
    """Build returns: the asset's number in thousandths, of every second asset."""
    return pd.DataFrame(
        [
            (time_point.isoformat(), "unused", isin_of(index), index / 1000)
            for time_point in TIME_POINTS
            for index in range(0, ASSETS, 2)
        ],
        columns=["time_point", "test_end", "ISIN", "monthly_return"],
    )


def with_rows(folder: Folder, **tables: pd.DataFrame) -> Folder:
    """Return the folder with other tables."""
    return replace(folder, **tables)


def isin_of(index: int) -> str:
    """Name an asset."""
    return f"GRS{index:09d}"


def _first_buys(random: np.random.Generator) -> pd.DataFrame:
    days = (LAST - FIRST).days
    rows = []
    for customer in range(CUSTOMERS):
        liked = np.where(np.arange(ASSETS) % 4 == customer % 4, 1.0, 0.1) / np.sqrt(np.arange(1, ASSETS + 1))
        count = int(random.integers(4, 9))
        for asset in random.choice(ASSETS, count, replace=False, p=liked / liked.sum()):
            day = FIRST + timedelta(days=int(random.integers(0, days + 1)))
            rows.append((f"C{customer:03d}", isin_of(int(asset)), day.isoformat()))
    # Strangers of the last days, first in any order: were they seen, every position would move.
    rows += [("A000", isin_of(0), "2020-07-01"), ("C000", "AAA000000000", "2020-07-02")]
    return pd.DataFrame(rows, columns=["customerID", "ISIN", "date"]).sort_values("date", ignore_index=True)


def _customers(random: np.random.Generator) -> pd.DataFrame:
    rows = []
    for customer in range(CUSTOMERS):
        for recorded in ("2018-01-02", "2020-06-01"):
            level, capacity = random.choice(RISK_LEVELS), random.choice(["CAP_LT30K", "CAP_80K_300K"])
            rows.append((f"C{customer:03d}", "Mass", level, capacity, recorded, recorded))
    names = ["customerID", "customerType", "riskLevel", "investmentCapacity", "lastQuestionnaireDate", "timestamp"]
    return pd.DataFrame(rows, columns=names)


def _assets() -> pd.DataFrame:
    kinds = (("Stock", ""), ("Bond", "Government"), ("MTF", "Balanced"))
    rows = []
    for index in range(ASSETS):
        for recorded, shift in (("2018-01-02", 0), ("2020-05-01", 1)):
            kind = kinds[(index + shift) % 3]
            rows.append((isin_of(index), f"asset {index}", "", *kind, "XATH", f"sector {index % 4}", "", recorded))
    names = ["assetName", "assetShortName", "assetCategory", "assetSubCategory", "marketID", "sector", "industry"]
    return pd.DataFrame(rows, columns=["ISIN", *names, "timestamp"])


def _prices(random: np.random.Generator) -> pd.DataFrame:
    days = [FIRST + timedelta(days=offset) for offset in range(0, (LAST - FIRST).days, 4)]
    rows = []
    for index in range(ASSETS):
        prices = 10.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, len(days))))
        rows += [(isin_of(index), day.isoformat(), price) for day, price in zip(days, prices, strict=True)]
    return pd.DataFrame(rows, columns=["ISIN", "timestamp", "closePrice"])
