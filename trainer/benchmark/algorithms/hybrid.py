"""What the worker serves: the trainer's own fit, ranked by the function that serving calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from shared.recommender.configuration import ModelConfiguration
from shared.recommender.histories import build_histories
from shared.recommender.model import Model
from shared.recommender.ranking import recommend_indices
from shared.recommender.training import fit_model
from shared.recommender.types import Weights
from trainer.benchmark.known import K, KnownData, Lists, Split
from trainer.settings import TrainerSettings


@dataclass(frozen=True)
class Hybrid:
    """The served hybrid; `weights` None means those that a new model carries.

    The protocol knows no suitability, so the plain `hybrid` ranks without that rule, as every other algorithm does.
    """

    enforce_suitability: bool
    weights: Weights | None = None

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Fit on what was known and rank; the split says what can be bought, as `limit_prices` does when serving."""
        tradable = np.zeros(known.shape[1], dtype=np.bool_)
        tradable[known.id_map.known_indices(split.isins)] = True
        model = replace(_fit(known), tradable=tradable)
        histories = build_histories(known.training, known.customers_of(split).tolist())
        return recommend_indices(
            model,
            histories,
            k=K,
            now=known.training.now,
            weights=self.weights,
            enforce_suitability=self.enforce_suitability,
        )


def default_configuration() -> ModelConfiguration:
    """Return the first candidate of a trainer whose environment says nothing else."""
    fields = TrainerSettings.model_fields
    weights = Weights(
        fields["default_weight_collaborative"].default,
        fields["default_weight_content"].default,
        fields["default_weight_profitability"].default,
    )
    algorithm = str(fields["candidate_algorithms"].default).split(",")[0].strip()
    return ModelConfiguration(algorithm, weights, seed=fields["training_seed"].default)


@lru_cache(maxsize=1)  # the same fit serves every weight and both rules of suitability
def _fit(known: KnownData) -> Model:
    return fit_model(known.training, default_configuration(), version="benchmark")
