"""The rules of a list, applied after scoring: the order of equal scores, limits, sectors, and assets that are new."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import CatalogueView
from shared.recommender.limits import Limit, LimitCounts
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.policy.concentration import are_tied, exceeds_caps, portfolio_limits
from shared.recommender.policy.view import PolicyView
from shared.recommender.top_k import NO_ASSET as NO_ASSET
from shared.recommender.top_k import Lists, Scores, top_k
from shared.recommender.types import NO_OPTIONS, CustomerHistory, ListOptions

RANKED_FIRST = 4  # times the places of a list: so many assets are looked at before all are, where sectors are limited


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
    model: Model,
    histories: Sequence[CustomerHistory],
    scores: Scores,
    shapes: int | Sequence[ListShape],
    policy: PolicyView | None = None,
) -> Lists:
    """Return (B, largest k) positions of the assets of each list, best first, NO_ASSET past the end.

    scores: (B, A), -inf where the asset is no candidate. shapes: one for each list, or k alone for all. They are the
    best k, equal ones in `tie_order`, with exceptions (docs/decisions/0027, 0033). No list exceeds its limits. No
    sector fills more than `largest_sector_share` of a list while other candidates are left. For `exploration_share` of
    the customers the last place of several goes to the best new asset.

    A policy may have its own order of equal scores and caps on portfolio and list, and may leave out what nothing tells
    apart (docs/decisions/0057).
    """
    order = equal_score_order(model, policy)
    return choose_in_order(model, histories, scores.take(order, axis=1), order, shapes, policy)


def equal_score_order(model: Model, policy: PolicyView | None) -> NDArray[np.int32]:
    """Return (A,) all positions in the order that equal scores have: that of the policy if it has one."""
    return model.tie_order if policy is None or policy.tie_order is None else policy.tie_order


def choose_in_order(
    model: Model,
    histories: Sequence[CustomerHistory],
    ordered: Scores,
    order: NDArray[np.int32],
    shapes: int | Sequence[ListShape],
    policy: PolicyView | None = None,
) -> Lists:
    """Return what `choose_assets` returns. ordered: (B, N) the scores of the assets `order` (N,), in that order.

    `order` may leave out assets that are candidates of nobody.
    """
    shapes = [build_shape(model, shapes, None, None)] * len(ordered) if isinstance(shapes, int) else shapes
    k = np.array([shape.k for shape in shapes], dtype=np.int64)
    places = int(k.max(initial=0))
    if not ordered.shape[1]:
        return np.full((len(ordered), places), NO_ASSET, dtype=np.int64)
    caps, ties = (policy.policy.caps.given(), policy.policy.leave_out_ties) if policy else ({}, False)
    best = top_k(ordered, places + ties)  # one more: what the last place is tied with
    lists = np.where(best == NO_ASSET, NO_ASSET, order[best]).astype(np.int64)[:, :places]
    lists[np.arange(places) >= k[:, np.newaxis]] = NO_ASSET
    is_limited = np.array([bool(shape.limits) for shape in shapes], dtype=np.bool_)
    most_of_sector = np.array([shape.most_of_sector for shape in shapes], dtype=np.int64)
    exceeds = _fullest_sector(model.sector, lists) > most_of_sector
    if policy is not None and caps:
        is_limited |= exceeds | exceeds_caps(policy, histories, lists, k)
        shapes = [_with_caps(policy, history, shape) for history, shape in zip(histories, shapes, strict=True)]
    if policy is not None and ties:
        lists[are_tied(policy, ordered, order, best, k)] = NO_ASSET
        is_limited |= exceeds
    exceeding = np.flatnonzero(exceeds & ~is_limited)
    short = exceeding[~_fill_within_shares(model.sector, ordered, order, lists, exceeding, shapes)]
    for row in [*short.tolist(), *np.flatnonzero(is_limited).tolist()]:
        chosen = _choose_within_limits(model, ordered[row], order, shapes[row])
        if policy is not None and ties:
            chosen = _without_ties(model, policy, ordered[row], order, chosen, shapes[row])
        lists[row] = NO_ASSET
        lists[row, : len(chosen)] = chosen
    if model.new.any():
        _explore(model, histories, ordered, order, lists, shapes)
    return lists


def _with_caps(policy: PolicyView, history: CustomerHistory, shape: ListShape) -> ListShape:
    return replace(shape, limits=(*shape.limits, *portfolio_limits(policy, history, shape.k)))


def _fill_within_shares(
    sector: NDArray[np.int16],
    ordered: Scores,
    order: NDArray[np.int32],
    lists: Lists,
    rows: NDArray[np.int64],
    shapes: Sequence[ListShape],
) -> NDArray[np.bool_]:
    """Fill these rows of `lists` with no sector above its share, and return which of them became full."""
    ranked = top_k(ordered[rows], RANKED_FIRST * lists.shape[1])
    ranked = np.where(ranked == NO_ASSET, NO_ASSET, order[ranked])
    most_of_sector = np.array([shapes[row].most_of_sector for row in rows.tolist()], dtype=np.int64)
    k = np.array([shapes[row].k for row in rows.tolist()], dtype=np.int64)
    found, is_full = _first_within_shares(sector, ranked, most_of_sector, k)
    lists[rows[is_full]] = found[is_full][:, : lists.shape[1]]
    return is_full


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
    counts = LimitCounts(shape.limits)
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


def _without_ties(
    model: Model,
    policy: PolicyView,
    ordered: NDArray[np.float64],
    order: NDArray[np.int32],
    chosen: list[int],
    shape: ListShape,
) -> list[int]:
    """Leave out of a list within limits what another candidate could replace that nothing tells apart from it.

    ordered: (N,) the scores of the assets `order`.
    """
    scores = dict(zip(order.tolist(), ordered.tolist(), strict=True))
    others = order[np.isin(ordered, [scores[asset] for asset in chosen])].tolist()
    keys, sectors = policy.tie_class.tolist(), model.sector.tolist()
    tied: dict[tuple[float, int], list[int]] = {}
    for one in set(others).difference(chosen):
        tied.setdefault((scores[one], keys[one]), []).append(one)

    def is_replaceable(asset: int) -> bool:
        rest = [one for one in chosen if one != asset]
        full = Counter(sectors[one] for one in rest)
        return any(
            (sectors[one] == NO_SECTOR or full[sectors[one]] < shape.most_of_sector or sectors[one] == sectors[asset])
            and LimitCounts(shape.limits, rest).add(one)
            for one in tied.get((scores[asset], keys[asset]), ())
        )

    return [asset for asset in chosen if not is_replaceable(asset)]


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
    columns = np.flatnonzero(model.new[order])
    if not len(columns):
        return
    rows = [row for row, history in enumerate(histories) if explores(model, history.customer.customer_id)]
    for row in rows:
        new_scores = ordered[row, columns]
        place, is_candidate = shapes[row].k - 1, new_scores > -np.inf
        best = lists[row, : place + 1]
        if place and best[place] != NO_ASSET and is_candidate.any() and not model.new[best].any():
            of_sector = Limit(model.sector, shapes[row].most_of_sector)
            counts = LimitCounts((*shapes[row].limits, of_sector), best[:place].tolist())
            by_score = np.argsort(-new_scores, kind="stable")[: np.count_nonzero(is_candidate)]
            fitting = (asset for asset in order[columns[by_score]].tolist() if counts.add(asset))
            best[place] = next(fitting, best[place])


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
