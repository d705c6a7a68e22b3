"""A ground truth small enough to compute by hand: a few assets and customers, and what was known at one day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import numpy as np

from shared.recommender.id_map import AssetIdMap
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.pipeline import K
from shared.recommender.training_data import ClosePrices, InteractionRows, Purchases, TrainingData, day_number
from shared.recommender.types import Asset, Customer, RiskLevel
from trainer.benchmark.ground_truth import GroundTruth
from trainer.benchmark.known import KnownData, Lists, Split

DAY = date(2020, 1, 1)
Price = tuple[str, int, float]  # asset, days before DAY, price


def small_truth(
    *,
    levels: Mapping[str, int],
    customers: Mapping[str, RiskLevel | None],
    owned: Mapping[str, str] | None = None,
    relevant: Mapping[str, str] | None = None,
    returns: Mapping[str, float] | None = None,
    prices: Sequence[Price] = (),
    sectors: Mapping[str, str] | None = None,
) -> GroundTruth:
    """Build it. Assets are letters: `owned={"ann": "AB"}`; everybody finds A relevant unless told otherwise."""
    id_map = AssetIdMap.build(levels)
    names = sorted(customers)
    bought = [(names.index(name), id_map.asset_index(isin)) for name, isins in (owned or {}).items() for isin in isins]
    data = TrainingData(
        id_map=id_map,
        assets=tuple(Asset(isin, "Stock", sector=(sectors or {}).get(isin)) for isin in id_map.isins),
        customers=tuple(Customer(name, customers[name]) for name in names),
        purchases=Purchases(*np.array([(*pair, day_number(DAY)) for pair in bought], dtype=np.int32).reshape(-1, 3).T),
        close_prices=close_prices(id_map, prices),
        interactions=InteractionRows(
            np.array([], np.int32), np.array([], np.int32), np.array([], np.int8), np.array([], np.float64)
        ),
        as_of=DAY,
        now=datetime(2020, 1, 1, 23, tzinfo=UTC),
    )
    return GroundTruth(
        split=Split(DAY, tuple(names), tuple(id_map.isins)),
        known=KnownData(data),
        relevant={name: frozenset((relevant or {}).get(name, "A")) for name in names},
        monthly_returns=dict(returns or {}),
        asset_levels=np.array([levels[isin] for isin in id_map.isins], dtype=np.int8),
    )


def close_prices(id_map: AssetIdMap, prices: Sequence[Price]) -> ClosePrices:
    """Build prices by asset and then day."""
    rows = sorted((id_map.asset_index(isin), day_number(DAY) - before, price) for isin, before, price in prices)
    asset, day, close = zip(*rows, strict=True) if rows else ((), (), ())
    return ClosePrices(np.array(asset, np.int32), np.array(day, np.int32), np.array(close, np.float64))


def lists_of(truth: GroundTruth, *lists: str) -> Lists:
    """Build one list for each customer by name; a letter is a place."""
    rows = [[truth.known.id_map.asset_index(isin) for isin in of_customer] for of_customer in lists]
    return np.array([[*row, *[NO_ASSET] * (K - len(row))] for row in rows], dtype=np.int64)
