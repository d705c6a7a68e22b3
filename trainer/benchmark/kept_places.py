"""Compute the return that the remaining places of a list need for the list to match the market."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from shared.recommender.pipeline import K
from trainer.benchmark.evaluation import GroundTruths, to_plain
from trainer.benchmark.metrics import GroundTruth, evaluate_customers


def keep_places(lists: pd.DataFrame, truths: GroundTruths) -> list[dict[str, Any]]:
    """Return for 1 to K - 1 kept places, each figure as mean over time points:

    nDCG@10 and ROI of those places alone; the monthly return that the other places must have for the ten to have
    the market's; and the mean return of as many of the best known assets, which nobody knows beforehand.
    """
    by_point = [(truth, lists[lists["time_point"] == name]) for name, truth in truths.by_time_point.items()]
    rows = []
    for kept in range(1, K):
        points = pd.DataFrame([_at(of_point[of_point["rank"] <= kept], truth, kept) for truth, of_point in by_point])
        means = {str(name): float(value) for name, value in points.mean().items()}
        rows.append({"kept_places": kept, **means})
    plain: list[dict[str, Any]] = to_plain(rows)
    return plain


def _at(first_places: pd.DataFrame, truth: GroundTruth, kept: int) -> dict[str, float]:
    customers = evaluate_customers(first_places.reset_index(drop=True), truth)
    roi, rest = float(customers["roi_at_10"].mean()), K - kept
    best = sorted(truth.known_returns)[-rest:]
    return {
        "ndcg_at_10": float(customers["ndcg_at_10"].mean()),
        "roi_of_kept": roi,
        "others_must_return": (K * truth.market_return - kept * roi) / rest,
        "best_in_hindsight": float(np.mean(best)) if best else float("nan"),
    }
