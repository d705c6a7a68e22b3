"""Compare a file of lists with what customers bought afterwards: the report as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import ListsInvalid
from shared.recommender.candidates import asset_risk_level
from shared.recommender.pipeline import K
from trainer.benchmark.lists import check_lists
from trainer.benchmark.metrics import BY_CUSTOMER, PAST_PURCHASES, GroundTruth, evaluate_customers, summarise_time_point
from trainer.benchmark.protocol import Benchmark, read_relevant, read_returns, read_split, time_points
from trainer.evaluation.bootstrap import interval_95

MEANS = (
    *("ndcg_at_10", "recall_at_10", "roi_at_10", "market_return", "roi_above_market", "known_return_share"),
    *("coverage", "novelty", "unsuitable_share", "unsuitable_place_share"),
)
RESAMPLES = 5_000
BLOCK_LENGTH = 6  # about half a window: neighbouring time points are 12 days apart and share most of the months after
INTERVALS = ("ndcg_at_10", "recall_at_10", "roi_at_10", "roi_above_market")


@dataclass(frozen=True)
class GroundTruths:
    """Everything that lists are compared with, read once for any number of algorithms."""

    benchmark: Benchmark
    by_time_point: dict[str, GroundTruth]


def build_ground_truths(benchmark: Benchmark, chosen: list[str]) -> GroundTruths:
    """Read what happened after each of these time points; raises ReferenceDataInvalid."""
    returns = read_returns(benchmark.directory)
    return GroundTruths(benchmark, {name: _build_truth(benchmark, name, returns) for name in chosen})


def evaluate_lists(lists: pd.DataFrame, truths: GroundTruths) -> dict[str, Any]:
    """Return the report on these lists; raises ListsInvalid when they break the protocol."""
    named = sorted(lists["time_point"].unique())
    unknown = [name for name in named if name not in truths.by_time_point]
    if unknown or not named:
        raise ListsInvalid(f"{unknown[0]!r} is no time point" if unknown else "there is not a single list")
    points, customers = [], []
    for name in named:
        of_point = lists[lists["time_point"] == name].reset_index(drop=True)
        truth = truths.by_time_point[name]
        check_lists(of_point, truth.split, benchmark=truths.benchmark)
        evaluated = evaluate_customers(of_point, truth)
        customers.append(evaluated)
        points.append(summarise_time_point(evaluated, of_point, truth))
    return _report(points, pd.concat(customers))


def time_points_of(lists: pd.DataFrame, benchmark: Benchmark) -> list[str]:
    """Return the time points that lists name; raises ListsInvalid on one that the benchmark does not have."""
    known, named = set(time_points(benchmark.directory)), sorted(lists["time_point"].unique())
    unknown = [name for name in named if name not in known]
    if unknown:
        raise ListsInvalid(f"{unknown[0]!r} is no time point of {benchmark.directory}")
    return named


def _build_truth(benchmark: Benchmark, name: str, returns: pd.DataFrame) -> GroundTruth:
    split = read_split(benchmark.directory, name)
    known = benchmark.knowledge_at(split)
    levels = [asset_risk_level(asset.asset_category, asset.asset_sub_category) for asset in known.training.assets]
    of_point = returns[returns["time_point"] == name]
    return GroundTruth(
        split=split,
        known=known,
        relevant=read_relevant(benchmark.directory, name),
        monthly_returns=dict(zip(of_point["isin"], of_point["monthly_return"].astype(float), strict=True)),
        asset_levels=np.array(levels, dtype=np.int8) if benchmark.has_reference_tables else None,
    )


def _report(points: list[dict[str, Any]], customers: pd.DataFrame) -> dict[str, Any]:
    table = pd.DataFrame(points)
    report = {
        "k": K,
        "time_points": len(points),
        "first_time_point": points[0]["time_point"],
        "last_time_point": points[-1]["time_point"],
        "lists": int((customers["listed"] > 0).sum()),
        "mean": {name: _mean(table[name]) for name in MEANS},
        "points_above_market": int((table["roi_above_market"] > 0).sum()),
        "interval_95": {name: _intervals(table[name].to_numpy(dtype=float)) for name in INTERVALS},
        "by_risk_level": _by_group(customers, "risk_level"),
        "by_past_purchases": _by_group(customers, "past_purchases"),
        "by_time_point": points,
    }
    plain: dict[str, Any] = to_plain(report)
    return plain


def _intervals(values: NDArray[np.float64]) -> dict[str, tuple[float, float] | None]:
    """Return 95 % intervals of the mean of (T,) values in order of time, NaN left out.

    "independent" draws time points one by one, which is too narrow where windows overlap; "blocks" draws neighbours.
    """
    known, random = values[np.isfinite(values)], np.random.default_rng(0)
    blocks = {"independent": 1, "blocks": BLOCK_LENGTH}
    return {name: interval_95(known, random=random, resamples=RESAMPLES, block=size) for name, size in blocks.items()}


def _by_group(customers: pd.DataFrame, group: str) -> dict[str, dict[str, Any]]:
    """Return means over all lists of each group, all time points together."""
    order = [name for _, name in PAST_PURCHASES]
    groups = customers.groupby(group)
    names = sorted(groups.groups, key=lambda name: (order.index(name) if name in order else -1, str(name)))
    return {
        str(name): {"lists": len(members), **{metric: _mean(members[metric]) for metric in BY_CUSTOMER}}
        for name in names
        for members in [groups.get_group(name)]
    }


def _mean(values: pd.Series[Any]) -> float:
    present = values.dropna()
    return float(present.mean()) if len(present) else math.nan


def to_plain(value: Any) -> Any:
    """Return JSON values: rounded to six places, null where a figure does not exist."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
