"""How sure it is that the hybrid is better than another algorithm: paired differences of the same lists' customers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from trainer.benchmark.evaluation import GroundTruths, to_plain
from trainer.benchmark.intervals import BLOCK_LENGTH, Values
from trainer.benchmark.tables import cells, figure
from trainer.evaluation.bootstrap import interval_95
from trainer.evaluation.metrics import ndcg_at_k

RESAMPLES = 1_000
CHUNK = 100  # resamples at a time: bounds the memory


def differences_from(name: str, lists: Mapping[str, pd.DataFrame], truths: GroundTruths) -> dict[str, Any]:
    """Return for every other algorithm how much higher the nDCG@10 of `name` is, with two 95 % intervals.

    The difference is the mean over time points of the mean over customers, pair by pair. "customers": customers are
    drawn, each with all their time points, because the windows of neighbouring time points overlap. "time_points":
    neighbouring time points are drawn, in blocks of six, or of a third of them where there are fewer than 18.
    """
    own = _ndcg(lists[name], truths)
    found = {other: own - _ndcg(frame, truths) for other, frame in lists.items() if other != name}
    drawn = _drawn_by_customer(found)
    report = {}
    for other, differences in found.items():
        by_point = differences.groupby(level="time_point", sort=True).mean()
        block = max(min(BLOCK_LENGTH, len(by_point) // 3), 1)
        report[other] = {
            "ndcg_at_10": float(by_point.mean()),
            "interval_95": {
                "customers": np.percentile(drawn[other], (2.5, 97.5)).tolist(),
                "time_points": interval_95(np.asarray(by_point, dtype=np.float64), block=block),
            },
            "points_better": int((by_point > 0).sum()),
            "time_points": len(by_point),
        }
    plain: dict[str, Any] = to_plain(report)
    return plain


def difference_sections(name: str, differences: Mapping[str, Any]) -> list[str]:
    """Return the section of report.md, the closest algorithm first."""
    ordered = sorted(differences.items(), key=lambda entry: float(entry[1]["ndcg_at_10"]))
    titles = ["than", "nDCG@10", "95 %, customers", "95 %, time points", "better at"]
    heads = [cells(titles), "|---" * len(titles) + "|"]
    return [
        f"## How much higher the nDCG@10 of {name} is",
        "Paired differences. Intervals by drawing customers with all their time points, and by drawing time points.",
        "\n".join([*heads, *(_row(other, entry) for other, entry in ordered)]),
    ]


def _ndcg(lists: pd.DataFrame, truths: GroundTruths) -> pd.Series[float]:
    """Return the nDCG@10 by time point and customer; a customer without a list has 0."""
    points = {}
    for name, truth in truths.by_time_point.items():
        positions = truth.positions_of(lists[lists["time_point"] == name])
        values = ndcg_at_k(truth.hits(positions), truth.relevant_counts)
        points[name] = pd.Series(values, index=pd.Index(truth.customer_ids, name="customer_id"))
    return pd.concat(points, names=["time_point"])


def _drawn_by_customer(found: Mapping[str, pd.Series[float]]) -> dict[str, Values]:
    """Return (RESAMPLES,) means of each algorithm's differences, of the same drawn customers; deterministic."""
    if not found:
        return {}
    tables = [values.unstack("time_point").to_numpy(dtype=np.float64) for values in found.values()]
    known = np.isfinite(tables[0]).astype(np.float64)  # (C, T), the same for every algorithm
    count, points = known.shape
    sums = np.concatenate([np.nan_to_num(table) for table in tables], axis=1)
    random = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES // CHUNK):
        drawn = random.multinomial(count, np.full(count, 1.0 / count), size=CHUNK).astype(np.float64)
        counts = np.maximum(drawn @ known, 1.0)[:, np.newaxis]
        means.append(((drawn @ sums).reshape(CHUNK, len(tables), points) / counts).mean(axis=2))
    return dict(zip(found, np.concatenate(means).T, strict=True))


def _row(other: str, entry: Mapping[str, Any]) -> str:
    intervals = [
        f"{figure(ends[0])} to {figure(ends[1])}" if ends else "-"
        for ends in (entry["interval_95"]["customers"], entry["interval_95"]["time_points"])
    ]
    return cells([other, figure(entry["ndcg_at_10"]), *intervals, f"{entry['points_better']}/{entry['time_points']}"])
