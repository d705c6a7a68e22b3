"""Limits of a list: at most so many assets of one sector, category or issuer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.labels import NO_LABEL


@dataclass(frozen=True, eq=False)
class Limit:
    """At most `most` assets have the same number; those of NO_LABEL are not limited. numbers: (A,).

    held: positions of assets that count as well, besides those of the list.
    """

    numbers: NDArray[np.integer[Any]]
    most: int
    held: tuple[int, ...] = ()


class LimitCounts:
    """How often a list has each number of its limits."""

    def __init__(self, limits: Sequence[Limit], assets: Sequence[int] = ()) -> None:
        self._limits = [(limit, Counter(limit.numbers[[*limit.held, *assets]].tolist())) for limit in limits]

    def add(self, asset: int) -> bool:
        """Count the asset if no limit forbids it, and return whether it is counted."""
        numbers = [(int(limit.numbers[asset]), limit.most, found) for limit, found in self._limits]
        if any(number != NO_LABEL and found[number] >= most for number, most, found in numbers):
            return False
        for number, _, found in numbers:
            found[number] += 1
        return True
