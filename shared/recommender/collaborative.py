"""The collaborative component: what others' purchases say for a customer, three signals on one scale and added.

- taste: the history through `asset_similarity`
- next purchase: the history through `next_purchase`, what such holders bought next
- portfolio mix: what holders of the same kinds of assets, of few or of many, buy lately
- trend: what all customers have been buying in the last days

Each is standardised per customer over that customer's candidates, then they are added. An array that a training
algorithm does not fit is zero and adds nothing, so one path serves every algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.recommender.history import HistoryMatrix
from shared.recommender.model import Model, portfolio_mix_index
from shared.recommender.scaling import standardise
from shared.recommender.types import CustomerHistory


def collaborative_component(
    model: Model, histories: Sequence[CustomerHistory], *, history: HistoryMatrix, candidates: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return (B, A), the sum of the standardised signals; meaningful for candidates only."""
    total = np.zeros(history.shape)
    for signal in collaborative_signals(model, histories, history):
        total += standardise(signal, candidates)
    return total


def collaborative_signals(
    model: Model, histories: Sequence[CustomerHistory], history: HistoryMatrix
) -> list[NDArray[np.float32]]:
    """Return taste, next purchase, portfolio mix and trend, each (B, A) float32 before standardising."""
    taste = history @ model.asset_similarity
    next_purchase = history @ model.next_purchase
    next_purchase += model.next_purchase_intercept
    mix = model.portfolio_mix_prior[portfolio_mixes(model, histories)]
    return [taste, next_purchase, mix, np.broadcast_to(model.trend, taste.shape)]


def portfolio_mixes(model: Model, histories: Sequence[CustomerHistory]) -> list[int]:
    """Return the mix of each customer: which groups of assets they own, and whether many; interactions do not count."""
    owned = (model.id_map.known_indices(history.owned) for history in histories)
    groups_and_counts = ((np.bitwise_or.reduce(model.asset_group[assets], initial=0), len(assets)) for assets in owned)
    return [portfolio_mix_index(int(groups), count) for groups, count in groups_and_counts]
