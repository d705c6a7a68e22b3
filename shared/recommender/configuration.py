"""How a model is fitted: enough to repeat it, kept with every version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shared.recommender.types import InteractionWeights, Weights


@dataclass(frozen=True)
class ModelConfiguration:
    """One candidate: its collaborative algorithm, hyper-parameters, weights and seed."""

    algorithm: str
    weights: Weights
    interaction_weights: InteractionWeights = field(default_factory=InteractionWeights)
    ease_l2: float = 500.0
    lightfm_factors: int = 32
    lightfm_epochs: int = 10
    seed: int = 7

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelConfiguration:
        """Read what `to_json` wrote; raises TypeError, KeyError or InvalidWeights when it is something else."""
        known = {**values}
        known["weights"] = Weights(**known["weights"])
        known["interaction_weights"] = InteractionWeights(**known["interaction_weights"])
        return cls(**known)
