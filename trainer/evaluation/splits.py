"""Windows of time: what was known at a cutoff, and what customers first bought after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from shared.recommender.fitting import tradable_assets
from shared.recommender.training_data import TrainingData, day_number
from shared.recommender.types import CustomerHistory

LEAST_TEST_CUSTOMERS = 50
MOST_TEST_CUSTOMERS = 5_000  # of more, a sample: the figures no longer change, only the time does
LONGEST_WINDOW_DAYS = 730
PRICE_TOLERANCE_DAYS = 14  # a close price stands for a date that it precedes by no more than this
DAYS_PER_MONTH = 30.0  # as the published benchmark counts months
DAYS_PER_YEAR = 365.0
LEAST_RETURNS = 4  # of an asset in a year, for its volatility


@dataclass(frozen=True)
class TemporalSplit:
    """What was known at `cutoff`, and what customers first bought after it, up to `end`.

    histories: those test customers' histories at the cutoff. relevant: for each, the positions of the assets.
    monthly_returns: (A,) over the window, NaN where a price is not known. cold_assets: (A,) nobody had bought it.
    """

    training: TrainingData
    cutoff: date
    end: date
    histories: list[CustomerHistory]
    relevant: list[frozenset[int]]
    monthly_returns: NDArray[np.float64]
    cold_assets: NDArray[np.bool_]

    def dates(self) -> dict[str, str]:
        """Return the first and last day of the window as text."""
        return {"cutoff": self.cutoff.isoformat(), "end": self.end.isoformat()}


def build_split(data: TrainingData, *, window_days: int) -> TemporalSplit | None:
    """Split at `as_of - window_days`, or earlier until there are enough test customers; None when there never are.

    A test customer bought, within the window, an asset for the first time that was tradable at the cutoff.
    """
    window = window_days
    while window <= max(window_days, LONGEST_WINDOW_DAYS):
        cutoff = data.as_of - timedelta(days=window)
        tradable = tradable_assets(data.known_at(cutoff))
        relevant = first_bought(data, after=day_number(cutoff), until=data.last_day, tradable=tradable)
        if len(relevant) >= LEAST_TEST_CUSTOMERS and (data.purchases.day <= day_number(cutoff)).any():
            return _split_at(data, cutoff, relevant)
        window = window * 2
    return None


def monthly_returns(data: TrainingData, *, start: date, end: date) -> NDArray[np.float64]:
    """Return (A,) mean monthly returns between two dates, compounded; NaN without a price near either date."""
    first, last = (prices_at(data, day_number(day), tolerance_days=PRICE_TOLERANCE_DAYS) for day in (start, end))
    months = (end - start).days / DAYS_PER_MONTH
    growth: NDArray[np.float64] = (last / first) ** (1.0 / months) - 1.0
    return growth


def annual_volatility(data: TrainingData) -> NDArray[np.float64]:
    """Return (A,) annual deviations of log returns over the last year, NaN below LEAST_RETURNS returns.

    Prices may be days apart: a return counts per square root of its days.
    """
    prices, count = data.close_prices, len(data.id_map)
    recent = prices.day > data.last_day - DAYS_PER_YEAR
    asset, day, close = (column[recent] for column in (prices.asset_index, prices.day, prices.close))
    same = asset[1:] == asset[:-1]
    returns = np.diff(np.log(close))[same] / np.sqrt(np.maximum(np.diff(day), 1)[same])
    of = asset[1:][same]
    returns_of = np.bincount(of, minlength=count)
    mean = np.bincount(of, returns, minlength=count) / np.maximum(returns_of, 1)
    squares = np.bincount(of, (returns - mean[of]) ** 2, minlength=count) / np.maximum(returns_of, 1)
    return np.where(returns_of >= LEAST_RETURNS, np.sqrt(squares * DAYS_PER_YEAR), np.nan)


def prices_at(data: TrainingData, day: int, *, tolerance_days: int) -> NDArray[np.float64]:
    """Return (A,) the latest close prices up to a day, not older than `tolerance_days`; NaN where there is none."""
    prices, found = data.close_prices, np.full(len(data.id_map), np.nan)
    near = (prices.day <= day) & (prices.day >= day - tolerance_days)
    found[prices.asset_index[near]] = prices.close[near]  # sorted by day: the latest stays
    return found


def first_bought(
    data: TrainingData, *, after: int, until: int, tradable: NDArray[np.bool_]
) -> dict[int, frozenset[int]]:
    """Return by customer position the tradable assets first bought on the days after one day, up to another."""
    asset_count = len(data.id_map)
    first, days = data.derived("first days of pairs", lambda: _first_days(data))
    bought = first[(days > after) & (days <= until)]
    customers, assets = np.divmod(bought[tradable[bought % asset_count]], asset_count)
    buyers, starts = np.unique(customers, return_index=True)  # pairs ascend, so those of a customer are together
    listed, bounds = assets.tolist(), [*starts.tolist(), len(assets)]
    return {
        buyer: frozenset(listed[start:end])
        for buyer, start, end in zip(buyers.tolist(), bounds[:-1], bounds[1:], strict=True)
    }


def _first_days(data: TrainingData) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return (F,) the pairs of customer and asset, each as one number, ascending, and (F,) the day of the first."""
    purchases = data.purchases
    pairs = purchases.customer_index.astype(np.int64) * len(data.id_map) + purchases.asset_index
    first, rows = np.unique(pairs, return_index=True)  # rows are in order of the day
    return first, purchases.day[rows]


def sample_customers(customers: Sequence[int], *, most: int, seed: int) -> list[int]:
    """Return all customers, or so many of them in their order; the same for the same seed."""
    if len(customers) <= most:
        return list(customers)
    chosen = np.random.default_rng(seed).choice(len(customers), most, replace=False)
    return [customers[position] for position in sorted(chosen.tolist())]


def _split_at(data: TrainingData, cutoff: date, relevant: Mapping[int, frozenset[int]]) -> TemporalSplit:
    customers = sample_customers(list(relevant), most=MOST_TEST_CUSTOMERS, seed=0)
    training = data.known_at(cutoff)
    return TemporalSplit(
        training=training,
        cutoff=cutoff,
        end=data.as_of,
        histories=training.histories(customers),
        relevant=[relevant[customer] for customer in customers],
        monthly_returns=monthly_returns(data, start=cutoff, end=data.as_of),
        cold_assets=np.bincount(training.purchases.asset_index, minlength=len(data.id_map)) == 0,
    )
