"""The frozen map between ISINs and matrix positions, so that the two never mix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AssetIdMap:
    """ISINs in ascending order; the position of an ISIN is its `asset_index`. Raises ValueError on doubles."""

    isins: tuple[str, ...]
    _indices: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if list(self.isins) != sorted(set(self.isins)):
            raise ValueError("ISINs must be unique and in ascending order")
        object.__setattr__(self, "_indices", {isin: index for index, isin in enumerate(self.isins)})

    @classmethod
    def build(cls, isins: Iterable[str]) -> AssetIdMap:
        """Build the map of these ISINs, in any order, doubles allowed."""
        return cls(tuple(sorted(set(isins))))

    def __len__(self) -> int:
        return len(self.isins)

    def __contains__(self, isin: str) -> bool:
        return isin in self._indices

    def asset_index(self, isin: str) -> int:
        """Return the position of a known ISIN; raises KeyError."""
        return self._indices[isin]

    def known_indices(self, isins: Iterable[str]) -> list[int]:
        """Return the positions of those ISINs that the model knows; the others are left out."""
        return [self._indices[isin] for isin in isins if isin in self._indices]

    def isins_of(self, asset_indices: Sequence[int]) -> list[str]:
        """Return the ISINs at these positions."""
        return [self.isins[index] for index in asset_indices]
