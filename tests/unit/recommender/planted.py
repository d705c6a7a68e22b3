"""A small invented bank whose customers' tastes are known: each prefers one sector, most follow the crowd a little."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from shared.recommender.training_data import TrainingData, date_of, day_number
from shared.recommender.training_rows import TrainingRows, build_training_data
from shared.recommender.types import Asset, Customer, InvestmentCapacity, RiskLevel

SECTORS = ("Energy", "Finance", "Health", "Technology")
AS_OF = date(2022, 11, 29)
NOW = datetime(2022, 12, 1, tzinfo=UTC)
FIRST = AS_OF - timedelta(days=900)


def build_rows(*, seed: int = 7, customers: int = 300, assets: int = 40, **overrides: Any) -> TrainingRows:
    """Build what the database would hold; any table can be given instead."""
    random = np.random.default_rng(seed)
    tables: dict[str, Any] = {
        "assets": tuple(_asset(index) for index in range(assets)),
        "customers": tuple(_customer(index) for index in range(customers)),
        "purchases": _purchases(random, customers, assets),
        "close_prices": _close_prices(random, assets),
        "interactions": build_interactions([]),
    }
    return TrainingRows(**{**tables, **overrides})


def build_data(*, now: datetime = NOW, **arguments: Any) -> TrainingData:
    """Build the arrays of the same bank."""
    return build_training_data(build_rows(**arguments), now=now)


def build_purchases(rows: list[tuple[str, str, date]]) -> pd.DataFrame:
    """Build purchases of (customer, isin, day)."""
    return pd.DataFrame(
        {
            "customer_id": pd.Series([row[0] for row in rows], dtype="category"),
            "isin": pd.Series([row[1] for row in rows], dtype="category"),
            "day": np.array([day_number(row[2]) for row in rows], dtype=np.int32),
        }
    )


def build_interactions(rows: list[tuple[str, str, str, datetime]]) -> pd.DataFrame:
    """Build interactions of (customer, isin, type, moment)."""
    return pd.DataFrame(
        {
            "customer_id": pd.Series([row[0] for row in rows], dtype="category"),
            "isin": pd.Series([row[1] for row in rows], dtype="category"),
            "interaction_type": pd.Series([row[2] for row in rows], dtype="category"),
            "occurred_at": np.array([row[3].timestamp() for row in rows], dtype=np.float64),
        }
    )


def build_prices(rows: list[tuple[str, date, float]]) -> pd.DataFrame:
    """Build close prices of (isin, day, price)."""
    return pd.DataFrame(
        {
            "isin": pd.Series([row[0] for row in rows], dtype="category"),
            "day": np.array([day_number(row[1]) for row in rows], dtype=np.int32),
            "close_price": np.array([row[2] for row in rows], dtype=np.float64),
        }
    )


def isin_of(index: int) -> str:
    """Name an asset; the order of names is the order of indices."""
    return f"GRS{index:09d}"


def customer_of(index: int) -> str:
    """Name a customer."""
    return f"C{index:04d}"


def _asset(index: int) -> Asset:
    category, sub_category = ("Bond", "Government") if index % 5 == 0 else ("Stock", None)
    sector = SECTORS[index % len(SECTORS)]
    return Asset(isin_of(index), category, sub_category, "XATH", sector, f"{sector} services", FIRST, AS_OF)


def _customer(index: int) -> Customer:
    risk_level = (RiskLevel.AGGRESSIVE, RiskLevel.BALANCED, RiskLevel.INCOME, None)[index % 4 if index % 3 == 0 else 0]
    return Customer(customer_of(index), risk_level, InvestmentCapacity(index % 5))


def _purchases(random: np.random.Generator, customers: int, assets: int) -> pd.DataFrame:
    popularity = 1.0 / np.arange(1, assets + 1)
    rows = []
    for customer in range(customers):
        liked = np.array([1.0 if index % len(SECTORS) == customer % len(SECTORS) else 0.08 for index in range(assets)])
        taste = liked * popularity**0.5
        for _ in range(2 + random.geometric(0.25)):
            asset = random.choice(assets, p=taste / taste.sum())
            rows.append((customer_of(customer), isin_of(int(asset)), date_of(_day(random))))
    rows.append((customer_of(0), isin_of(0), AS_OF))
    return build_purchases(rows)


def _day(random: np.random.Generator) -> int:
    return int(random.integers(day_number(FIRST), day_number(AS_OF) + 1))


def _close_prices(random: np.random.Generator, assets: int) -> pd.DataFrame:
    days = [FIRST + timedelta(days=offset) for offset in range((AS_OF - FIRST).days + 1)]
    weekdays = [day for day in days if day.weekday() < 5]
    market = random.normal(0.0003, 0.01, len(weekdays))
    rows = []
    for asset in range(assets):
        steps = market * random.uniform(0.3, 1.5) + random.normal(0, 0.01, len(weekdays))
        prices = 10.0 * np.exp(np.cumsum(steps))
        rows += [(isin_of(asset), day, float(price)) for day, price in zip(weekdays, prices, strict=True)]
    return build_prices(rows)
