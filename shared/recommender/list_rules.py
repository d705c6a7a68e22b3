"""The rules of a list, applied after scoring: the order of equal scores, limits, sectors, and assets that are new."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import NO_LABEL, CatalogueView
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.types import NO_OPTIONS, CustomerHistory, ListOptions

NO_ASSET = -1
GROUP_COLUMNS = 8  # columns of a group, see `_bound_of_best`
RANKED_FIRST = 4  # times the places of a list: so many assets are looked at before all are, where sectors are limited
MOST_KEPT = 4  # times the places of a list: of a row with more columns at or above the bound, ties are cut first

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

    @cached_property
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
    return choose_in_order(model, histories, scores.take(model.tie_order, axis=1), model.tie_order, shapes)


def choose_in_order(
    model: Model,
    histories: Sequence[CustomerHistory],
    ordered: Scores,
    order: NDArray[np.int32],
    shapes: int | Sequence[ListShape],
) -> Lists:
    """Return what `choose_assets` returns. ordered: (B, N) the scores of the assets `order` (N,), as in `tie_order`.

    `order` may leave out assets that are candidates of nobody.
    """
    if isinstance(shapes, int):
        shapes = [build_shape(model, shapes, None, None)] * len(ordered)
    k = np.array([shape.k for shape in shapes], dtype=np.int64)
    places = int(k.max(initial=0))
    if not ordered.shape[1]:
        return np.full((len(ordered), places), NO_ASSET, dtype=np.int64)
    best = top_k(ordered, places)
    best[np.arange(places) >= k[:, np.newaxis]] = NO_ASSET
    lists = np.where(best == NO_ASSET, NO_ASSET, order[best]).astype(np.int64)
    most_of_sector = np.array([shape.most_of_sector for shape in shapes], dtype=np.int64)
    has_limits = np.array([bool(shape.limits) for shape in shapes], dtype=np.bool_)
    exceeding = np.flatnonzero((_fullest_sector(model.sector, lists) > most_of_sector) & ~has_limits)
    ranked = top_k(ordered[exceeding], RANKED_FIRST * places)
    ranked = np.where(ranked == NO_ASSET, NO_ASSET, order[ranked])
    found, is_full = _first_within_shares(model.sector, ranked, most_of_sector[exceeding], k[exceeding])
    lists[exceeding[is_full]] = found[is_full][:, :places]
    for row in [*exceeding[~is_full].tolist(), *np.flatnonzero(has_limits).tolist()]:
        lists[row] = NO_ASSET
        chosen = _choose_within_limits(model, ordered[row], order, shapes[row])
        lists[row, : len(chosen)] = chosen
    if model.new.any():
        _explore(model, histories, ordered, order, lists, shapes)
    return lists


def top_k(scores: Scores, k: int) -> Lists:
    """Return (B, k) column indices of the largest scores, best first, equal ones by index, -inf never (NO_ASSET).

    Exact: a bound leaves a few columns of each row, among them all that may be listed, and only these are sorted.
    """
    places = min(k, scores.shape[1])
    top = np.full((len(scores), k), NO_ASSET, dtype=np.int64)
    if not scores.size:
        return top
    kept = scores >= np.maximum(_bound_of_best(scores, places), np.finfo(np.float64).min)
    if (has_many := np.count_nonzero(kept, axis=1) > MOST_KEPT * places).any():
        kept[has_many] = _without_surplus_ties(scores[has_many], places)
    rows, columns = np.divmod(np.flatnonzero(kept), scores.shape[1])  # np.nonzero takes ten times as long
    counts = np.bincount(rows, minlength=len(scores))
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(scores), max(int(counts.max()), places))
    values, indices = np.full(shape, -np.inf), np.full(shape, NO_ASSET, dtype=np.int64)
    values[rows, place], indices[rows, place] = scores[rows, columns], columns
    # Columns ascend in each row, so a stable sort settles ties.
    order = np.argsort(-values, axis=1, kind="stable")[:, :places]
    top[:, :places] = np.take_along_axis(indices, order, axis=1)
    return top


def _bound_of_best(scores: Scores, places: int) -> Scores:
    """Return (B, 1) a value that at least so many scores of each row reach, and few more.

    It is the smallest of the best of so many groups of columns. To partition whole rows takes five times as long.
    """
    groups = scores.shape[1] // GROUP_COLUMNS
    if groups < 2 * places:
        return _kth_largest(scores, places)
    highest = scores[:, :groups].copy()
    for start in range(groups, scores.shape[1], groups):
        others = scores[:, start : start + groups]
        np.maximum(highest[:, : others.shape[1]], others, out=highest[:, : others.shape[1]])
    return _kth_largest(highest, places)


def _kth_largest(scores: Scores, k: int) -> Scores:
    place = scores.shape[1] - k
    return np.asarray(np.partition(scores, place, axis=1)[:, place, np.newaxis])


def _without_surplus_ties(scores: Scores, places: int) -> NDArray[np.bool_]:
    """Return which columns are the best, at most so many of each row: of those that share the last place, the first."""
    last = _kth_largest(scores, places)
    above, tied = scores > last, (scores == last) & (scores > -np.inf)
    free_places = places - np.count_nonzero(above, axis=1, keepdims=True)
    return np.asarray(above | (tied & (np.cumsum(tied, axis=1) <= free_places)), dtype=np.bool_)


def _fullest_sector(sector: NDArray[np.int16], lists: Lists) -> NDArray[np.int64]:
    """Return (B,) how many places of each list the sector with most of them has."""
    sectors = np.where(lists == NO_ASSET, NO_SECTOR, sector[lists])
    same = (sectors[:, :, np.newaxis] == sectors[:, np.newaxis]) & (sectors != NO_SECTOR)[:, np.newaxis]
    return np.asarray(same.sum(axis=2).max(axis=1, initial=0))


def _first_within_shares(
    sector: NDArray[np.int16], ranked: Lists, most_of_sector: NDArray[np.int64], k: NDArray[np.int64]
) -> tuple[Lists, NDArray[np.bool_]]:
    """Return (B, N) the first k of (B, N) assets of which no sector has too many, and (B,) whether they are so many.

    most_of_sector, k: (B,). NO_ASSET past the end.
    """
    sectors = np.where(ranked == NO_ASSET, NO_SECTOR, sector[ranked])
    same = (sectors[:, :, np.newaxis] == sectors[:, np.newaxis]) & (sectors != NO_SECTOR)[:, np.newaxis]
    before = np.tril(same, -1).sum(axis=2)  # so many better assets have the same sector
    kept = (before < most_of_sector[:, np.newaxis]) & (ranked != NO_ASSET)
    place = np.cumsum(kept, axis=1)
    kept &= place <= k[:, np.newaxis]
    rows, columns = np.nonzero(kept)
    found = np.full_like(ranked, NO_ASSET)
    found[rows, place[rows, columns] - 1] = ranked[rows, columns]
    return found, np.count_nonzero(kept, axis=1) == k


def _choose_within_limits(
    model: Model, ordered: NDArray[np.float64], order: NDArray[np.int32], shape: ListShape
) -> list[int]:
    """Return the assets of one list, at most k, best first.

    An asset whose sector has its share waits for places that nothing else fills; one that a limit forbids is left out.
    ordered: (N,) the scores of the assets `order`.
    """
    ranking = np.argsort(-ordered, kind="stable")[: np.count_nonzero(ordered > -np.inf)]
    assets: list[int] = order[ranking].tolist()
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
    model: Model,
    histories: Sequence[CustomerHistory],
    ordered: Scores,
    order: NDArray[np.int32],
    lists: Lists,
    shapes: Sequence[ListShape],
) -> None:
    """Give the last place of full lists of some customers to their best new candidate, unless a list has one.

    A list of one place has no place to spare. The new asset obeys the limits and the share of its sector, so it never
    scores more than the assets before it. ordered: (B, N) the scores of the assets `order`.
    """
    new_assets = order[model.new[order]]
    new_scores = ordered[:, model.new[order]]
    has_new = (new_scores > -np.inf).any(axis=1) & ~(model.new[lists] & (lists != NO_ASSET)).any(axis=1)
    last = np.array([shape.k - 1 for shape in shapes], dtype=np.int64)
    is_full = (lists[np.arange(len(lists)), last] != NO_ASSET) & (last > 0)
    for row in np.flatnonzero(has_new & is_full).tolist():
        if explores(model, histories[row].customer.customer_id):
            place = int(last[row])
            of_sector = Limit(model.sector, shapes[row].most_of_sector)
            counts = _Counts((*shapes[row].limits, of_sector), lists[row, :place].tolist())
            by_score = np.argsort(-new_scores[row], kind="stable")[: np.count_nonzero(new_scores[row] > -np.inf)]
            fitting = (asset for asset in new_assets[by_score].tolist() if counts.add(asset))
            lists[row, place] = next(fitting, lists[row, place])


def explores(model: Model, customer_id: str) -> bool:
    """Return whether this customer's lists of this model may hold a new asset in the last place; never random."""
    return is_explorer(model.version, customer_id, share=model.configuration.list_rules.exploration_share)


def is_explorer(version: str, customer_id: str, *, share: float) -> bool:
    """Return what `explores` says of a model of this version with this `exploration_share`."""
    return _share_of(version, customer_id) < share


@lru_cache(maxsize=1_024)  # lists with many weights are compared for the same customers one after the other
def _share_of(version: str, customer_id: str) -> float:
    # No checksum: the checksums of one customer with two versions differ by the same bits for every customer.
    digest = hashlib.blake2b(f"{version}/{customer_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
