"""The rules of a list, applied after scoring: the order of equal scores, sectors, and assets that are new."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.types import CustomerHistory

NO_ASSET = -1

Scores = NDArray[np.float64]
Lists = NDArray[np.int64]


def choose_assets(model: Model, histories: Sequence[CustomerHistory], scores: Scores, k: int) -> Lists:
    """Return (B, k) positions of the assets of each list, best first, NO_ASSET past the end.

    scores: (B, A), -inf where the asset is no candidate. They are the best k, equal ones in `tie_order`, with two
    exceptions (docs/decisions/0027). No sector fills more than `largest_sector_share` of a list while other candidates
    are left. For `exploration_share` of the customers the last place goes to the best new asset.
    """
    rules = model.configuration.list_rules
    if not scores.shape[1]:
        return np.full((len(scores), k), NO_ASSET, dtype=np.int64)
    ordered = scores.take(model.tie_order, axis=1)
    best = top_k(ordered, k)
    lists = np.where(best == NO_ASSET, NO_ASSET, model.tie_order[best]).astype(np.int64)
    most = max(int(k * rules.largest_sector_share), 1)
    for row in np.flatnonzero(_fullest_sector(model.sector, lists) > most).tolist():
        lists[row] = _limit_sectors(model, ordered[row], k=k, most=most)
    if model.new.any():
        _explore(model, histories, ordered, lists)
    return lists


def top_k(scores: Scores, k: int) -> Lists:
    """Return (B, k) column indices of the largest scores, best first, equal ones by index, -inf never (NO_ASSET).

    Exact: the k-th largest value comes from a partition, ties at that value are cut by index, the rest is sorted.
    """
    columns = min(k, scores.shape[1])
    top = np.full((len(scores), k), NO_ASSET, dtype=np.int64)
    if not scores.size:
        return top
    kth_largest = np.partition(scores, scores.shape[1] - columns, axis=1)[:, scores.shape[1] - columns, np.newaxis]
    chosen = scores >= kth_largest
    has_ties = np.flatnonzero(np.count_nonzero(chosen, axis=1) > columns)
    if has_ties.size:
        chosen[has_ties] = _without_surplus_ties(scores[has_ties], kth_largest[has_ties], columns)
    # Ascending in each row, so a stable sort settles ties; np.nonzero takes ten times as long.
    picked = np.flatnonzero(chosen).reshape(len(scores), columns) % scores.shape[1]
    values = np.take_along_axis(scores, picked, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(picked, order, axis=1)
    top[:, :columns] = np.where(np.take_along_axis(values, order, axis=1) > -np.inf, best, NO_ASSET)
    return top


def _without_surplus_ties(scores: Scores, kth_largest: Scores, columns: int) -> NDArray[np.bool_]:
    """Return which columns are the best, when more than fit share the last place: those of lowest index."""
    above = scores > kth_largest
    free_places = columns - np.count_nonzero(above, axis=1, keepdims=True)
    tied = scores == kth_largest
    return np.asarray(above | (tied & (np.cumsum(tied, axis=1) <= free_places)), dtype=np.bool_)


def _fullest_sector(sector: NDArray[np.int16], lists: Lists) -> NDArray[np.int64]:
    """Return (B,) how many places of each list the sector with most of them has."""
    sectors = np.where(lists == NO_ASSET, NO_SECTOR, sector[lists])
    same = (sectors[:, :, np.newaxis] == sectors[:, np.newaxis]) & (sectors != NO_SECTOR)[:, np.newaxis]
    return np.asarray(same.sum(axis=2).max(axis=1, initial=0))


def _limit_sectors(model: Model, ordered: NDArray[np.float64], *, k: int, most: int) -> Lists:
    """Return the list (k,) of one customer with at most so many assets of a sector, more only to fill the list.

    ordered: (A,) the scores in `tie_order`.
    """
    ranking = np.argsort(-ordered, kind="stable")[: np.count_nonzero(ordered > -np.inf)]
    assets = model.tie_order[ranking]
    places: dict[int, int] = {}
    kept: list[int] = []
    left: list[int] = []
    for rank, sector in enumerate(model.sector[assets].tolist()):
        places[sector] = places.get(sector, 0) + 1
        (kept if sector == NO_SECTOR or places[sector] <= most else left).append(rank)
        if len(kept) == k:
            break
    chosen = assets[sorted((kept + left)[:k])]
    return np.append(chosen, np.full(k - len(chosen), NO_ASSET))


def _explore(model: Model, histories: Sequence[CustomerHistory], ordered: Scores, lists: Lists) -> None:
    """Give the last place of full lists of some customers to their best new candidate, unless a list has one.

    ordered: (B, A) the scores in `tie_order`.
    """
    new_assets = model.tie_order[model.new[model.tie_order]]
    new_scores = ordered[:, model.new[model.tie_order]]
    has_new = (new_scores > -np.inf).any(axis=1) & ~(model.new[lists] & (lists != NO_ASSET)).any(axis=1)
    for row in np.flatnonzero(has_new & (lists[:, -1] != NO_ASSET)).tolist():
        if explores(model, histories[row].customer.customer_id):
            lists[row, -1] = new_assets[int(np.argmax(new_scores[row]))]


def explores(model: Model, customer_id: str) -> bool:
    """Return whether this customer's lists of this model may hold a new asset in the last place; never random."""
    # No checksum: the checksums of one customer with two versions differ by the same bits for every customer.
    digest = hashlib.blake2b(f"{model.version}/{customer_id}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest) / 2**64
    return share < model.configuration.list_rules.exploration_share
