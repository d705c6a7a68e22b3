"""Figures of the lists of one time point, customer by customer and summed up.

nDCG@10 and ROI@10 follow Sanz-Cruzado, Droukas & McCreadie (FAR-Trans, Fin-RecSys 2024): binary gains, log2(rank + 1),
an ideal list of min(relevant, 10); ROI is the mean monthly return of the ten, here of those whose return is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.recommender.candidates import accepted_risk_level
from shared.recommender.pipeline import K
from shared.recommender.types import Customer
from trainer.benchmark.known import KnownData, Split
from trainer.evaluation.metrics import ndcg_at_k

PAST_PURCHASES = ((0, "none"), (1, "1"), (2, "2"), (5, "3 to 5"), (10, "6 to 10"), (10**9, "more than 10"))
BY_CUSTOMER = ("ndcg_at_10", "recall_at_10", "roi_at_10", "novelty", "unsuitable_lists", "unsuitable_places")


@dataclass(frozen=True)
class GroundTruth:
    """What the lists of a time point are compared with: later purchases and returns, and what was known at it.

    asset_levels: (A,) by `known.id_map`. None without reference tables.
    """

    split: Split
    known: KnownData
    relevant: Mapping[str, frozenset[str]]
    monthly_returns: Mapping[str, float]
    asset_levels: NDArray[np.int8] | None

    @property
    def market_return(self) -> float:
        """The mean known monthly return of the time point's assets, NaN without any."""
        return float(np.mean(self.known_returns)) if self.known_returns else float("nan")

    @property
    def known_returns(self) -> list[float]:
        """The monthly returns of those of the time point's assets whose return is known."""
        return [self.monthly_returns[isin] for isin in self.split.isins if isin in self.monthly_returns]


def evaluate_customers(lists: pd.DataFrame, truth: GroundTruth) -> pd.DataFrame:
    """Return one row per customer who bought something: BY_CUSTOMER, listed, known_returns and their groups.

    A customer without a list counts as one with an empty list. NaN where a figure does not exist.
    """
    customer_ids = [name for name in truth.split.customer_ids if truth.relevant.get(name)]
    places = _evaluate_places(lists[lists["customerID"].isin(customer_ids)], truth)
    by_customer = places.groupby("customerID", sort=False)
    relevant = np.array([len(truth.relevant[name]) for name in customer_ids])
    positions = {name: position for position, name in enumerate(customer_ids)}
    hits = np.zeros((len(customer_ids), K), dtype=np.bool_)
    hits[places["customerID"].map(positions), places["rank"] - 1] = places["hit"]
    frame = pd.DataFrame({"customerID": customer_ids})
    frame["ndcg_at_10"] = ndcg_at_k(hits, relevant)
    frame["recall_at_10"] = hits.sum(axis=1) / relevant
    frame["roi_at_10"] = by_customer["monthly_return"].mean().reindex(customer_ids).to_numpy()
    frame["novelty"] = by_customer["novelty"].mean().reindex(customer_ids).to_numpy()
    frame["unsuitable_lists"] = by_customer["unsuitable"].max().reindex(customer_ids).to_numpy(dtype=float)
    frame["unsuitable_places"] = by_customer["unsuitable"].mean().reindex(customer_ids).to_numpy(dtype=float)
    frame["listed"] = by_customer.size().reindex(customer_ids).fillna(0).to_numpy()
    frame["known_returns"] = by_customer["monthly_return"].count().reindex(customer_ids).fillna(0).to_numpy()
    return frame.assign(**_groups(customer_ids, truth))


def summarise_time_point(customers: pd.DataFrame, lists: pd.DataFrame, truth: GroundTruth) -> dict[str, Any]:
    """Return the figures of one time point: means over its customers, and what only all lists together have."""
    distinct = lists["ISIN"].nunique()
    roi, market = _mean(customers["roi_at_10"]), truth.market_return
    return {
        "time_point": truth.split.time_point.isoformat(),
        "customers": len(customers),
        "customers_without_list": int((customers["listed"] == 0).sum()),
        **{name: _mean(customers[name]) for name in BY_CUSTOMER[:2]},
        "roi_at_10": roi,
        "market_return": market,
        "roi_above_market": roi - market,
        "known_return_share": float(customers["known_returns"].sum() / max(customers["listed"].sum(), 1)),
        "coverage": distinct / max(len(truth.split.isins), 1),
        "novelty": _mean(customers["novelty"]),
        "unsuitable_share": _mean(customers["unsuitable_lists"]),
        "unsuitable_place_share": _mean(customers["unsuitable_places"]),
    }


def _evaluate_places(lists: pd.DataFrame, truth: GroundTruth) -> pd.DataFrame:
    """Return one row per place: rank, hit, return, novelty, and whether it is too risky for the customer."""
    pairs = list(zip(lists["customerID"], lists["ISIN"], strict=True))
    hit = np.array([isin in truth.relevant[customer] for customer, isin in pairs], dtype=np.bool_)
    owners = truth.known.counts()
    everyone = len(np.unique(truth.known.customer_index))
    surprise = -np.log2((owners + 1.0) / (everyone + 1.0))
    positions = np.array([truth.known.id_map.asset_index(isin) for _, isin in pairs], dtype=np.int64)
    return pd.DataFrame(
        {
            "customerID": lists["customerID"].to_numpy(),
            "rank": lists["rank"].to_numpy(),
            "hit": hit,
            "monthly_return": [truth.monthly_returns.get(isin, np.nan) for _, isin in pairs],
            "novelty": surprise[positions],
            "unsuitable": _too_risky([customer for customer, _ in pairs], positions, truth),
        }
    )


def _too_risky(customers: list[str], positions: NDArray[np.int64], truth: GroundTruth) -> NDArray[np.float64]:
    if truth.asset_levels is None:
        return np.full(len(customers), np.nan)
    accepted = np.array([accepted_risk_level(_customer(name, truth)) for name in customers], dtype=np.int8)
    return np.asarray(truth.asset_levels[positions] > accepted, dtype=np.float64)


def _groups(customer_ids: list[str], truth: GroundTruth) -> dict[str, list[str]]:
    bought = np.bincount(truth.known.customer_index, minlength=truth.known.shape[0])
    counts = [int(bought[truth.known.positions[name]]) for name in customer_ids]
    levels = [_customer(name, truth).risk_level for name in customer_ids]
    return {
        "risk_level": [level.name.lower() if level else "unknown" for level in levels],
        "past_purchases": [next(name for most, name in PAST_PURCHASES if count <= most) for count in counts],
    }


def _customer(customer_id: str, truth: GroundTruth) -> Customer:
    return truth.known.training.customers[truth.known.positions[customer_id]]


def _mean(values: pd.Series[Any]) -> float:
    """Return the mean of the values that exist, NaN when none does."""
    present = values.dropna()
    return float(present.mean()) if len(present) else float("nan")
