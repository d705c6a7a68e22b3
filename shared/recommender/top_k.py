"""The largest scores of each row, exactly and without sorting whole rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NO_ASSET = -1
GROUP_COLUMNS = 8  # columns of a group, see `_bound_of_best`
MOST_KEPT = 4  # times the places of a list: of a row with more columns at or above the bound, ties are cut first

Scores = NDArray[np.float64]
Lists = NDArray[np.int64]


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
