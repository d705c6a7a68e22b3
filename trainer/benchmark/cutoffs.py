"""A benchmark folder of chosen dates, from `transactions.csv` and the prices: format and rules of the given one.

Customers of a date are those with a purchase up to it and a first purchase of a candidate after it. Candidates are the
assets with published prices from the date to the end, as the given splits have them (`limit_prices.csv`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from shared.errors import ReferenceDataInvalid
from shared.far_trans.schema import CLOSE_PRICES, LIMIT_PRICES, TRANSACTIONS
from trainer.benchmark.protocol import read_csv
from trainer.evaluation.splits import DAYS_PER_MONTH, PRICE_TOLERANCE_DAYS

_TRANSACTIONS = TRANSACTIONS.csv_names("customer_id", "isin", "transaction_type", "traded_on")
_LIMITS = LIMIT_PRICES.csv_names("isin", "min_date", "max_date")
_PRICES = CLOSE_PRICES.csv_names("isin", "priced_on", "close_price")


def write_cutoffs(far_trans: Path, output: Path, *, dates: Sequence[date], until: date) -> dict[str, int]:
    """Write first_buys.csv, asset_returns.csv and a split for each date; return how many customers each date has.

    Purchases up to `until` count, so a window ends there. Raises ReferenceDataInvalid when a table is missing or a
    date leaves nothing to evaluate.
    """
    buys = _first_buys(far_trans / TRANSACTIONS.file_name, until)
    prices = _read_prices(far_trans / CLOSE_PRICES.file_name)
    (output / "splits").mkdir(parents=True, exist_ok=True)
    counts, returns = {}, []
    for day in sorted(set(dates)):
        split = _build_split(buys, priced_assets(far_trans, day, until), day=day, until=until)
        if not split["relevant"]:
            raise ReferenceDataInvalid(f"nobody with a history buys anything new between {day} and {until}")
        path = output / "splits" / f"{day.isoformat()}.json"
        path.write_text(json.dumps(split), encoding="utf-8")
        returns.append(_monthly_returns(prices, set(split["assets"]), day=day, until=until))
        counts[day.isoformat()] = len(split["customers"])
    names = {"customer_id": "customerID", "isin": "ISIN", "traded_on": "date"}
    buys.rename(columns=names)[list(names.values())].to_csv(output / "first_buys.csv", index=False)
    pd.concat(returns).to_csv(output / "asset_returns.csv", index=False)
    return counts


def priced_assets(far_trans: Path, first: date, last: date) -> list[str]:
    """Return the ISINs whose published prices cover both days; raises ReferenceDataInvalid without the table."""
    limits = read_csv(far_trans / LIMIT_PRICES.file_name, _LIMITS)
    covered = (limits["min_date"].str[:10] <= first.isoformat()) & (limits["max_date"].str[:10] >= last.isoformat())
    return sorted(map(str, limits.loc[covered, "isin"].unique()))


def _first_buys(path: Path, until: date) -> pd.DataFrame:
    """Return when each customer first bought each asset, in order of the day, up to `until`."""
    rows = read_csv(path, _TRANSACTIONS)
    rows = rows[rows["transaction_type"] == "Buy"].assign(traded_on=rows["traded_on"].str[:10])
    rows = rows[rows["traded_on"] <= until.isoformat()].sort_values("traded_on", kind="stable")
    return rows.drop_duplicates(["customer_id", "isin"])


def _build_split(buys: pd.DataFrame, assets: list[str], *, day: date, until: date) -> dict[str, Any]:
    start, end = day.isoformat(), until.isoformat()
    before, after = buys[buys["traded_on"] <= start], buys[buys["traded_on"] > start]
    after = after[after["customer_id"].isin(before["customer_id"]) & after["isin"].isin(assets)]
    relevant = {str(name): sorted(isins) for name, isins in after.groupby("customer_id")["isin"]}
    return {
        "time_point": start,
        "test_end": end,
        "customers": sorted(relevant),
        "assets": assets,
        "relevant": relevant,
    }


def _read_prices(path: Path) -> pd.DataFrame:
    """Return the close prices that are numbers, in order of the day; none without the file."""
    if not path.is_file():
        return pd.DataFrame({"isin": [], "priced_on": pd.to_datetime([]), "close_price": []})
    prices = read_csv(path, _PRICES)
    prices["close_price"] = pd.to_numeric(prices["close_price"], errors="coerce")
    prices["priced_on"] = pd.to_datetime(prices["priced_on"], format="ISO8601")
    return prices[prices["close_price"] > 0].sort_values("priced_on", kind="stable")


def _monthly_returns(prices: pd.DataFrame, assets: set[str], *, day: date, until: date) -> pd.DataFrame:
    """Return mean monthly returns, compounded, of the assets with a price near both dates."""
    first, last = (_prices_at(prices, moment) for moment in (day, until))
    growth = (last / first).dropna() ** (DAYS_PER_MONTH / (until - day).days) - 1.0
    growth = growth[growth.index.isin(assets)]
    return pd.DataFrame(
        {
            "time_point": day.isoformat(),
            "test_end": until.isoformat(),
            "ISIN": growth.index,
            "monthly_return": growth.to_numpy(),
        }
    )


def _prices_at(prices: pd.DataFrame, day: date) -> pd.Series[float]:
    """Return by ISIN the last price up to a day that is not older than PRICE_TOLERANCE_DAYS."""
    moment = pd.Timestamp(day)
    near = (prices["priced_on"] <= moment) & (prices["priced_on"] >= moment - pd.Timedelta(days=PRICE_TOLERANCE_DAYS))
    return prices[near].groupby("isin")["close_price"].last()
