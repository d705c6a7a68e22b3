"""One configuration on several windows of time, each time fitted on what was known before the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.recommender.alternatives import recommend_alternatives
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.fitting import FittedSignals, fit_model
from shared.recommender.model import Model
from shared.recommender.training_data import TrainingData
from trainer.evaluation.bootstrap import standard_error
from trainer.evaluation.metrics import Lists, Metrics, evaluate_lists
from trainer.evaluation.splits import TemporalSplit, build_split


@dataclass(frozen=True)
class FoldMetrics:
    """The metrics of one configuration on each fold; nDCG and ROI are means over folds, which count alike."""

    folds: tuple[Metrics, ...]

    @property
    def ndcg_at_10(self) -> float:
        """The mean over folds."""
        return float(np.mean([metrics.ndcg_at_10 for metrics in self.folds]))

    def is_as_good_as(self, other: FoldMetrics) -> bool:
        """Whether nDCG on the same folds is behind by a standard error at most."""
        behind = [
            theirs.ndcg_of_customers - ours.ndcg_of_customers
            for ours, theirs in zip(self.folds, other.folds, strict=True)
        ]
        return float(np.mean([values.mean() for values in behind])) <= standard_error(behind)

    def to_json(self) -> dict[str, Any]:
        """Return plain rounded values."""
        returns = [metrics.roi_at_10 for metrics in self.folds if metrics.roi_at_10 is not None]
        return {
            "ndcg_at_10": round(self.ndcg_at_10, 6),
            "ndcg_at_10_by_fold": [round(metrics.ndcg_at_10, 6) for metrics in self.folds],
            "roi_at_10": round(float(np.mean(returns)), 6) if returns else None,
        }


class Fold:
    """Fits configurations before one cutoff, each signal once, and evaluates them on the window after it."""

    def __init__(self, split: TemporalSplit, *, enforce_suitability: bool) -> None:
        self.split = split
        self._enforce_suitability = enforce_suitability
        self._fitted: FittedSignals = {}
        self._models: dict[ModelConfiguration, Model] = {}
        self._lists: dict[ModelConfiguration, Lists] = {}

    def evaluate(self, configuration: ModelConfiguration) -> Metrics:
        """Return the metrics of this configuration, its weights included."""
        (lists,) = self.rank([configuration])
        return evaluate_lists(lists, self.split, asset_risk_level=self.fit(configuration).asset_risk_level)

    def rank(self, configurations: Sequence[ModelConfiguration]) -> list[Lists]:
        """Return what the model of each configuration would have recommended at the cutoff, computed once."""
        for same_signals in _with_same_signals([one for one in configurations if one not in self._lists]):
            lists = recommend_alternatives(
                self.fit(same_signals[0]),
                self.split.histories,
                configurations=same_signals,
                now=self.split.training.now,
                enforce_suitability=self._enforce_suitability,
            )
            self._lists.update(zip(same_signals, lists, strict=True))
        return [self._lists[configuration] for configuration in configurations]

    def fit(self, configuration: ModelConfiguration) -> Model:
        """Return the model that this configuration gives before the cutoff."""
        if configuration not in self._models:
            model = fit_model(self.split.training, configuration, version="evaluation", fitted=self._fitted)
            self._models[configuration] = model
        return self._models[configuration]


def _with_same_signals(configurations: Sequence[ModelConfiguration]) -> list[list[ModelConfiguration]]:
    """Return the configurations, each once, in groups that differ in weights alone."""
    groups: dict[ModelConfiguration, list[ModelConfiguration]] = {}
    for configuration in dict.fromkeys(configurations):
        groups.setdefault(configuration.without_weights(), []).append(configuration)
    return list(groups.values())


def evaluate_on_folds(folds: Sequence[Fold], configuration: ModelConfiguration) -> FoldMetrics:
    """Return the metrics of this configuration on all folds."""
    return FoldMetrics(tuple(fold.evaluate(configuration) for fold in folds))


def build_folds(data: TrainingData, *, window_days: int, most: int, enforce_suitability: bool) -> list[Fold]:
    """Return windows that follow each other and end at `as_of`, latest first: fewer than `most` where data run out."""
    folds: list[Fold] = []
    while len(folds) < most and (split := build_split(data, window_days=window_days)) is not None:
        folds.append(Fold(split, enforce_suitability=enforce_suitability))
        data = split.training
    return folds
