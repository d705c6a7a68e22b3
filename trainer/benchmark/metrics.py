"""Figures of the lists of one time point, customer by customer and summed up.

nDCG@10 and ROI@10 follow Sanz-Cruzado, Droukas & McCreadie (FAR-Trans, Fin-RecSys 2024): binary gains, log2(rank + 1),
an ideal list of min(relevant, 10); ROI is the mean monthly return of the ten, here of those whose return is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from trainer.benchmark.exposure import cold_metrics, exposure_metrics
from trainer.benchmark.ground_truth import Figures, GroundTruth, mean_of_known, row_means
from trainer.benchmark.known import Lists
from trainer.benchmark.portfolio_metrics import PORTFOLIO_METRICS, portfolio_metrics
from trainer.benchmark.profile_metrics import PROFILE_METRICS, profile_metrics
from trainer.evaluation.metrics import ndcg_at_k

YEAR_DAYS = 365
PAST_PURCHASES = ((0, "none"), (1, "1"), (2, "2"), (5, "3 to 5"), (10, "6 to 10"), (10**9, "more than 10"))
BY_CUSTOMER = ("ndcg_at_10", "recall_at_10", "roi_at_10", "novelty", "unsuitable_lists", "unsuitable_places")
# What is given with its interval, for each risk level and time point, beside the share of customers that it exists for.
CUSTOMER_METRICS = (*BY_CUSTOMER, "unpriced_places", *PROFILE_METRICS, *PORTFOLIO_METRICS)


def evaluate_customers(lists: Lists, truth: GroundTruth) -> pd.DataFrame:
    """Return one row per customer of (B, K) lists: CUSTOMER_METRICS, listed, known_returns and their groups.

    A customer without a list counts as one with an empty list. NaN where a figure does not exist.
    """
    hits = truth.hits(lists)
    returns = truth.at_places(truth.returns, lists)
    unsuitable = truth.unsuitable_at(lists)
    frame = pd.DataFrame({"customerID": list(truth.customer_ids)})
    frame["ndcg_at_10"] = ndcg_at_k(hits, truth.relevant_counts)
    frame["recall_at_10"] = hits.sum(axis=1) / truth.relevant_counts
    frame["roi_at_10"] = row_means(returns)
    frame["novelty"] = row_means(truth.at_places(truth.novelty, lists))
    frame["unsuitable_places"] = row_means(unsuitable)
    frame["unsuitable_lists"] = np.ceil(frame["unsuitable_places"])  # 1 where at least one place is
    unpriced = truth.derived("unpriced", lambda: _unpriced(truth))
    frame["unpriced_places"] = row_means(truth.at_places(unpriced, lists))
    frame["listed"] = (lists >= 0).sum(axis=1)
    frame["known_returns"] = np.isfinite(returns).sum(axis=1)
    further = {**profile_metrics(lists, truth), **portfolio_metrics(lists, truth)}
    return frame.assign(**further, **_groups(truth))


def summarise_time_point(customers: pd.DataFrame, lists: Lists, truth: GroundTruth) -> dict[str, Any]:
    """Return the figures of one time point: means over its customers, and what only all lists together have."""
    roi, market = mean_of_known(customers["roi_at_10"]), truth.market_return
    known = customers[list(CUSTOMER_METRICS)].notna().mean()
    return {
        "time_point": truth.split.time_point.isoformat(),
        "customers": len(customers),
        "customers_without_list": int((customers["listed"] == 0).sum()),
        **{name: mean_of_known(customers[name]) for name in CUSTOMER_METRICS if not name.startswith("unsuitable")},
        "market_return": market,
        "roi_above_market": roi - market,
        "known_return_share": float(customers["known_returns"].sum() / max(customers["listed"].sum(), 1)),
        "unsuitable_share": mean_of_known(customers["unsuitable_lists"]),
        "unsuitable_place_share": mean_of_known(customers["unsuitable_places"]),
        **exposure_metrics(lists, truth),
        **cold_metrics(customers, lists, truth),
        "known_share": {str(name): float(share) for name, share in known.items()},
    }


def summarise_risk_levels(customers: pd.DataFrame, lists: Lists, truth: GroundTruth) -> dict[str, dict[str, Any]]:
    """Return for each risk level among the customers: their number, and the figures of their lists alone."""
    names = list(CUSTOMER_METRICS)
    summaries = {}
    for level, rows in customers.groupby("risk_level").indices.items():
        members = customers[names].iloc[rows]
        summaries[str(level)] = {
            "customers": len(rows),
            **{name: mean_of_known(members[name]) for name in names},
            **exposure_metrics(lists[rows], truth),
            "known_share": {str(name): float(share) for name, share in members.notna().mean().items()},
        }
    return summaries


def _unpriced(truth: GroundTruth) -> Figures:
    """Return (A,) 1.0 where no price of the year up to the time point is known, else 0.0."""
    prices = truth.known.training.close_prices
    recent = prices.asset_index[(prices.day <= truth.known.day) & (prices.day > truth.known.day - YEAR_DAYS)]
    return np.asarray(np.bincount(recent, minlength=truth.known.shape[1]) == 0, dtype=np.float64)


def _groups(truth: GroundTruth) -> dict[str, list[str]]:
    bought = np.bincount(truth.known.customer_index, minlength=truth.known.shape[0])[truth.customers]
    levels = [truth.known.training.customers[position].risk_level for position in truth.customers]
    return {
        "risk_level": [level.name.lower() if level else "unknown" for level in levels],
        "past_purchases": [next(name for most, name in PAST_PURCHASES if count <= most) for count in bought.tolist()],
    }
