"""The Markdown tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.benchmark.pareto import is_ours

# Title, figure, places; a figure of single customers is followed by the share of customers that it exists for.
_FURTHER = (
    ("profile coherence", "profile_coherence", 3),
    ("lift", "profile_coherence_lift", 2),
    ("same level", "profile_match", 3),
    ("lift", "profile_match_lift", 2),
    ("suitable", "suitable_places", 3),
    ("lift", "suitable_places_lift", 2),
    ("volatility", "volatility", 3),
    ("Sharpe", "sharpe", 2),
    ("realised Sharpe", "realised_sharpe", 2),
    ("spread", "realised_spread", 3),
    ("regret", "regret", 3),
    ("no price for a year", "unpriced_places", 2),
)
_PORTFOLIO = (
    ("Sharpe before", "portfolio_sharpe_before", 2),
    ("after", "portfolio_sharpe_after", 2),
    ("HHI by asset before", "asset_hhi_before", 3),
    ("after", "asset_hhi_after", 3),
    ("HHI by sector before", "sector_hhi_before", 3),
    ("after", "sector_hhi_after", 3),
    ("prices known", "portfolio_known_price_share", 2),
    ("sectors known", "portfolio_known_sector_share", 2),
    ("coverage", "coverage", 2),
    ("Gini", "exposure_gini", 3),
    ("cold places", "cold_asset_place_share", 3),
    ("nDCG cold customers", "ndcg_at_10_cold_customers", 3),
    ("nDCG cold assets", "ndcg_at_10_cold_assets", 3),
)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the tables of a report, best nDCG first."""
    algorithms = dict(sorted(report["algorithms"].items(), key=lambda entry: -entry[1]["mean"]["ndcg_at_10"]))
    points = report["time_points"]
    left_out = [f"`{name}` needs {library}, which is not installed." for name, library in report["left_out"].items()]
    sections = [
        f"# Recommendation benchmark, {len(points)} time points from {points[0]} to {points[-1]}",
        "\n".join([_HEADER, *(_row(name, entry) for name, entry in algorithms.items())]),
        "nDCG with its 95 % interval over time points, resampled in blocks. ROI: mean monthly return of the ten.",
        *(["\n".join(left_out)] if left_out else []),
        "## nDCG against ROI",
        "\n".join([_FRONTIER_HEADER, *map(_frontier_row, report["frontier"])]),
        *_pareto_sections(report["pareto"]),
        "If the first places are the hybrid's, what the others must return a month for the ten to equal the market:",
        "\n".join([_KEPT_HEADER, *map(_kept_row, report["kept_places_of_hybrid"])]),
        *_further_sections(algorithms),
        "## nDCG@10 by customer",
        "\n".join(_group_table(algorithms, "by_risk_level")),
        "\n".join(_group_table(algorithms, "by_past_purchases")),
    ]
    return "\n\n".join(sections) + "\n"


def figure(value: float | None, places: int = 4) -> str:
    """Return a rounded figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{places}f}"


def cells(values: Sequence[str]) -> str:
    """Return one row of a table."""
    return f"| {' | '.join(values)} |"


_HEADER = """\
| algorithm | nDCG@10 | 95 % | recall@10 | ROI@10 | above market | points above | known | coverage | novelty \
| unsuitable lists | s |
|---|---|---|---|---|---|---|---|---|---|---|---|"""
_FRONTIER_HEADER = """\
| ranking | weight | nDCG@10 | ROI@10 | above market | points above | known | unsuitable lists | volatility | turnover |
|---|---|---|---|---|---|---|---|---|---|"""
_KEPT_HEADER = """\
| kept places | nDCG@10 | ROI of them | others must return | best in hindsight |
|---|---|---|---|---|"""
_FRONT_HEADER = """\
| on the front | nDCG@10 | above market | ours |
|---|---|---|---|"""
_OURS_HEADER = """\
| ours | nDCG@10 | above market | on the front | dominated by | beyond noise by |
|---|---|---|---|---|---|"""


def _row(name: str, entry: Mapping[str, Any]) -> str:
    mean, interval = entry["mean"], entry["interval_95"]["ndcg_at_10"]
    chosen = interval["blocks"] or interval["independent"]
    values = [
        name,
        figure(mean["ndcg_at_10"]),
        f"{figure(chosen[0], 3)}-{figure(chosen[1], 3)}" if chosen else "-",
        figure(mean["recall_at_10"]),
        figure(mean["roi_at_10"]),
        figure(mean["roi_above_market"]),
        f"{entry['points_above_market']}/{entry['time_points']}",
        figure(mean["known_return_share"], 2),
        figure(mean["coverage"], 2),
        figure(mean["novelty"], 1),
        figure(mean["unsuitable_share"], 2),
        figure(entry["seconds"], 2),
    ]
    return cells(values)


def _frontier_row(point: Mapping[str, Any]) -> str:
    figures = [figure(point[name]) for name in ("ndcg_at_10", "roi_at_10", "roi_above_market")]
    shares = [figure(point[name], 2) for name in ("known_return_share", "unsuitable_share")]
    above = f"{point['points_above_market']}/{point['time_points']}"
    further = [figure(point["volatility"], 3), figure(point["turnover"], 2)]
    return cells([point["series"], f"{point['weight']:g}", *figures, above, *shares, *further])


def _pareto_sections(pareto: Mapping[str, Any]) -> list[str]:
    points = {point["name"]: point for point in pareto["points"]}
    front = [points[name] for name in pareto["front"]]
    rows = [cells([*_place(point), "yes" if point["ours"] else ""]) for point in front]
    ours = [point for point in pareto["points"] if point["ours"]]
    return [
        "### Pareto front of every algorithm and price tilt",
        "\n".join([_FRONT_HEADER, *rows]),
        "Every point of ours. Beyond noise: the 95 % intervals of both paired differences, in blocks, are above 0.",
        "\n".join([_OURS_HEADER, *map(_ours_row, ours)]),
    ]


def _ours_row(point: Mapping[str, Any]) -> str:
    others = [_names(point[key]) for key in ("dominated_by", "dominated_beyond_noise_by")]
    return cells([*_place(point), "no" if point["dominated_by"] else "yes", *others])


def _place(point: Mapping[str, Any]) -> list[str]:
    return [point["name"], figure(point["ndcg_at_10"]), figure(point["roi_above_market"])]


def _names(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}" or "nothing"


def _kept_row(row: Mapping[str, Any]) -> str:
    names = ("ndcg_at_10", "roi_of_kept", "others_must_return", "best_in_hindsight")
    return cells([str(row["kept_places"]), *(figure(row[name]) for name in names)])


def _further_sections(algorithms: Mapping[str, Any]) -> list[str]:
    return [
        "## Suitability, risk and regret",
        "Means over time points; in brackets the share of customers for whom the figure exists, where it is below 1.",
        "\n".join(_metric_table(algorithms, _FURTHER)),
        "## Portfolios before and after the ten, and exposure",
        "\n".join(_metric_table(algorithms, _PORTFOLIO)),
        *(section for name, entry in algorithms.items() if is_ours(name) for section in _level_section(name, entry)),
    ]


def _metric_table(algorithms: Mapping[str, Any], columns: Sequence[tuple[str, str, int]]) -> list[str]:
    heads = cells(["algorithm", *(title for title, _, _ in columns)])
    rows = [
        cells([name, *(_known(entry, metric, places) for _, metric, places in columns)])
        for name, entry in algorithms.items()
    ]
    return [heads, "|---" * (len(columns) + 1) + "|", *rows]


def _level_section(name: str, entry: Mapping[str, Any]) -> list[str]:
    """Return one table of an algorithm: figures by risk level, each with its interval."""
    levels = entry["by_risk_level"]
    heads = cells(["", *(f"{level} ({group['lists']} lists)" for level, group in levels.items())])
    previous, rows = "", []
    for title, metric, places in (*_FURTHER, *_PORTFOLIO[:-2]):
        full = f"{previous}, {title}" if title in ("lift", "after") else title
        previous = full.removesuffix(" before") if title not in ("lift", "after") else previous
        rows.append(cells([full, *(_with_interval(group, metric, places) for group in levels.values())]))
    return [f"### {name} by risk level", "\n".join([heads, "|---" * (len(levels) + 1) + "|", *rows])]


def _known(entry: Mapping[str, Any], metric: str, places: int) -> str:
    value, share = entry["mean"].get(metric), entry["known_share"].get(metric, 1.0)
    return figure(value, places) + (f" ({share:.2f})" if value is not None and share < 0.995 else "")


def _with_interval(group: Mapping[str, Any], metric: str, places: int) -> str:
    interval = group["interval_95"].get(metric)
    ends = f" [{figure(interval[0], places)}, {figure(interval[1], places)}]" if interval else ""
    return _known(group, metric, places) + ends


def _group_table(algorithms: Mapping[str, Any], group: str) -> list[str]:
    first = next(iter(algorithms.values()))[group]
    heads = [f"{name} ({members['lists']})" for name, members in first.items()]
    rows = [
        cells([name, *(figure(entry[group].get(head, {}).get("ndcg_at_10")) for head in first)])
        for name, entry in algorithms.items()
    ]
    title = group.removeprefix("by_").replace("_", " ")
    return [cells([f"{title} (lists)", *heads]), "|---" * (len(heads) + 1) + "|", *rows]
