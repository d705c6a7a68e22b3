"""A leg: what was measured, beside its limit in the same rounds, and the report of all legs as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Column, Table

Measurement = Callable[[], float]


@dataclass(frozen=True)
class Leg:
    """One part of the system beside its limit.

    ours, limit: one value for each round, in `unit`; a round measures both, one directly after the other. target: the
    least ratio; None where the limit is only shown.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    limit: tuple[float, ...]
    limit_name: str
    target: float | None = None
    more_is_better: bool = True
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each round, above 1 where ours is better than the limit."""
        pairs = zip(self.ours, self.limit, strict=True)
        return [ours / limit if self.more_is_better else limit / ours for ours, limit in pairs]

    @property
    def ratio(self) -> float:
        """Return the median of the rounds' ratios."""
        return median(self.ratios)

    @property
    def is_reached(self) -> bool | None:
        """Return whether the ratio reaches the target; None without a target."""
        return None if self.target is None else self.ratio >= self.target

    def row(self) -> dict[str, Any]:
        """Return the leg as one entry of the report."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": round(median(self.ours), 3),
            "limit": round(median(self.limit), 3),
            "limit_name": self.limit_name,
            "ratio": round(self.ratio, 3),
            "target": self.target,
            "spread": [round(min(self.ratios), 3), round(max(self.ratios), 3)],
            "rounds": len(self.ours),
            "more_is_better": self.more_is_better,
            **({"details": self.details} if self.details else {}),
        }


def alternate(ours: Measurement, limit: Measurement, *, rounds: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure both by turns; the one that comes first changes with each round."""
    values: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            values[index].append((ours, limit)[index]())
    return tuple(values[0]), tuple(values[1])


def write_report(legs: Sequence[Leg], path: Path) -> None:
    """Write the report as JSON."""
    report = {"machine": describe_machine(), "legs": [leg.row() for leg in legs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures; the load tells whether the machine was idle before the run."""
    return {
        "cpus": os.cpu_count(),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[2], 2),
    }


def print_report(legs: Sequence[Leg]) -> None:
    """Print one line for each leg."""
    table = Table(Column("leg", min_width=54), "unit", "ours", "limit", "ratio", "spread", "target")
    for leg in legs:
        row = leg.row()
        target = "" if leg.target is None else f">= {leg.target:g}{'' if leg.is_reached else ' missed'}"
        values = (f"{row['ours']:,}", f"{row['limit']:,}", f"{row['ratio']:.2f}")
        table.add_row(f"{leg.name}\n  {leg.limit_name}", leg.unit, *values, "{} to {}".format(*row["spread"]), target)
    Console(width=max(Console().width, 130)).print(table)
