"""The category, the sector or the issuer of assets as numbers, to count and to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NO_LABEL = -1


@dataclass(frozen=True, eq=False)
class Labels:
    """One label of each of A assets, such as its sector. numbers: (A,) int32, NO_LABEL for none; by name: `of_name`."""

    numbers: NDArray[np.int32]
    of_name: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def build(cls, names: Sequence[str | None]) -> Labels:
        """Build from one name for each asset; an empty name is none."""
        of_name = {name: number for number, name in enumerate(sorted({name for name in names if name}))}
        return cls(np.array([of_name.get(name or "", NO_LABEL) for name in names], dtype=np.int32), of_name)

    def are_among(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return (A,) whether each asset has one of these names."""
        return np.isin(self.numbers, [self.of_name[name] for name in names if name in self.of_name])

    def name(self, asset: int) -> str | None:
        """Return the label of one asset, None without one."""
        number = int(self.numbers[asset])
        return next((name for name, of_name in self.of_name.items() if of_name == number), None)
