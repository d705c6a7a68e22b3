"""The items of a list as they are stored: what is shown of each asset, encoded once for all lists, and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from json import dumps, loads
from typing import overload
from weakref import WeakKeyDictionary

from shared.recommender.types import Contributions, Ranking
from shared.served_list import (
    LIST_FIELDS,
    MILLION,
    Components,
    RecommendationItem,
    build_list_fields,
    rounded,
    rounded_or_none,
)
from worker.ports import AssetDisplay

# Raises ValueError for a number that is not finite.
encode_json = partial(dumps, allow_nan=False, separators=(",", ":"))
# About 1 KiB for each asset, as long as the catalogue has it: an asset with a new price is another key.
_CONTENTS: WeakKeyDictionary[AssetDisplay, str] = WeakKeyDictionary()
_MOST_MILLIONTHS = 2**31 - 1


class ListItems(Sequence[RecommendationItem]):
    """Items by what was shown of each asset (JSON texts) and its three contributions, decoded when one is read.

    Equal to any sequence of the same items. `contributions` has three numbers for each asset, rounded, best first.
    """

    def __init__(self, contents: Sequence[str], contributions: Sequence[float | None], *, made_at: datetime) -> None:
        self.contents = contents
        self.contributions = contributions
        self.made_at = made_at

    def millionths(self) -> list[int | None] | None:
        """Return the contributions in millionths, which are exact; None where one does not fit into four bytes."""
        scaled = [None if value is None else round(value * MILLION) for value in self.contributions]
        fits = all(value is None or abs(value) <= _MOST_MILLIONTHS for value in scaled)
        return scaled if fits else None

    @cached_property
    def _decoded(self) -> tuple[RecommendationItem, ...]:
        return tuple(
            RecommendationItem.model_validate({**loads(content), **fields})
            for content, fields in zip(
                self.contents, build_list_fields(self.contributions, made_at=self.made_at), strict=True
            )
        )

    @overload
    def __getitem__(self, index: int) -> RecommendationItem: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RecommendationItem, ...]: ...
    def __getitem__(self, index: int | slice) -> RecommendationItem | tuple[RecommendationItem, ...]:
        return self._decoded[index]

    def __len__(self) -> int:
        return len(self.contents)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._decoded == tuple(other)

    def __hash__(self) -> int:
        return hash(self._decoded)


def encode_items(items: Sequence[RecommendationItem]) -> str:
    """Return the items as JSON."""
    return encode_json([item.model_dump(mode="json") for item in items])


def build_items(ranking: Ranking, *, contents: Mapping[str, str], decided_at: datetime) -> ListItems:
    """Return one item per ranked asset, best first; raises ValueError on a score that is not finite.

    `contents`: what is shown of each asset (encode_displays). An asset that left the catalogue has none and is skipped,
    and the ranks stay without gaps.
    """
    shown = [(contents[asset.isin], asset.contributions) for asset in ranking.assets if asset.isin in contents]
    contributions = [value for _, given in shown for value in _round_contributions(given)]
    return ListItems([content for content, _ in shown], contributions, made_at=decided_at)


def encode_displays(displays: Mapping[str, AssetDisplay]) -> dict[str, str]:
    """Return what is shown of each asset, once for all lists of a batch; raises ValidationError."""
    return {isin: encode_display(display) for isin, display in displays.items()}


def encode_display(display: AssetDisplay) -> str:
    """Return the JSON of an item without what depends on the list; raises ValidationError."""
    if (content := _CONTENTS.get(display)) is None:
        content = _CONTENTS[display] = _encode_display(display)
    return content


def _round_contributions(given: Contributions) -> tuple[float | None, float | None, float | None]:
    """Return the contributions of an asset as the API shows them; raises ValueError when their sum is not finite."""
    collaborative, content, profitability = [None if value is None else rounded(value) for value in given]
    if not math.isfinite((collaborative or 0.0) + (content or 0.0) + (profitability or 0.0)):
        raise ValueError("a score is not finite")
    return collaborative, content, profitability


def _encode_display(display: AssetDisplay) -> str:
    rounded_prices = {
        "current_price": rounded_or_none(display.current_price),
        "profitability": rounded_or_none(display.profitability),
        "trailing_return_12m": rounded_or_none(display.trailing_return_12m),
    }
    item = RecommendationItem(
        **{**vars(display), **rounded_prices},
        recommendation_date="2000-01-01T00:00:00",
        score=0.0,
        rank=1,
        components=Components(collaborative=None, content=None, profitability=None),
    )
    return encode_json(item.model_dump(mode="json", exclude=LIST_FIELDS))
