"""One trained model as plain arrays: all that an artifact holds and all that scoring needs.

A = number of assets. Arrays are float32 unless said otherwise, C-contiguous and finite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import IntFlag
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.id_map import AssetIdMap
from shared.recommender.types import InteractionWeights, InvestmentCapacity, RiskLevel, Weights

SEGMENT_COUNT = (len(RiskLevel) + 1) * len(InvestmentCapacity)
GROUP_MIX_COUNT = 8  # every combination of the groups of assets that a customer may own
MIX_COUNT = 2 * GROUP_MIX_COUNT  # each for small and for large portfolios
SMALL_PORTFOLIO = 2  # assets at most; whoever owns more has a large one


class AssetGroup(IntFlag):
    """What kind of asset it is, as one bit of a portfolio's mix; OTHER is none of the three."""

    OTHER = 0
    STOCK = 1
    BOND = 2
    FUND = 4


# The largest value that an array may hold: far above anything sensible, far below what a float32 sum could overflow.
LARGEST_VALUE = 1e6

ARRAY_DTYPES: dict[str, np.dtype[Any]] = {
    "asset_similarity": np.dtype(np.float32),
    "content_similarity": np.dtype(np.float32),
    "predicted_return": np.dtype(np.float32),
    "asset_risk_level": np.dtype(np.int8),
    "tradable": np.dtype(np.bool_),
    "segment_priors": np.dtype(np.float32),
    "next_purchase": np.dtype(np.float32),
    "next_purchase_intercept": np.dtype(np.float32),
    "portfolio_mix_prior": np.dtype(np.float32),
    "asset_group": np.dtype(np.int8),
    "trend": np.dtype(np.float32),
}


def array_shapes(asset_count: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a model of this many assets."""
    return {
        "asset_similarity": (asset_count, asset_count),
        "content_similarity": (asset_count, asset_count),
        "predicted_return": (asset_count,),
        "asset_risk_level": (asset_count,),
        "tradable": (asset_count,),
        "segment_priors": (SEGMENT_COUNT, asset_count),
        "next_purchase": (asset_count, asset_count),
        "next_purchase_intercept": (asset_count,),
        "portfolio_mix_prior": (MIX_COUNT, asset_count),
        "asset_group": (asset_count,),
        "trend": (asset_count,),
    }


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model. `asset_similarity[i, j]` is what owning asset i says for asset j.

    asset_similarity: (A, A), on the diagonal its largest value. content_similarity: (A, A), zero diagonal.
    predicted_return: (A,), predicted 6-month return as a fraction, from prices known at `as_of`.
    asset_risk_level: (A,) int8, 1..4. tradable: (A,) bool at `as_of`.
    segment_priors: (SEGMENT_COUNT, A), popularity by `segment_index`, each row in [0, 1].
    next_purchase: (A, A), what holding asset i says for buying asset j next, with next_purchase_intercept (A,).
    portfolio_mix_prior: (MIX_COUNT, A) by `portfolio_mix_index`, what holders of such a mix buy.
    asset_group: (A,) int8, AssetGroup. trend: (A,), what all customers have been buying in the last days.
    An algorithm without these signals leaves zeros.
    Raises ValueError on another shape or dtype, on values that are not finite or beyond LARGEST_VALUE.
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
    next_purchase: NDArray[np.float32]
    next_purchase_intercept: NDArray[np.float32]
    portfolio_mix_prior: NDArray[np.float32]
    asset_group: NDArray[np.int8]
    trend: NDArray[np.float32]
    weights: Weights
    interaction_weights: InteractionWeights = field(default_factory=InteractionWeights)
    metadata: dict[str, Any] = field(default_factory=dict)  # metrics, watermark, training configuration

    def __post_init__(self) -> None:
        for name, shape in array_shapes(len(self.id_map)).items():
            _check_array(name, getattr(self, name), shape)
        if self.asset_risk_level.size and not 1 <= self.asset_risk_level.min() <= self.asset_risk_level.max() <= 4:
            raise ValueError("asset_risk_level holds levels outside 1..4")
        if self.asset_group.size and not 0 <= self.asset_group.min() <= self.asset_group.max() < GROUP_MIX_COUNT:
            raise ValueError("asset_group holds groups outside 0..7")

    @cached_property
    def segment_content(self) -> NDArray[np.float32]:
        """(SEGMENT_COUNT, A): what each segment's prior says by content; computed once, row by row."""
        return np.asarray(sparse.csr_array(self.segment_priors) @ self.content_similarity)


def _check_array(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != ARRAY_DTYPES[name]:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {ARRAY_DTYPES[name]} {shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous")
    if array.dtype == np.float32 and not (np.abs(array) <= LARGEST_VALUE).all():
        raise ValueError(f"{name} holds values that are not finite or too large")


def portfolio_mix_index(groups: int, owned: int) -> int:
    """Return the row of `portfolio_mix_prior` for who owns these groups of assets (bits) and so many assets."""
    return groups + GROUP_MIX_COUNT * (owned > SMALL_PORTFOLIO)


def segment_index(risk_level: RiskLevel | None, capacity: InvestmentCapacity) -> int:
    """Return the row of `segment_priors` for a segment (risk level x investment capacity), unknowns included."""
    return int(risk_level or 0) * len(InvestmentCapacity) + int(capacity)
