"""The rules of a list, applied after scoring: the order of equal scores, limits, sectors, and assets that are new."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import NO_LABEL, CatalogueView
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.types import NO_OPTIONS, CustomerHistory, ListOptions

NO_ASSET = -1

Scores = NDArray[np.float64]
Lists = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Limit:
    """At most `most` assets of a list have the same number; those of NO_LABEL are not limited. numbers: (A,)."""

    numbers: NDArray[np.integer[Any]]
    most: int


@dataclass(frozen=True)
class ListShape:
    """What one list has to be: at most `k` assets, within `limits`, and with a limit of sectors that may be exceeded.

    `largest_sector_share` is of the k places, and is exceeded only to fill the list; None: no such limit.
    """

    k: int
    largest_sector_share: float | None
    limits: tuple[Limit, ...] = ()

    @property
    def most_of_sector(self) -> int:
        """How many places the share allows one sector."""
        share = self.largest_sector_share
        return self.k if share is None else max(int(self.k * share), 1)


def build_shape(model: Model, k: int, options: ListOptions | None, catalogue: CatalogueView | None) -> ListShape:
    """Return the shape of a list with these options; sectors or limits of sectors replace the share of the model."""
    share = model.configuration.list_rules.largest_sector_share
    if options is None or options == NO_OPTIONS:
        return ListShape(k, share)
    limits = []
    if catalogue is not None and options.per_sector is not None:
        limits.append(Limit(catalogue.sectors.numbers, options.per_sector))
    if catalogue is not None and options.per_category is not None:
        limits.append(Limit(catalogue.categories.numbers, options.per_category))
    has_own_sectors = options.sectors is not None or options.per_sector is not None
    return ListShape(k, None if has_own_sectors else share, tuple(limits))


def choose_assets(
    model: Model, histories: Sequence[CustomerHistory], scores: Scores, shapes: int | Sequence[ListShape]
) -> Lists:
    """Return (B, largest k) positions of the assets of each list, best first, NO_ASSET past the end.

    scores: (B, A), -inf where the asset is no candidate. shapes: one for each list, or k alone for all. They are the
    best k, equal ones in `tie_order`, with exceptions (docs/decisions/0027, 0033). No list exceeds its limits. No
    sector fills more than `largest_sector_share` of a list while other candidates are left. For `exploration_share` of
    the customers the last place of several goes to the best new asset.
    """
    if isinstance(shapes, int):
        shapes = [build_shape(model, shapes, None, None)] * len(scores)
    k = np.array([shape.k for shape in shapes], dtype=np.int64)
    places = int(k.max(initial=0))
    if not scores.shape[1]:
        return np.full((len(scores), places), NO_ASSET, dtype=np.int64)
    ordered = scores.take(model.tie_order, axis=1)
    best = top_k(ordered, places)
    best[np.arange(places) >= k[:, np.newaxis]] = NO_ASSET
    lists = np.where(best == NO_ASSET, NO_ASSET, model.tie_order[best]).astype(np.int64)
    is_limited = _fullest_sector(model.sector, lists) > [shape.most_of_sector for shape in shapes]
    is_limited |= np.array([bool(shape.limits) for shape in shapes], dtype=np.bool_)
    for row in np.flatnonzero(is_limited).tolist():
        lists[row] = NO_ASSET
        chosen = _choose_within_limits(model, ordered[row], shapes[row])
        lists[row, : len(chosen)] = chosen
    if model.new.any():
        _explore(model, histories, ordered, lists, shapes)
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


def _choose_within_limits(model: Model, ordered: NDArray[np.float64], shape: ListShape) -> list[int]:
    """Return the assets of one list, at most k, best first.

    An asset whose sector has its share waits for places that nothing else fills; one that a limit forbids is left out.
    ordered: (A,) the scores in `tie_order`.
    """
    ranking = np.argsort(-ordered, kind="stable")[: np.count_nonzero(ordered > -np.inf)]
    assets: list[int] = model.tie_order[ranking].tolist()
    counts = _Counts(shape.limits)
    of_sector: Counter[int] = Counter()
    kept: list[int] = []
    waiting: list[int] = []
    for rank, (asset, sector) in enumerate(zip(assets, model.sector[assets].tolist(), strict=True)):
        if len(kept) == shape.k:
            break
        if sector != NO_SECTOR and of_sector[sector] >= shape.most_of_sector:
            waiting.append(rank)
        elif counts.add(asset):
            of_sector[sector] += 1
            kept.append(rank)
    for rank in waiting:
        if len(kept) == shape.k:
            break
        if counts.add(assets[rank]):
            kept.append(rank)
    return [assets[rank] for rank in sorted(kept)]


class _Counts:
    """How often a list has each number of its limits."""

    def __init__(self, limits: Sequence[Limit], assets: Sequence[int] = ()) -> None:
        self._limits = [(limit, Counter(limit.numbers[list(assets)].tolist())) for limit in limits]

    def add(self, asset: int) -> bool:
        """Count the asset if no limit forbids it, and return whether it is counted."""
        numbers = [(int(limit.numbers[asset]), limit.most, found) for limit, found in self._limits]
        if any(number != NO_LABEL and found[number] >= most for number, most, found in numbers):
            return False
        for number, _, found in numbers:
            found[number] += 1
        return True


def _explore(
    model: Model, histories: Sequence[CustomerHistory], ordered: Scores, lists: Lists, shapes: Sequence[ListShape]
) -> None:
    """Give the last place of full lists of some customers to their best new candidate, unless a list has one.

    A list of one place has no place to spare. ordered: (B, A) the scores in `tie_order`.
    """
    new_assets = model.tie_order[model.new[model.tie_order]]
    new_scores = ordered[:, model.new[model.tie_order]]
    has_new = (new_scores > -np.inf).any(axis=1) & ~(model.new[lists] & (lists != NO_ASSET)).any(axis=1)
    last = np.array([shape.k - 1 for shape in shapes], dtype=np.int64)
    is_full = (lists[np.arange(len(lists)), last] != NO_ASSET) & (last > 0)
    for row in np.flatnonzero(has_new & is_full).tolist():
        if explores(model, histories[row].customer.customer_id):
            place = int(last[row])
            counts = _Counts(shapes[row].limits, lists[row, :place].tolist())
            by_score = np.argsort(-new_scores[row], kind="stable")[: np.count_nonzero(new_scores[row] > -np.inf)]
            fitting = (asset for asset in new_assets[by_score].tolist() if counts.add(asset))
            lists[row, place] = next(fitting, lists[row, place])


def explores(model: Model, customer_id: str) -> bool:
    """Return whether this customer's lists of this model may hold a new asset in the last place; never random."""
    # No checksum: the checksums of one customer with two versions differ by the same bits for every customer.
    digest = hashlib.blake2b(f"{model.version}/{customer_id}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest) / 2**64
    return share < model.configuration.list_rules.exploration_share
