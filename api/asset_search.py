"""Search of assets by a part of their ISIN or name, in memory: pairs of characters name the few assets to look at."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Sequence
from itertools import pairwise

# No text of PostgreSQL has this character. Before a text it means: at the beginning of a name.
NAME_START = "\0"
_NOWHERE: Sequence[int] = array("I")


def fold(text: str) -> str:
    """Return the text for comparisons: without case, and with one spelling of each character (Unicode NFKC)."""
    return unicodedata.normalize("NFKC", text.casefold())


class AssetSearch:
    """Assets by position, which is the order of their ISIN, each as one folded text of ISIN and name.

    For each character, each pair of neighbours and each beginning of a name it holds the positions of the texts that
    contain it, about 25 MB for 100,000 assets. A longer text looks at the assets that have its rarest pair.
    """

    def __init__(self, assets: Sequence[tuple[str, str]]) -> None:
        self._texts = [f"{fold(isin)}{NAME_START}{fold(name)}" for isin, name in assets]
        self._exact: dict[str, list[int]] = {}
        self._positions: dict[str, array[int]] = {}
        for position, text in enumerate(self._texts):
            end = text.index(NAME_START)
            self._exact.setdefault(text[:end], []).append(position)
            for part in {text[end : end + 3], *text, *map("".join, pairwise(text))}:
                if (positions := self._positions.get(part)) is None:
                    positions = self._positions[part] = array("I")
                positions.append(position)

    def exact(self, folded: str) -> Sequence[int]:
        """Return the positions of the assets with this ISIN."""
        return self._exact.get(folded, _NOWHERE)

    def find(self, folded: str, *, among: Sequence[int]) -> Sequence[int]:
        """Return in order the positions of texts that contain this one, of those that `candidates` returns."""
        candidates = self.candidates(folded, among=among)
        if candidates is not among and folded in self._positions:
            return candidates
        return [position for position in candidates if folded in self._texts[position]]

    def candidates(self, folded: str, *, among: Sequence[int]) -> Sequence[int]:
        """Return the positions that its rarest part has, or `among` if that is shorter.

        Those of a part can be outside of `among`: the caller removes them.
        """
        pieces = [folded[start : start + 2] for start in range(max(1, len(folded) - 1))]
        if folded[0] == NAME_START:
            pieces.append(folded[:3])
        rarest = min((self._positions.get(piece, _NOWHERE) for piece in pieces), key=len)
        return among if len(among) < len(rarest) else rarest
