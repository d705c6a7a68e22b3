"""Judge a candidate by what customers bought next: fitted before a cutoff, tested on the window after it.

Lists come from `recommend_indices`, the function that serving uses, suitability included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import is_suitable
from shared.recommender.dataset import ClosePrices, TrainingData, day_number
from shared.recommender.histories import build_histories, owned_pairs
from shared.recommender.model import Model
from shared.recommender.ranking import NO_ASSET, recommend_indices
from shared.recommender.training import tradable_assets
from shared.recommender.types import CustomerHistory, Weights
from trainer.evaluation.bootstrap import interval_95

K = 10
LEAST_TEST_CUSTOMERS = 50
MOST_TEST_CUSTOMERS = 5_000  # of more, a sample: the figures no longer move, only the time does
LONGEST_WINDOW_DAYS = 730
PRICE_TOLERANCE_DAYS = 14  # a close price stands for a date that it precedes by no more than this
DAYS_PER_MONTH = 30.0  # as the published benchmark counts months

Lists = NDArray[np.int64]


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
        """Return the window in words."""
        return {"cutoff": self.cutoff.isoformat(), "end": self.end.isoformat()}


@dataclass(frozen=True)
class Metrics:
    """How good lists are; means over test customers, None where there is nothing to average.

    cold: customers without any history at the cutoff. cold_assets: assets that nobody had bought by then; their nDCG
    counts these alone as relevant, over the customers who bought one (cold_asset_buyers).
    cold_asset_share: of the places of all lists. ndcg_of_customers: (customers,), for comparisons pair by pair.
    """

    customers: int
    ndcg_at_10: float
    ndcg_at_10_warm: float | None
    ndcg_at_10_cold: float | None
    ndcg_at_10_cold_assets: float | None
    cold_customers: int
    cold_asset_buyers: int
    cold_asset_share: float
    roi_at_10: float | None
    known_return_share: float
    unsuitable_share: float
    ndcg_of_customers: NDArray[np.float64] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain rounded values, with the interval of nDCG in place of the figures of single customers."""
        values = {name: value for name, value in vars(self).items() if name != "ndcg_of_customers"}
        interval = interval_95(self.ndcg_of_customers)
        rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}
        return {**rounded, "ndcg_at_10_interval_95": [round(end, 6) for end in interval] if interval else None}


def evaluate(
    model: Model, split: TemporalSplit, *, weights: Weights | None = None, enforce_suitability: bool = True
) -> Metrics:
    """Return the metrics of what this model would have recommended at the cutoff; with its own weights, or others."""
    lists = recommend_indices(
        model,
        split.histories,
        k=K,
        now=split.training.now,
        weights=weights,
        enforce_suitability=enforce_suitability,
    )
    return evaluate_lists(lists, split, asset_risk_level=model.asset_risk_level)


def evaluate_lists(lists: Lists, split: TemporalSplit, *, asset_risk_level: NDArray[np.int8]) -> Metrics:
    """Return the metrics of (B, K) lists of asset positions, one per test customer."""
    ndcg = _ndcg_of_rows(lists, split.relevant)
    warm = np.array([bool(history.owned or history.interactions) for history in split.histories])
    cold_positions = frozenset(np.flatnonzero(split.cold_assets).tolist())
    bought_cold = [relevant & cold_positions for relevant in split.relevant]
    buys_cold = np.array([bool(relevant) for relevant in bought_cold])
    listed = lists != NO_ASSET
    returns = np.where(listed, split.monthly_returns[np.maximum(lists, 0)], np.nan)
    return Metrics(
        customers=len(lists),
        ndcg_at_10=float(ndcg.mean()),
        ndcg_at_10_warm=_mean(ndcg[warm]),
        ndcg_at_10_cold=_mean(ndcg[~warm]),
        ndcg_at_10_cold_assets=_mean(_ndcg_of_rows(lists, bought_cold)[buys_cold]),
        cold_customers=int((~warm).sum()),
        cold_asset_buyers=int(buys_cold.sum()),
        cold_asset_share=float(split.cold_assets[lists[listed]].sum() / max(listed.sum(), 1)),
        roi_at_10=_mean_of_rows(returns),
        known_return_share=float(np.isfinite(returns).sum() / max(listed.sum(), 1)),
        unsuitable_share=_unsuitable_share(lists, split.histories, asset_risk_level),
        ndcg_of_customers=ndcg,
    )


def build_split(data: TrainingData, *, window_days: int) -> TemporalSplit | None:
    """Split at `as_of - window_days`, or earlier until there are enough test customers; None when there never are.

    A test customer bought, within the window, an asset for the first time that was tradable at the cutoff.
    """
    window = window_days
    while window <= max(window_days, LONGEST_WINDOW_DAYS):
        cutoff = data.as_of - timedelta(days=window)
        relevant = _first_purchases(data, cutoff)
        if len(relevant) >= LEAST_TEST_CUSTOMERS and (data.purchases.day <= day_number(cutoff)).any():
            return _split_at(data, cutoff, relevant)
        window = window * 2
    return None


def ndcg_at_k(ranked: list[int], relevant: frozenset[int], k: int = K) -> float:
    """Normalised discounted cumulative gain with binary gains (Järvelin & Kekäläinen 2002, log2(rank + 1))."""
    gained = sum(1.0 / np.log2(place + 2) for place, asset in enumerate(ranked[:k]) if asset in relevant)
    ideal = sum(1.0 / np.log2(place + 2) for place in range(min(len(relevant), k)))
    return float(gained / ideal) if ideal else 0.0


def monthly_returns(prices: ClosePrices, *, asset_count: int, start: date, end: date) -> NDArray[np.float64]:
    """Return (A,) mean monthly returns between two dates, compounded; NaN without a price near either date."""
    first, last = (_prices_at(prices, asset_count, day_number(day)) for day in (start, end))
    months = (end - start).days / DAYS_PER_MONTH
    growth: NDArray[np.float64] = (last / first) ** (1.0 / months) - 1.0
    return growth


def _prices_at(prices: ClosePrices, asset_count: int, day: int) -> NDArray[np.float64]:
    found = np.full(asset_count, np.nan)
    near = (prices.day <= day) & (prices.day >= day - PRICE_TOLERANCE_DAYS)
    found[prices.asset_index[near]] = prices.close[near]  # sorted by day: the latest stays
    return found


def _first_purchases(data: TrainingData, cutoff: date) -> dict[int, frozenset[int]]:
    known = data.known_at(cutoff)
    before = {tuple(pair) for pair in owned_pairs(known).tolist()}
    tradable = tradable_assets(known)
    relevant: dict[int, set[int]] = {}
    for customer, asset in owned_pairs(data).tolist():
        if (customer, asset) not in before and tradable[asset]:
            relevant.setdefault(customer, set()).add(asset)
    return {customer: frozenset(assets) for customer, assets in sorted(relevant.items())}


def _split_at(data: TrainingData, cutoff: date, relevant: Mapping[int, frozenset[int]]) -> TemporalSplit:
    customers = list(relevant)
    if len(customers) > MOST_TEST_CUSTOMERS:
        chosen = np.random.default_rng(0).choice(len(customers), MOST_TEST_CUSTOMERS, replace=False)
        customers = [customers[position] for position in sorted(chosen.tolist())]
    training = data.known_at(cutoff)
    return TemporalSplit(
        training=training,
        cutoff=cutoff,
        end=data.as_of,
        histories=build_histories(training, customers),
        relevant=[relevant[customer] for customer in customers],
        monthly_returns=monthly_returns(data.close_prices, asset_count=len(data.id_map), start=cutoff, end=data.as_of),
        cold_assets=np.bincount(training.purchases.asset_index, minlength=len(data.id_map)) == 0,
    )


def _ndcg_of_rows(lists: Lists, relevant: Sequence[frozenset[int]]) -> NDArray[np.float64]:
    return np.array([ndcg_at_k(row, of_row) for row, of_row in zip(lists.tolist(), relevant, strict=True)])


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _mean_of_rows(values: NDArray[np.float64]) -> float | None:
    """Mean over rows of each row's mean of its known values; rows without any are left out."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    return _mean(sums[counts > 0] / counts[counts > 0])


def _unsuitable_share(lists: Lists, histories: list[CustomerHistory], levels: NDArray[np.int8]) -> float:
    """Share of the lists with at least one asset above the customer's risk level."""
    unsuitable = [
        any(not is_suitable(int(levels[asset]), history.customer) for asset in row if asset != NO_ASSET)
        for row, history in zip(lists.tolist(), histories, strict=True)
    ]
    return float(np.mean(unsuitable)) if unsuitable else 0.0
