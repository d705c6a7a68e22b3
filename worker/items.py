"""The items of a list as they are stored: what is shown of each asset, encoded once for all lists, and numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from json import dumps, loads
from typing import Any, overload
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from shared.recommender.configuration import COMPONENTS
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.pipeline import TopAssets
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
_NEAR_A_TIE = 1e-6


class ListItems(Sequence[RecommendationItem]):
    """Items by what was shown of each asset (JSON texts) and its three contributions, decoded when one is read.

    Equal to any sequence of the same items. `millionths` has three numbers for each asset, best first, None for a
    component that says nothing. Where one does not fit into four bytes it is None, and `large` has the rounded numbers.
    """

    def __init__(
        self,
        contents: Sequence[str],
        millionths: Sequence[int | None] | None,
        *,
        made_at: datetime,
        large: Sequence[float | None] = (),
    ) -> None:
        self.contents = contents
        self.millionths = millionths
        self.made_at = made_at
        self._large = large

    @property
    def contributions(self) -> Sequence[float | None]:
        """Three numbers for each asset, as the API shows them."""
        if self.millionths is None:
            return self._large
        return [None if value is None else value / MILLION for value in self.millionths]

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


def build_lists(
    top: TopAssets, *, contents: Sequence[str | None], silent: Collection[str], decided_at: datetime
) -> list[ListItems]:
    """Return the items of each list, best first; raises ValueError on a score that is not finite.

    `contents`: what is shown of each of the model's assets, by position (encode_displays). An asset that left the
    catalogue has None and is skipped, and the ranks stay without gaps. `silent`: the components that say nothing.
    """
    is_silent = np.array([name in silent for name in COMPONENTS])
    is_listed = top.asset_indices != NO_ASSET
    numbers: NDArray[Any] = np.where(is_listed & ~is_silent[:, np.newaxis, np.newaxis], top.contributions, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(numbers.sum(axis=0)).all():
            raise ValueError("a score is not finite")
    fits = bool((np.abs(numbers) <= _MOST_MILLIONTHS / MILLION).all())
    values: NDArray[Any] = np.moveaxis(round_to_millionths(numbers) if fits else numbers, 0, 2)
    if silent:
        values = values.astype(object)
        values[:, :, is_silent] = None
    of_lists = values.reshape(len(is_listed), -1).tolist()
    each = zip(top.asset_indices.tolist(), of_lists, is_listed.sum(axis=1).tolist(), strict=True)
    build = partial(_build_list, made_at=decided_at, fits=fits)
    return [
        build([contents[index] for index in indices[:places]], of_places[: 3 * places])
        for indices, of_places, places in each
    ]


def round_to_millionths(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the numbers in millionths (any shape), as `rounded` rounds them; they must fit into four bytes.

    `rounded` rounds the decimal value of a number, and a product is off by up to 2.4e-7: near a tie it decides.
    """
    scaled = numbers * MILLION
    whole = np.rint(scaled)
    millionths: NDArray[np.int64] = whole.astype(np.int64)
    for place in zip(*np.nonzero(np.abs(np.abs(scaled - whole) - 0.5) < _NEAR_A_TIE), strict=True):
        millionths[place] = round(rounded(numbers[place]) * MILLION)
    return millionths


def _build_list(contents: list[str | None], numbers: list[Any], *, made_at: datetime, fits: bool) -> ListItems:
    shown = [content for content in contents if content is not None]
    if len(shown) < len(contents):
        of_assets = zip(contents, zip(*[iter(numbers)] * len(COMPONENTS), strict=True), strict=True)
        numbers = [value for content, three in of_assets if content is not None for value in three]
    if fits:
        return ListItems(shown, numbers, made_at=made_at)
    return _build_large(shown, [None if value is None else rounded(value) for value in numbers], made_at=made_at)


def _build_large(contents: Sequence[str], numbers: Sequence[float | None], *, made_at: datetime) -> ListItems:
    if all(value is None or abs(value) <= _MOST_MILLIONTHS / MILLION for value in numbers):
        return ListItems(
            contents, [None if value is None else round(value * MILLION) for value in numbers], made_at=made_at
        )
    return ListItems(contents, None, made_at=made_at, large=numbers)


def encode_displays(displays: Mapping[str, AssetDisplay]) -> dict[str, str]:
    """Return what is shown of each asset, once for all lists of a batch; raises ValidationError."""
    return {isin: encode_display(display) for isin, display in displays.items()}


def encode_display(display: AssetDisplay) -> str:
    """Return the JSON of an item without what depends on the list; raises ValidationError."""
    if (content := _CONTENTS.get(display)) is None:
        content = _CONTENTS[display] = _encode_display(display)
    return content


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
