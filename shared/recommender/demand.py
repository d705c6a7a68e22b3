"""Which purchases tell what is wanted now: the first of each customer and asset, and whether it is evidence of demand.

Customers and assets that enter the records bring along what was held already, and those rows look like purchases of
that day. Following them puts newly recorded assets on top of every list (docs/decisions/0010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.recommender.dataset import Purchases

ENTRY_DAYS = 14  # so long after an asset's first purchase its purchases may still be its holders being entered


@dataclass(frozen=True)
class Demand:
    """First purchases, (F,) each, in order of customer and then day; is_evidence: may the row be followed?"""

    customer_index: NDArray[np.int32]
    asset_index: NDArray[np.int32]
    day: NDArray[np.int32]
    is_evidence: NDArray[np.bool_]


def find_demand(purchases: Purchases, *, asset_count: int) -> Demand:
    """Return the first purchase of every customer and asset.

    One is evidence of demand when it is later than that customer's first day, and later than the asset's first
    purchase by anybody by more than ENTRY_DAYS.
    """
    pairs = purchases.customer_index.astype(np.int64) * asset_count + purchases.asset_index
    first = np.unique(pairs, return_index=True)[1]  # rows are in order of the day, so the first one is the earliest
    customer, asset, day = (column[first] for column in vars(purchases).values())
    order = np.lexsort((asset, day, customer))
    customer, asset, day = customer[order], asset[order], day[order]
    is_evidence = (day > _first_day(customer, day)) & (day > _first_day(asset, day) + ENTRY_DAYS)
    return Demand(customer, asset, day, is_evidence)


def _first_day(index: NDArray[np.int32], day: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return for each row the earliest day of its customer, or of its asset."""
    earliest = np.full(int(index.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, index, day)
    return earliest[index]
