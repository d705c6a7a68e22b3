"""A list from the arrays of its decision has the bytes of the same list from JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from api import list_items
from api.list_items import ShownAssets, build_items, parse_items
from shared.recommender.types import Contributions
from tests.fakes_store import build_list, display_of
from worker.items import ListItems, encode_display, encode_items
from worker.ports import AssetDisplay

MADE_AT = datetime(2026, 3, 1, 22, 0, 59, 999_999, tzinfo=UTC)
NUMBERS = st.floats(-2000, 2000) | st.sampled_from([0.0, -0.0, 1e-7, 5e-7, 1e-6, 0.1 + 0.2, 1.0000005, 2147.483647])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
DISPLAYS = st.builds(
    AssetDisplay,
    isin=st.sampled_from(["GR1", "GR2", "GR3"]),
    assetname=TEXTS,
    assetcategory=TEXTS,
    sector=st.none() | TEXTS,
    industry=st.none() | TEXTS,
    current_price=st.none() | NUMBERS | st.sampled_from([1e-9, 1e12, 12345678.9]),
    profitability=st.none() | NUMBERS,
    price_date=st.none() | st.dates(date(1990, 1, 1)),
    currency=st.none() | TEXTS,
    trailing_return_12m=st.none() | NUMBERS,
)
PARTS = st.builds(Contributions, *[st.none() | NUMBERS] * 3)


def made(*shown: tuple[AssetDisplay, Contributions]) -> ListItems:
    return build_list(shown, made_at=MADE_AT)


@given(st.lists(st.tuples(DISPLAYS, PARTS), max_size=4))
def test_a_list_from_arrays_has_the_bytes_of_the_list_from_json(
    shown: list[tuple[AssetDisplay, Contributions]],
) -> None:
    items = made(*shown)
    contributions = items.millionths
    assert contributions is not None
    ids = list(range(len(shown)))
    known = ShownAssets().add(dict(enumerate(items.contents)))
    built = build_items(known, ids=ids, contributions=contributions, made_at=MADE_AT)
    assert to_json(built) == to_json(parse_items(encode_items(tuple(items))))


@pytest.mark.parametrize("value", [2147.483648, -2147.483648, 1e9])
def test_a_number_that_does_not_fit_has_no_millionths(value: float) -> None:
    assert made((display_of("GR1"), Contributions(0.5, value, None))).millionths is None
    assert made((display_of("GR1"), Contributions(0.5, 2147.483647, None))).millionths == [
        500_000,
        2_147_483_647,
        None,
    ]


@pytest.mark.parametrize(
    ("ids", "contributions"), [([1, 2], [1] * 6), ([1], [1] * 3), ([0], [1] * 2), ([0], []), ([0, 1], [1] * 3)]
)
def test_what_does_not_fit_together_is_no_list(ids: list[int], contributions: list[Any]) -> None:
    known = ShownAssets().add({0: encode_display(display_of("GR1")), 1: '{"isin": 1}'})
    assert build_items(known, ids=ids, contributions=contributions, made_at=MADE_AT) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_items, "MOST_ASSETS", 2)
    assets, content = ShownAssets(), encode_display(display_of("GR1"))
    assert assets.add({1: content, 2: content}).keys() == assets.find([1, 2, 3]).keys() == {1, 2}
    assets.add({3: content})
    assert assets.find([1, 2, 3]).keys() == {3}


def test_two_lists_with_an_asset_share_nothing() -> None:
    known = ShownAssets().add({0: encode_display(display_of("GR1"))})
    first, second = (build_items(known, ids=[0], contributions=[part] * 3, made_at=MADE_AT) for part in (1, 2))
    assert first is not None
    assert second is not None
    first[0]["components"]["content"] = first[0]["rank"] = 9
    assert (second[0]["rank"], second[0]["components"]["content"]) == (1, 0.000002)
