"""How good lists are: fitted on what was known at a cutoff, tested on what customers bought in the window after it.

Lists come from `recommend_indices`, the function that serving uses, suitability included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import accepted_risk_level
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend_indices
from shared.recommender.types import CustomerHistory, Weights
from trainer.evaluation.bootstrap import interval_95
from trainer.evaluation.splits import TemporalSplit

Lists = NDArray[np.int64]


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
        now=split.training.now,
        weights=weights,
        enforce_suitability=enforce_suitability,
    )
    return evaluate_lists(lists, split, asset_risk_level=model.asset_risk_level)


def evaluate_lists(lists: Lists, split: TemporalSplit, *, asset_risk_level: NDArray[np.int8]) -> Metrics:
    """Return the metrics of (B, K) lists of asset positions, one per test customer."""
    ndcg = ndcg_of_lists(lists, split.relevant)
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
        ndcg_at_10_cold_assets=_mean(ndcg_of_lists(lists, bought_cold)[buys_cold]),
        cold_customers=int((~warm).sum()),
        cold_asset_buyers=int(buys_cold.sum()),
        cold_asset_share=float(split.cold_assets[lists[listed]].sum() / max(listed.sum(), 1)),
        roi_at_10=_mean_of_rows(returns),
        known_return_share=float(np.isfinite(returns).sum() / max(listed.sum(), 1)),
        unsuitable_share=_unsuitable_share(lists, split.histories, asset_risk_level),
        ndcg_of_customers=ndcg,
    )


def ndcg_at_k(hits: NDArray[np.bool_], relevant_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (N,) normalised discounted cumulative gains of (N, k) hits by rank; 0 where nothing is relevant.

    Binary gains, log2(rank + 1), the best list has min(relevant, k) hits (Järvelin & Kekäläinen 2002).
    """
    discounts = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.append(0.0, np.cumsum(discounts))[np.minimum(relevant_counts, hits.shape[1])]
    gained = np.where(hits, discounts, 0.0).sum(axis=1)
    return np.asarray(np.divide(gained, ideal, out=np.zeros(len(hits)), where=ideal > 0))


def ndcg_of_lists(lists: Lists, relevant: Sequence[frozenset[int]]) -> NDArray[np.float64]:
    """Return (B,) nDCG of (B, K) lists of asset positions against the relevant positions of each row."""
    return RelevantAssets(relevant).ndcg(lists)


class RelevantAssets:
    """The relevant assets of B customers as arrays, for any number of lists."""

    def __init__(self, relevant: Sequence[frozenset[int]]) -> None:
        self._counts = np.array([len(of_row) for of_row in relevant], dtype=np.int64)
        assets = np.fromiter(chain.from_iterable(relevant), np.int64, int(self._counts.sum()))
        rows = np.repeat(np.arange(len(relevant)), self._counts)
        self._width = int(assets.max(initial=-1)) + 1
        self._pairs = np.sort(rows * self._width + assets)  # row and asset in one number

    def ndcg(self, lists: Lists) -> NDArray[np.float64]:
        """Return (B,) nDCG of (B, K) lists of asset positions; raises ValueError for another number of lists."""
        if len(lists) != len(self._counts):
            raise ValueError(f"{len(lists)} lists for {len(self._counts)} customers")
        pairs = np.arange(len(lists))[:, np.newaxis] * self._width + lists
        places = np.minimum(np.searchsorted(self._pairs, pairs), max(len(self._pairs) - 1, 0))
        is_possible = (lists != NO_ASSET) & (lists < self._width)
        hits = is_possible & (self._pairs[places] == pairs) if len(self._pairs) else np.zeros(lists.shape, np.bool_)
        return ndcg_at_k(hits, self._counts)


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
    accepted = np.array([accepted_risk_level(history.customer) for history in histories])
    unsuitable = ((levels[lists] > accepted[:, np.newaxis]) & (lists != NO_ASSET)).any(axis=1)
    return float(unsuitable.mean()) if len(unsuitable) else 0.0
