"""Weights of the three components, chosen by what customers bought next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from shared.recommender.types import Weights
from trainer.evaluation.folds import FoldMetrics

GRID_STEPS = 5  # proportions in fifths


class Budget:
    """Time for choosing, from now on. When it is spent, nothing more is started; what runs is finished."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def is_spent(self) -> bool:
        """Return whether nothing more may be started."""
        return self._clock() >= self._end


@dataclass(frozen=True)
class WeightChoice:
    """What was chosen and why. figures: of all weights that there was time for, the default ones first."""

    chosen: Weights
    best: Weights
    default: Weights
    figures: Mapping[Weights, FoldMetrics]
    left_out: int

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps of the choice."""
        shown = {"chosen": self.chosen, "best": self.best, "default": self.default}
        return {
            "tried": len(self.figures),
            "left_out_for_time": self.left_out,
            **{name: {**vars(w), "ndcg_at_10": round(self.figures[w].ndcg_at_10, 6)} for name, w in shown.items()},
        }


def choose_weights(evaluate: Callable[[Weights], FoldMetrics], *, default: Weights, budget: Budget) -> WeightChoice:
    """Return the default weights, or the best ones where these are better by more than a standard error.

    What the folds cannot tell apart is chance (docs/decisions/0011). Among equally good ones the nearest to the
    default are the best.
    """
    grid = [default, *(weights for weights in weight_grid() if distance(weights, default) > 0)]
    figures: dict[Weights, FoldMetrics] = {}
    for weights in grid:
        if figures and budget.is_spent():
            break
        figures[weights] = evaluate(weights)
    best = max(figures, key=lambda weights: (figures[weights].ndcg_at_10, -distance(weights, default)))
    chosen = default if figures[default].is_as_good_as(figures[best]) else best
    return WeightChoice(chosen, best, default, figures, left_out=len(grid) - len(figures))


def weight_grid() -> list[Weights]:
    """Return every division of the whole among the three components in steps of 1 / GRID_STEPS."""
    shares = range(GRID_STEPS + 1)
    return [
        Weights(a / GRID_STEPS, b / GRID_STEPS, (GRID_STEPS - a - b) / GRID_STEPS)
        for a, b in product(shares, shares)
        if a + b <= GRID_STEPS
    ]


def distance(one: Weights, other: Weights) -> float:
    """Return the share of the whole that is distributed differently, in [0, 1]."""
    ours, theirs = vars(one.normalised()), vars(other.normalised())
    moved = sum(abs(ours[name] - theirs[name]) for name in ours) / 2
    return moved if moved > 1e-9 else 0.0
