"""Every customer's history as serving sees it, built from the arrays of a training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from shared.recommender.dataset import INTERACTION_TYPES, TrainingData
from shared.recommender.types import CustomerHistory, Interaction


def build_histories(data: TrainingData, customer_indices: Iterable[int] | None = None) -> list[CustomerHistory]:
    """Return one history per customer, or per given position, in order; owned assets by ISIN."""
    owned = _owned(data)
    interactions = _interactions(data)
    positions = range(len(data.customers)) if customer_indices is None else customer_indices
    return [
        CustomerHistory(
            data.customers[position],
            owned=tuple(data.id_map.isins_of(owned.get(position, []))),
            interactions=tuple(interactions.get(position, ())),
        )
        for position in positions
    ]


def owned_pairs(data: TrainingData) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return (O, 2) customer and asset positions of everything ever bought, once each, in order."""
    pairs = np.stack([data.purchases.customer_index, data.purchases.asset_index], axis=1).astype(np.int64)
    return np.unique(pairs, axis=0)


def _owned(data: TrainingData) -> dict[int, list[int]]:
    owned: dict[int, list[int]] = defaultdict(list)
    for customer, asset in owned_pairs(data).tolist():
        owned[customer].append(asset)
    return owned


def _interactions(data: TrainingData) -> dict[int, list[Interaction]]:
    rows = data.interactions
    columns = (rows.customer_index, rows.asset_index, rows.type_code, rows.occurred_at)
    found: dict[int, list[Interaction]] = defaultdict(list)
    for customer, asset, code, seconds in zip(*(column.tolist() for column in columns), strict=True):
        moment = datetime.fromtimestamp(seconds, tz=UTC)
        found[customer].append(Interaction(data.id_map.isins[asset], INTERACTION_TYPES[code], moment))
    return found
