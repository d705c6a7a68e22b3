"""Compute the return that the remaining places of a list need for the list to match the market."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from shared.recommender.list_rules import NO_ASSET
from shared.recommender.pipeline import K
from trainer.benchmark.evaluation import GroundTruths, to_plain
from trainer.benchmark.ground_truth import GroundTruth, mean_of_known, row_means
from trainer.benchmark.known import Lists
from trainer.evaluation.metrics import ndcg_at_k


def keep_places(lists: pd.DataFrame, truths: GroundTruths) -> list[dict[str, Any]]:
    """Return for 1 to K - 1 kept places, each figure as mean over time points:

    nDCG@10 and ROI of those places alone; the monthly return that the other places must have for the ten to have
    the market's; and the mean return of as many of the best known assets, which nobody knows beforehand.
    """
    by_point = [
        (truth, truth.positions_of(lists[lists["time_point"] == name])) for name, truth in truths.by_time_point.items()
    ]
    rows = []
    for kept in range(1, K):
        points = pd.DataFrame([_at(of_point, truth, kept) for truth, of_point in by_point])
        means = {str(name): float(value) for name, value in points.mean().items()}
        rows.append({"kept_places": kept, **means})
    plain: list[dict[str, Any]] = to_plain(rows)
    return plain


def _at(lists: Lists, truth: GroundTruth, kept: int) -> dict[str, float]:
    first_places = np.where(np.arange(K) < kept, lists, NO_ASSET)
    ndcg = ndcg_at_k(truth.hits(first_places), truth.relevant_counts)
    of_customers = row_means(truth.at_places(truth.returns, first_places))
    roi, rest = mean_of_known(pd.Series(of_customers)), K - kept
    best = sorted(truth.known_returns)[-rest:]
    return {
        "ndcg_at_10": float(ndcg.mean()),
        "roi_of_kept": roi,
        "others_must_return": (K * truth.market_return - kept * roi) / rest,
        "best_in_hindsight": float(np.mean(best)) if best else float("nan"),
    }
