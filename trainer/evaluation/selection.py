"""Choose the algorithm on earlier windows and the weights on earlier cutoffs; report on the latest window.

Selecting and reporting on the same window overestimates quality. The weights are therefore chosen twice: on what was
known before the latest window, for the report and the gate, and on everything, for the model that is served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shared.recommender.configuration import ModelConfiguration
from shared.recommender.training_data import TrainingData
from trainer.evaluation.bootstrap import interval_95, standard_error
from trainer.evaluation.folds import Fold, FoldMetrics, build_folds, evaluate_on_folds
from trainer.evaluation.frontier import (
    FrontierPoint,
    frontier_configurations,
    frontier_to_json,
    measure_frontier,
)
from trainer.evaluation.metrics import Metrics
from trainer.evaluation.rolling import RollingRules
from trainer.evaluation.splits import TemporalSplit
from trainer.evaluation.weights import Budget, Figures, WeightChoice, choose_weights, describe_weights

MOST_SELECTION_FOLDS = 3

Progress = Callable[[str], None]


@dataclass(frozen=True)
class SelectionRules:
    """How long the windows are, how long choosing may take, and whether the weights are chosen too."""

    window_days: int
    budget_seconds: float
    choose_weights: bool
    rolling: RollingRules = field(default_factory=RollingRules)


@dataclass(frozen=True)
class Selection:
    """The algorithm that was chosen on `folds`. candidates: figures of those that there was time for."""

    best: ModelConfiguration
    folds: tuple[TemporalSplit, ...]
    candidates: Mapping[str, FoldMetrics]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps of the choice."""
        return {
            "windows": [split.dates() for split in self.folds],
            "candidates": {name: metrics.to_json() for name, metrics in self.candidates.items()},
            "left_out_for_time": list(self.left_out),
        }


@dataclass(frozen=True)
class Evaluation:
    """The chosen configuration, and figures on the latest window; without a split nothing was evaluated.

    best: what is served. evaluated: what the figures are of, the same algorithm with the weights chosen before the
    latest window. weights: how the weights of `best` were chosen, None where they are not chosen.
    """

    best: ModelConfiguration
    evaluated: ModelConfiguration | None = None
    split: TemporalSplit | None = None
    selection: Selection | None = None
    weights: WeightChoice | None = None
    metrics: Metrics | None = None
    frontier: Sequence[FrontierPoint] = ()
    champion: Metrics | None = None

    @property
    def standard_error(self) -> float:
        """Of the difference in nDCG@10 to the champion, customer by customer; 0 without a champion."""
        if self.metrics is None or self.champion is None:
            return 0.0
        return standard_error([self.metrics.ndcg_of_customers - self.champion.ndcg_of_customers])

    def to_json(self) -> dict[str, Any]:
        """Return what `model_versions.metrics` and the manifest keep."""
        if self.split is None or self.metrics is None or self.selection is None:
            return {"evaluated": False, "reason": "too few purchases for a temporal split"}
        return {
            "evaluated": True,
            **self.metrics.to_json(),
            "window": self.split.dates(),
            "frontier": frontier_to_json(self.frontier),
            "selection": self.selection.to_json(),
            "weights": self.weights.to_json() if self.weights else None,
            "evaluated_weights": describe_weights(self.evaluated) if self.evaluated else None,
            "against_champion": self._comparison(),
        }

    def _comparison(self) -> dict[str, Any] | None:
        if self.metrics is None or self.champion is None:
            return None
        difference = self.metrics.ndcg_of_customers - self.champion.ndcg_of_customers
        interval = interval_95(difference)
        return {
            "ndcg_at_10": round(float(difference.mean()), 6),
            "standard_error": round(self.standard_error, 6),
            "interval_95": [round(end, 6) for end in interval] if interval else None,
        }


def evaluate_candidates(
    data: TrainingData,
    candidates: Sequence[ModelConfiguration],
    *,
    champion: ModelConfiguration | None,
    rules: SelectionRules,
    progress: Progress,
    figures: Figures | None = None,
) -> Evaluation:
    """Return the best candidate with its figures on the latest window, which only the champion shares.

    The algorithm is chosen on the windows before it; without enough purchases there, on the latest one as well.
    `figures` keeps what was measured at earlier cutoffs for the next training.
    """
    progress("splitting by time")
    budget = Budget(rules.budget_seconds)
    known = {} if figures is None else figures
    folds = build_folds(data, window_days=rules.window_days, most=1 + MOST_SELECTION_FOLDS, enforce_suitability=True)
    if not folds:
        return Evaluation(candidates[0])
    latest, *earlier = folds
    selection = select(earlier or [latest], candidates, budget=budget, progress=progress)
    evaluated, weights = selection.best, None
    if rules.choose_weights:
        progress(f"choosing the weights of {selection.best.algorithm}")
        choose = partial(choose_weights, rules=rules.rolling, budget=budget, figures=known)
        weights = choose(data, selection.best)
        # Most cutoffs are the same and measured by now.
        evaluated = choose(latest.split.training, selection.best).chosen
    progress(f"evaluating {evaluated.algorithm}")
    # Together, because what they have in common is computed once; the first configuration is `evaluated` itself.
    of_frontier = frontier_configurations(evaluated)
    latest.rank([*of_frontier, *([champion] if champion else [])])
    metrics = latest.evaluate(evaluated)
    frontier = measure_frontier(latest.fit(evaluated), latest.split, lists=latest.rank(of_frontier))
    if champion:
        progress(f"evaluating the champion, {champion.algorithm}")
    return Evaluation(
        best=weights.chosen if weights else evaluated,
        evaluated=evaluated,
        split=latest.split,
        selection=selection,
        weights=weights,
        metrics=metrics,
        frontier=frontier,
        champion=latest.evaluate(champion) if champion else None,
    )


def select(
    folds: Sequence[Fold], candidates: Sequence[ModelConfiguration], *, budget: Budget, progress: Progress
) -> Selection:
    """Return the first candidate that is not worse than the best by more than a standard error."""
    figures: dict[ModelConfiguration, FoldMetrics] = {}
    for configuration in dict.fromkeys(candidates):
        if figures and budget.is_spent():
            break
        progress(f"trying {configuration.algorithm}")
        figures[configuration] = evaluate_on_folds(folds, configuration)
    highest = max(figures.values(), key=lambda metrics: metrics.ndcg_at_10)
    return Selection(
        best=next(configuration for configuration in figures if figures[configuration].is_as_good_as(highest)),
        folds=tuple(fold.split for fold in folds),
        candidates={configuration.algorithm: metrics for configuration, metrics in figures.items()},
        left_out=tuple(left.algorithm for left in dict.fromkeys(candidates) if left not in figures),
    )
