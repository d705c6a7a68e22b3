"""The rules of a policy on a whole list: caps on portfolio and list together, and scores that nothing tells apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.recommender.labels import NO_LABEL
from shared.recommender.limits import Limit
from shared.recommender.policy.view import PolicyView
from shared.recommender.top_k import NO_ASSET, Lists
from shared.recommender.types import CustomerHistory


def portfolio_limits(policy: PolicyView, history: CustomerHistory, k: int) -> tuple[Limit, ...]:
    """Return the caps for a list of k places beside what the customer holds, by number of names: amounts are unknown.

    A cap never forbids the first name of a group.
    """
    caps = policy.policy.caps.given()
    if not caps:
        return ()
    held = tuple(policy.id_map.known_indices(history.owned))
    return tuple(
        Limit(policy.groups[name].numbers, most_names(share, len(held) + k), held) for name, share in caps.items()
    )


def most_names(share: float, names: int) -> int:
    """Return how many of so many names one group may have."""
    return max(int(share * names + 1e-9), 1)


def exceeds_caps(
    policy: PolicyView, histories: Sequence[CustomerHistory], lists: Lists, k: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (B,) whether portfolio and list of each customer together exceed a cap. lists: (B, K)."""
    exceeded = np.zeros(len(lists), dtype=np.bool_)
    caps = policy.policy.caps.given()
    if not caps or not lists.size:
        return exceeded
    held = [policy.id_map.known_indices(history.owned) for history in histories]
    sizes = np.array([len(assets) for assets in held], dtype=np.int64)
    held_rows = np.repeat(np.arange(len(held)), sizes)
    held_assets = np.array([asset for assets in held for asset in assets], dtype=np.int64)
    rows, places = np.nonzero(lists != NO_ASSET)
    for name, share in caps.items():
        labels = policy.groups[name]
        listed = labels.numbers[lists[rows, places]]
        counts = np.zeros((len(lists), len(labels.of_name) + 1), dtype=np.int64)  # the last column: no label
        np.add.at(counts, (rows, listed), 1)
        is_listed = counts > 0
        np.add.at(counts, (held_rows, labels.numbers[held_assets]), 1)
        most = np.array([most_names(share, total) for total in (sizes + k).tolist()], dtype=np.int64)
        exceeded |= ((counts > most[:, np.newaxis]) & is_listed)[:, :NO_LABEL].any(axis=1)
    return exceeded


def are_tied(
    policy: PolicyView, ordered: NDArray[np.float64], order: NDArray[np.int32], best: Lists, k: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (B, K) which of the first k of each row nothing tells apart from the one after them, if there is one.

    Equal are the score, the liquidity and the freshness of the price. ordered: (B, N) the scores of the assets `order`.
    best: (B, K + 1) columns of `ordered`, best first, NO_ASSET past the end.
    """
    rows = np.arange(len(best))[:, np.newaxis]
    following = best[rows, k[:, np.newaxis]]
    tied = (best != NO_ASSET) & (following != NO_ASSET) & (np.arange(best.shape[1]) < k[:, np.newaxis])
    tied &= ordered[rows, best] == ordered[rows, following]
    tied &= policy.tie_class[order[best]] == policy.tie_class[order[following]]
    return np.asarray(tied[:, :-1])
