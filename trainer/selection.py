"""Fit every candidate, and the champion's configuration, before one cutoff and judge all on the window after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.configuration import ModelConfiguration
from trainer.dataset import TrainingData
from trainer.evaluation import Metrics, TemporalSplit, build_split, evaluate
from trainer.training import SharedComponents, fit_model, fit_shared_components

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Judgement:
    """The best candidate, and the figures of all; without a split nothing was evaluated and `best` is the first."""

    best: ModelConfiguration
    candidates: Mapping[str, Metrics]
    champion: Metrics | None
    split: TemporalSplit | None

    @property
    def best_metrics(self) -> Metrics | None:
        """The figures of the best candidate."""
        return self.candidates.get(self.best.algorithm)

    def to_json(self) -> dict[str, Any]:
        """Return what `model_versions.metrics` and the manifest keep."""
        if self.split is None or self.best_metrics is None:
            return {"evaluated": False, "reason": "too few purchases for a temporal split"}
        return {
            "evaluated": True,
            **self.best_metrics.to_json(),
            "candidates": {name: metrics.to_json() for name, metrics in self.candidates.items()},
            "window": {"cutoff": self.split.cutoff.isoformat(), "end": self.split.end.isoformat()},
        }


def judge_candidates(
    data: TrainingData,
    candidates: Sequence[ModelConfiguration],
    *,
    champion: ModelConfiguration | None,
    window_days: int,
    progress: Progress,
) -> Judgement:
    """Return the candidate of the highest nDCG@10 (the first of equals); no candidate sees the window."""
    progress("splitting by time")
    split = build_split(data, window_days=window_days)
    if split is None:
        return Judgement(candidates[0], {}, None, None)
    components = fit_shared_components(split.training, seed=candidates[0].seed)
    figures: dict[ModelConfiguration, Metrics] = {}
    for configuration in dict.fromkeys([*candidates, *([champion] if champion else [])]):
        progress(f"evaluating {configuration.algorithm}")
        figures[configuration] = _judge(split, configuration, components)
    best = max(candidates, key=lambda configuration: figures[configuration].ndcg_at_10)
    by_name = {configuration.algorithm: figures[configuration] for configuration in candidates}
    return Judgement(best, by_name, figures[champion] if champion else None, split)


def _judge(split: TemporalSplit, configuration: ModelConfiguration, components: SharedComponents) -> Metrics:
    model = fit_model(split.training, configuration, version="evaluation", components=components)
    return evaluate(model, split)
