"""How often and how far the hybrid's choice of weights moved from one time point to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from trainer.benchmark.tables import cells, figure

Choice = Mapping[str, Any]  # what `WeightChoice.to_json` returns


def summarise_choices(choices: Mapping[str, Choice]) -> dict[str, Any]:
    """Return every choice by time point, in order of time, and how they differ.

    `other_than_default`: time points at which another alternative than the default weights was taken, profitability
    aside. `changes`: of neighbouring time points, how many have different weights, and `largest_change` of each
    weight between two neighbours. `range`: of each weight. Components are shares of their sum.
    """
    ordered = dict(sorted(choices.items()))
    weights = [_weights(choice["chosen"]) for choice in ordered.values()]
    steps = [{name: abs(after[name] - before[name]) for name in after} for before, after in pairwise(weights)]
    names = list(weights[0]) if weights else []
    return {
        "by_time_point": ordered,
        "other_than_default": sum(_moved(choice) for choice in ordered.values()),
        "changes": sum(any(step.values()) for step in steps),
        "range": {name: [min(of[name] for of in weights), max(of[name] for of in weights)] for name in names},
        "largest_change": {name: round(max((step[name] for step in steps), default=0.0), 6) for name in names},
    }


def choice_sections(summary: Mapping[str, Any]) -> list[str]:
    """Return the sections of report.md."""
    choices: Mapping[str, Choice] = summary["by_time_point"]
    if not choices:
        return []
    moving = [name for name, (low, high) in summary["range"].items() if low != high]
    fixed = {name: low for name, (low, high) in summary["range"].items() if low == high}
    shares = sorted({share for choice in choices.values() for share in _costs(choice)}, key=float)
    titles = ["time point", "cutoffs", *moving, "gain of the best", "standard error", "default kept"]
    heads = [*titles, *(f"cost of {share}" for share in shares)]
    rows = [_row(name, choice, moving=moving, shares=shares) for name, choice in choices.items()]
    return [
        "## Weights that the hybrid chose",
        f"Other weights than the default at {summary['other_than_default']} of {len(choices)} time points, "
        f"profitability aside; different weights from one time point to the next {summary['changes']} times. Gain: in "
        "nDCG@10, of the best alternative over the default on earlier cutoffs. Cost: nDCG@10 that a share of "
        "profitability loses there, plus its standard error.",
        "\n".join([cells(heads), "|---" * len(heads) + "|", *map(cells, rows)]),
        "The same at every time point: " + ", ".join(f"{name} {value:g}" for name, value in fixed.items()) + ".",
    ]


def _weights(described: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return one flat mapping of what `describe_weights` returns, components as shares."""
    total = sum(described["components"].values())
    shares = {name: round(value / total, 6) for name, value in described["components"].items()}
    return shares | {f"{name} (signal)": value + 0.0 for name, value in described["signals"].items()}


def _moved(choice: Choice) -> bool:
    """Is the choice another alternative than the default, whatever share profitability got?"""
    chosen, default = choice["chosen"], choice["default"]
    content, other = chosen["components"], default["components"]
    left = content["content"] * other["collaborative"] - other["content"] * content["collaborative"]
    return bool(chosen["signals"] != default["signals"] or abs(left) > 1e-4)


def _row(name: str, choice: Choice, *, moving: Sequence[str], shares: Sequence[str]) -> list[str]:
    weights, gained, costs = _weights(choice["chosen"]), choice["best_over_default"], _costs(choice)
    return [
        name,
        str(len(choice["cutoffs"])),
        *(f"{weights[weight]:g}" for weight in moving),
        figure(gained["ndcg_at_10"]),
        figure(gained["standard_error"]),
        "no" if _moved(choice) else "yes",
        *(figure(costs.get(share)) for share in shares),
    ]


def _costs(choice: Choice) -> Mapping[str, float]:
    """Return by share of profitability what it loses; without the share of 0, which loses nothing."""
    costs: Mapping[str, float] = choice["ndcg_lost_at_most_by_profitability_share"]
    return {share: cost for share, cost in costs.items() if float(share)}
