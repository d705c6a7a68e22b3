"""One trained model as plain arrays: all that an artifact holds and all that scoring needs.

A = number of assets. Arrays are float32 unless said otherwise, C-contiguous and finite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.domain.id_map import AssetIdMap
from shared.domain.types import InteractionWeights, InvestmentCapacity, RiskLevel, Weights

SEGMENT_COUNT = (len(RiskLevel) + 1) * len(InvestmentCapacity)


@dataclass(frozen=True)
class Model:
    """A trained model. `asset_similarity[i, j]` is what owning asset i says for asset j.

    asset_similarity, content_similarity: (A, A), zero diagonal.
    predicted_return: (A,), predicted 6-month return as a fraction, from prices known at `as_of`.
    asset_risk_level: (A,) int8, 1..4. tradable: (A,) bool at `as_of`.
    segment_priors: (SEGMENT_COUNT, A), popularity by `segment_index`, each row in [0, 1].
    """

    version: str
    algorithm: str
    as_of: date
    id_map: AssetIdMap
    asset_similarity: NDArray[np.float32]
    content_similarity: NDArray[np.float32]
    predicted_return: NDArray[np.float32]
    asset_risk_level: NDArray[np.int8]
    tradable: NDArray[np.bool_]
    segment_priors: NDArray[np.float32]
    weights: Weights
    interaction_weights: InteractionWeights = field(default_factory=InteractionWeights)
    metadata: dict[str, Any] = field(default_factory=dict)  # metrics, watermark, training configuration

    def __post_init__(self) -> None:
        assets = len(self.id_map)
        expected = {
            "asset_similarity": (assets, assets),
            "content_similarity": (assets, assets),
            "predicted_return": (assets,),
            "asset_risk_level": (assets,),
            "tradable": (assets,),
            "segment_priors": (SEGMENT_COUNT, assets),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are not finite")


def segment_index(risk_level: RiskLevel | None, capacity: InvestmentCapacity) -> int:
    """Return the row of `segment_priors` for a segment (risk level x investment capacity), unknowns included."""
    return int(risk_level or 0) * len(InvestmentCapacity) + int(capacity)
