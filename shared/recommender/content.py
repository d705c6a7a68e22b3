"""Similarity of assets by what they are and how their price behaves; it carries assets that nobody bought yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.recommender.price_grid import FEATURE_NAMES, PriceGrid, market_betas, price_features
from shared.recommender.types import Asset

# Weight of each block in the squared norm of an asset's vector: what kind of asset it is counts most.
ATTRIBUTE_WEIGHTS = {
    "asset_category": 1.0,
    "asset_sub_category": 1.0,
    "sector": 1.0,
    "industry": 0.5,
    "market_id": 0.5,
}
PRICE_WEIGHT = 0.5


def fit_content_similarity(assets: Sequence[Asset], grid: PriceGrid) -> NDArray[np.float32]:
    """Return (A, A) cosine similarities in [-1, 1] with a zero diagonal.

    Price behaviour is what the grid's last row knows; an asset without enough prices has an average one.
    """
    blocks = [np.sqrt(weight) * _one_hot(assets, name) for name, weight in ATTRIBUTE_WEIGHTS.items()]
    vectors = np.concatenate([*blocks, np.sqrt(PRICE_WEIGHT) * _price_behaviour(grid)], axis=1)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    similarity = np.clip(unit @ unit.T, -1.0, 1.0)
    np.fill_diagonal(similarity, 0.0)
    return np.ascontiguousarray(similarity, dtype=np.float32)


def _one_hot(assets: Sequence[Asset], attribute: str) -> NDArray[np.float64]:
    """Return (A, values) ones; an asset without the attribute has none, so that gaps are no likeness."""
    values = [getattr(asset, attribute) for asset in assets]
    columns = {value: position for position, value in enumerate(sorted({value for value in values if value}))}
    matrix = np.zeros((len(assets), len(columns)))
    for row, value in enumerate(values):
        if value:
            matrix[row, columns[value]] = 1.0
    return matrix


def _price_behaviour(grid: PriceGrid) -> NDArray[np.float64]:
    """Return (A, 3) volatility, momentum and beta as standard scores cut at 2, of length one at most."""
    asset_count, last = grid.prices.shape[1], len(grid.prices) - 1
    if last < 1 or not (enough := grid.enough(last)).any():
        return np.zeros((asset_count, 3))
    features = price_features(grid, last)
    columns = [features[:, FEATURE_NAMES.index(name)] for name in ("volatility_126", "momentum_63")]
    behaviour = np.stack([*columns, market_betas(grid, last)], axis=1)
    behaviour[~enough] = np.nan
    known = np.isfinite(behaviour)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, behaviour, 0.0).sum(axis=0) / counts
    deviation = np.sqrt((np.where(known, behaviour - mean, 0.0) ** 2).sum(axis=0) / counts)
    scores = np.where(known, behaviour - mean, 0.0) / np.where(deviation > 0, deviation, 1.0)
    scaled: NDArray[np.float64] = np.clip(scores, -2.0, 2.0) / (2.0 * np.sqrt(3.0))
    return scaled
