"""Training data of a few rows that a test writes down, without tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.recommender.history import HistoryMatrix
from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_data import (
    ClosePrices,
    InteractionRows,
    Purchases,
    TrainingData,
    date_of,
    end_of_day,
)
from shared.recommender.types import Asset, Customer
from tests.builders import build_isins


def data_of_purchases(
    *rows: tuple[int, int, int],
    assets: int | Sequence[Asset] = 4,
    customers: Sequence[Customer] | None = None,
    last_day: int | None = None,
) -> TrainingData:
    """Build from (day, customer, asset); the last day is that of the last row unless it is given."""
    day, customer, asset = np.array(sorted(rows), dtype=np.int32).reshape(-1, 3).T
    described = [Asset(isin, "Stock") for isin in build_isins(assets)] if isinstance(assets, int) else list(assets)
    described_customers = customers or [Customer(f"C{index}") for index in range(int(customer.max(initial=-1)) + 1)]
    as_of = date_of(int(day.max(initial=0)) if last_day is None else last_day)
    no_rows = np.zeros(0, np.int32)
    return TrainingData(
        id_map=AssetIdMap(tuple(one.isin for one in described)),
        assets=tuple(described),
        customers=tuple(described_customers),
        purchases=Purchases(customer, asset, day),
        close_prices=ClosePrices(no_rows, no_rows, np.zeros(0)),
        interactions=InteractionRows(no_rows, no_rows, no_rows.astype(np.int8), np.zeros(0)),
        as_of=as_of,
        now=end_of_day(as_of),
    )


def data_of_history(history: HistoryMatrix) -> TrainingData:
    """Build data whose customers have this history."""
    rows, columns = history.nonzero()
    data = data_of_purchases(
        *((0, int(row), int(column)) for row, column in zip(rows, columns, strict=True)),
        assets=history.shape[1],
        customers=[Customer(f"C{index}") for index in range(history.shape[0])],
    )
    vars(data)["history"] = history
    return data
