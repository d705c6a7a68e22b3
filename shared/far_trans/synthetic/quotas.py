"""Whole numbers that sum exactly to what they must."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def allocate(total: int, weights: Mapping[str, float], *, floors: Mapping[str, int] | None = None) -> dict[str, int]:
    """Share `total` out in proportion to the weights (largest remainder), each at least its floor."""
    shares = {name: (floors or {}).get(name, 0) for name in weights}
    rest = total - sum(shares.values())
    if rest < 0:
        raise ValueError("the floors need more than there is")
    # What lies below its floor has had its share; the others divide what is left.
    wanted = {name: max(0.0, total * weight / sum(weights.values()) - shares[name]) for name, weight in weights.items()}
    exact = {name: rest * want / (sum(wanted.values()) or 1.0) for name, want in wanted.items()}
    for name, value in exact.items():
        shares[name] += int(value)
    by_remainder = sorted(exact, key=lambda name: int(exact[name]) - exact[name])
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def settle(values: Integers, total: int, *, lower: Integers, upper: Integers, rng: np.random.Generator) -> Integers:
    """Return `values` moved by single steps at random places until they sum to `total`, within their bounds."""
    values = values.copy()
    while difference := total - int(values.sum()):
        step = 1 if difference > 0 else -1
        movable = np.flatnonzero(values < upper if step > 0 else values > lower)
        if not len(movable):
            raise ValueError("the bounds leave no room")
        moved = rng.choice(movable, size=min(abs(difference), len(movable)), replace=False)
        values[moved] += step
    return values
