"""How evenly many lists together show assets, and what happens to cold customers and cold assets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from shared.recommender.list_rules import NO_ASSET
from trainer.benchmark.ground_truth import Figures, GroundTruth, take
from trainer.benchmark.known import Lists
from trainer.evaluation.metrics import ndcg_at_k


def exposure_metrics(lists: Lists, truth: GroundTruth) -> dict[str, float]:
    """Return over the time point's assets: the share in at least one list, and the Gini coefficient of their places;
    and the share of places of assets that nobody had bought. NaN without a place.
    """
    assets = truth.derived("assets", lambda: truth.known.id_map.known_indices(truth.split.isins))
    places = np.bincount(lists[lists != NO_ASSET], minlength=truth.known.shape[1])
    cold = truth.known.counts() == 0
    total = float(places.sum())
    return {
        "coverage": float((places[assets] > 0).sum() / max(len(truth.split.isins), 1)),
        "exposure_gini": gini(places[assets].astype(np.float64)),
        "cold_asset_place_share": float(places[cold].sum() / total) if total else float("nan"),
    }


def cold_metrics(customers: pd.DataFrame, lists: Lists, truth: GroundTruth) -> dict[str, Any]:
    """Return nDCG@10 of customers without a known purchase, and of assets that nobody had bought, with their numbers.

    The latter counts those assets alone as relevant, over the customers who bought one. NaN where there are none.
    """
    cold_customers = (customers["past_purchases"] == "none").to_numpy()
    relevant = truth.relevant_mask & (truth.known.counts() == 0)
    buyers = relevant.any(axis=1)
    hits = take(relevant, lists) & (lists != NO_ASSET)
    of_assets = ndcg_at_k(hits[buyers], relevant[buyers].sum(axis=1))
    of_customers = customers["ndcg_at_10"].to_numpy(dtype=float)[cold_customers]
    return {
        "cold_customers": int(cold_customers.sum()),
        "ndcg_at_10_cold_customers": float(of_customers.mean()) if cold_customers.any() else float("nan"),
        "cold_asset_buyers": int(buyers.sum()),
        "ndcg_at_10_cold_assets": float(of_assets.mean()) if buyers.any() else float("nan"),
    }


def gini(counts: Figures) -> float:
    """Return the Gini coefficient of (N,) counts: 0 where all are equal, 1 - 1/N where one has everything.

    Sum over i of (2i - N - 1) x_i by N times the sum, x ascending, i from 1. NaN where the sum is 0.
    """
    number, total = len(counts), counts.sum()
    if not total:
        return float("nan")
    order = 2.0 * np.arange(1, number + 1) - number - 1.0
    return float((order * np.sort(counts)).sum() / (number * total))
