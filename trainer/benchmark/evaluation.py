"""Compare a file of lists with what customers bought afterwards: the report as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from shared.errors import ListsInvalid
from shared.recommender.candidates import asset_risk_level
from shared.recommender.pipeline import K
from trainer.benchmark.ground_truth import GroundTruth, mean_of_known
from trainer.benchmark.intervals import BLOCKS, intervals_95
from trainer.benchmark.lists import check_lists
from trainer.benchmark.metrics import (
    BY_CUSTOMER,
    CUSTOMER_METRICS,
    PAST_PURCHASES,
    evaluate_customers,
    summarise_risk_levels,
    summarise_time_point,
)
from trainer.benchmark.protocol import Benchmark, read_relevant, read_returns, read_split, time_points

_COUNTS = ("customers", "customers_without_list", "cold_customers", "cold_asset_buyers")
_NO_MEAN = frozenset({"time_point", "known_share", *_COUNTS})
_MARKET = frozenset({"market_return"})  # the same for every algorithm: an interval says nothing about lists


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
    points, levels, customers = [], [], []
    for name in named:
        of_point = lists[lists["time_point"] == name].reset_index(drop=True)
        truth = truths.by_time_point[name]
        check_lists(of_point, truth.split, owned=_owned(truth, truths.benchmark))
        positions = truth.positions_of(of_point)
        evaluated = evaluate_customers(positions, truth)
        customers.append(evaluated)
        points.append(summarise_time_point(evaluated, positions, truth))
        levels.append(summarise_risk_levels(evaluated, positions, truth))
    plain: dict[str, Any] = to_plain(_report(points, levels, pd.concat(customers)))
    return plain


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


def _owned(truth: GroundTruth, benchmark: Benchmark) -> pd.MultiIndex:
    return truth.derived("owned pairs", lambda: benchmark.owned_before(truth.split.time_point))


def _report(
    points: list[dict[str, Any]], levels: list[dict[str, dict[str, Any]]], customers: pd.DataFrame
) -> dict[str, Any]:
    names = [name for name in points[0] if name not in _NO_MEAN]
    table = pd.DataFrame(points)
    values = table[names].to_numpy(dtype=float)
    intervals = {block: dict(zip(names, intervals_95(values, block=block), strict=True)) for block in BLOCKS}
    return {
        "k": K,
        "time_points": len(points),
        "first_time_point": points[0]["time_point"],
        "last_time_point": points[-1]["time_point"],
        "lists": int((customers["listed"] > 0).sum()),
        "mean": {name: mean_of_known(table[name]) for name in names},
        "points_above_market": int((table["roi_above_market"] > 0).sum()),
        "interval_95": {
            name: {block: intervals[block][name] for block in BLOCKS} for name in names if name not in _MARKET
        },
        "known_share": {name: float(customers[name].notna().mean()) for name in CUSTOMER_METRICS},
        "cold": {name: int(table[name].sum()) for name in _COUNTS[2:]},
        "by_risk_level": _by_risk_level(customers, levels),
        "by_past_purchases": _by_group(customers, "past_purchases"),
        "by_time_point": points,
    }


def _by_risk_level(customers: pd.DataFrame, levels: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return beside the means over all lists of a level those over time points, with intervals and each time point."""
    return {
        level: {**of_lists, **_over_time([of_point.get(level, {}) for of_point in levels])}
        for level, of_lists in _by_group(customers, "risk_level").items()
    }


def _over_time(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean, interval_95, known_share and by_time_point of one group; {} is a time point without a member."""
    names = [name for name in next(filter(None, points)) if name not in _NO_MEAN]
    values = np.array([[point.get(name, math.nan) for name in names] for point in points], dtype=np.float64)
    weights = np.array([point.get("customers", 0) for point in points])
    shares = np.array([[point.get("known_share", {}).get(name, 0.0) for name in CUSTOMER_METRICS] for point in points])
    return {
        "mean": {name: mean_of_known(pd.Series(column)) for name, column in zip(names, values.T, strict=True)},
        "interval_95": dict(zip(names, intervals_95(values), strict=True)),
        "known_share": dict(zip(CUSTOMER_METRICS, (weights @ shares / weights.sum()).tolist(), strict=True)),
        "by_time_point": {
            "customers": weights.tolist(),
            **{name: column.tolist() for name, column in zip(names, values.T, strict=True)},
            "known_share": {name: column.tolist() for name, column in zip(CUSTOMER_METRICS, shares.T, strict=True)},
        },
    }


def _by_group(customers: pd.DataFrame, group: str) -> dict[str, dict[str, Any]]:
    """Return means over all lists of each group, all time points together."""
    order = [name for _, name in PAST_PURCHASES]
    groups = customers.groupby(group)
    names = sorted(groups.groups, key=lambda name: (order.index(name) if name in order else -1, str(name)))
    return {
        str(name): {"lists": len(members), **{metric: mean_of_known(members[metric]) for metric in BY_CUSTOMER}}
        for name in names
        for members in [groups.get_group(name)]
    }


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
