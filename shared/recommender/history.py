"""A customer's history as one sparse row, so that a click counts at once, without retraining."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.id_map import AssetIdMap
from shared.recommender.types import (
    DISMISSAL_TYPES,
    HISTORY_TYPES,
    WATCH_TYPES,
    CustomerHistory,
    Interaction,
    InteractionType,
    InteractionWeights,
)

HistoryMatrix: TypeAlias = "sparse.csr_array[np.float32, tuple[int, int]]"
Age = TypeVar("Age", float, NDArray[np.float64])

# Smaller weights count as zero: scaling a row would enlarge a rounding remainder to a full score.
LEAST_HISTORY_WEIGHT = 1e-6
_SECONDS_PER_DAY = 86_400.0


def build_history_matrix(
    id_map: AssetIdMap,
    histories: Sequence[CustomerHistory],
    *,
    interaction_weights: InteractionWeights,
    now: datetime,
) -> HistoryMatrix:
    """Return (B, A) float32 rows: 1.0 for an asset owned now or formerly, else the sum of its decayed interactions.

    At most 1.0. Interactions with a dismissed asset count 0 (owning it still counts), so do watchlist entries before an
    `unwatch` of their asset. Impressions and unknown ISINs are ignored, and an interaction dated after `now` counts as
    if it happened at `now`. Columns of a row ascend. Raises ValueError on naive `now`.
    """
    if now.utcoffset() is None:
        raise ValueError("now must carry a time zone")
    rows = [_history_row(id_map, history, interaction_weights, now) for history in histories]
    row_ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    asset_indices = np.fromiter(chain.from_iterable(rows), np.int32, row_ends[-1])
    values = np.fromiter(chain.from_iterable(row.values() for row in rows), np.float32, row_ends[-1])
    return sparse.csr_array((values, asset_indices, row_ends), shape=(len(rows), len(id_map)))


def time_decay(age_days: Age, half_life_days: float) -> Age:
    """Return 1 for age zero, half of that after each half-life."""
    decayed: Age = 0.5 ** (age_days / half_life_days)
    return decayed


def dismissed_isins(history: CustomerHistory) -> set[str]:
    """Return the assets whose last interaction in the order of the log is a dismissal, however long ago it was.

    `history.dismissed` covers what is older than `history.interactions`. No clock is involved.
    """
    last = dict.fromkeys(history.dismissed, InteractionType.DISMISS)
    last.update(_last_of_each_asset(history.interactions, DISMISSAL_TYPES))
    return {isin for isin, kind in last.items() if kind is InteractionType.DISMISS}


def watched_isins(interactions: Iterable[Interaction]) -> set[str]:
    """Return the assets whose last of `watchlist` and `unwatch` among these, in the order of the log, is the first."""
    last = _last_of_each_asset(interactions, WATCH_TYPES)
    return {isin for isin, kind in last.items() if kind is InteractionType.WATCHLIST}


def _last_of_each_asset(
    interactions: Iterable[Interaction], types: Collection[InteractionType]
) -> dict[str, InteractionType]:
    return {interaction.isin: interaction.type for interaction in interactions if interaction.type in types}


def _history_row(
    id_map: AssetIdMap, history: CustomerHistory, interaction_weights: InteractionWeights, now: datetime
) -> dict[int, float]:
    row = dict.fromkeys(id_map.known_indices(history.ever_owned), 1.0)
    for isin, weights in _decayed_weights(history, interaction_weights, now).items():
        # fsum is exact, so the order in which the store returns interactions cannot change a list.
        value = min(1.0, math.fsum(weights))
        if isin in id_map and value >= LEAST_HISTORY_WEIGHT:
            row.setdefault(id_map.asset_index(isin), value)
    return dict(sorted(row.items()))


def _decayed_weights(
    history: CustomerHistory, interaction_weights: InteractionWeights, now: datetime
) -> dict[str, list[float]]:
    weights: dict[str, list[float]] = defaultdict(list)
    if not history.interactions:
        return weights
    dismissed = dismissed_isins(history)
    unwatched: set[str] = set()
    of_type: dict[InteractionType, float] = {kind: interaction_weights.of(kind) for kind in HISTORY_TYPES}
    counted = [interaction for interaction in history.interactions if interaction.type in of_type]
    for interaction in reversed(counted[-interaction_weights.window :]):
        isin, kind = interaction.isin, interaction.type
        if kind is InteractionType.UNWATCH:
            unwatched.add(isin)
        if isin not in dismissed and not (kind is InteractionType.WATCHLIST and isin in unwatched):
            age_days = max(0.0, (now - interaction.occurred_at).total_seconds() / _SECONDS_PER_DAY)
            decay = time_decay(age_days, interaction_weights.half_life_days)
            weights[isin].append(of_type[kind] * decay)
    return weights
