"""A ranking becomes the items of the contract."""

from __future__ import annotations

import gc
import json
import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recommender.pipeline import rank_assets, recommend
from shared.recommender.types import Contributions
from shared.served_list import Components, RecommendationItem, rounded, rounded_or_none
from tests.builders import NOW, build_histories, build_model, build_top_assets
from tests.fakes_store import display_of
from tests.public_items import ITEM_KEYS, LATER_KEYS
from worker.items import ListItems, build_lists, encode_displays, encode_items, round_to_millionths
from worker.ports import AssetDisplay

DECIDED_AT = datetime(2025, 11, 30, 22, 0, 0, 999_999, tzinfo=UTC)


def build_items(
    contributions: Sequence[Contributions], *, contents: Mapping[str, str], decided_at: datetime
) -> ListItems:
    """The list of GR1, GR2, ... with these contributions."""
    known = [contents.get(f"GR{rank}") for rank in range(1, len(contributions) + 1)]
    top, silent = build_top_assets([contributions])
    [items] = build_lists(top, contents=known, silent=silent, decided_at=decided_at)
    return items


def test_keys_are_those_of_the_contract_in_its_order() -> None:
    [item] = build_items(
        [Contributions(0.5, 0.25, 0.125)],
        contents=encode_displays({"GR1": display_of("GR1")}),
        decided_at=DECIDED_AT,
    )
    assert list(item.model_dump()) == ITEM_KEYS + LATER_KEYS
    assert item.model_dump() == {
        "isin": "GR1",
        "assetname": "Name of GR1",
        "assetcategory": "Stock",
        "sector": "Technology",
        "industry": "Software",
        "current_price": 3.76,
        "profitability": 0.160494,
        "recommendation_date": "2025-11-30T22:00:00",
        "score": 0.875,
        "rank": 1,
        "components": {"collaborative": 0.5, "content": 0.25, "profitability": 0.125},
        "price_date": None,
        "currency": None,
        "trailing_return_12m": None,
    }


def test_an_asset_that_the_catalogue_no_longer_has_is_not_kept() -> None:
    displays = {"GR1": replace(display_of("GR1"), current_price=987.125)}  # no other test has this asset
    build_items([Contributions(1, 0, 0)], contents=encode_displays(displays), decided_at=DECIDED_AT)
    dropped = weakref.ref(displays.pop("GR1"))
    gc.collect()
    assert dropped() is None


def test_the_date_is_utc_whatever_the_clock_says() -> None:
    local = DECIDED_AT.astimezone(timezone(timedelta(hours=-7)))
    [item] = build_items(
        [Contributions(1, 0, 0)], contents=encode_displays({"GR1": display_of("GR1")}), decided_at=local
    )
    assert item.recommendation_date == "2025-11-30T22:00:00"


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=5))
def test_shown_components_add_up_to_the_shown_score(parts: list[tuple[float, float, float]]) -> None:
    displays = {f"GR{rank}": display_of(f"GR{rank}") for rank in range(1, 6)}
    for item in build_items(
        [Contributions(*three) for three in parts], contents=encode_displays(displays), decided_at=DECIDED_AT
    ):
        assert item.score == round(sum(vars(item.components).values()), 6)
        assert "-0.0" not in json.dumps(item.model_dump(), allow_nan=False)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_a_bug(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        build_items(
            [Contributions(0.5, bad, 0)],
            contents=encode_displays({"GR1": display_of("GR1")}),
            decided_at=DECIDED_AT,
        )


def test_a_price_that_is_not_known_or_not_a_number_is_null() -> None:
    displays = {"GR1": display_of("GR1", current_price=None, profitability=float("nan"), sector=None)}
    [item] = build_items([Contributions(1, 0, 0)], contents=encode_displays(displays), decided_at=DECIDED_AT)
    assert (item.current_price, item.profitability, item.sector) == (None, None, None)


def test_the_date_of_the_price_and_the_trailing_return_are_shown() -> None:
    display = display_of("GR1", price_date=date(2022, 11, 29), trailing_return_12m=0.08433734939)
    [item] = build_items([Contributions(1, 0, 0)], contents=encode_displays({"GR1": display}), decided_at=DECIDED_AT)
    assert list(item.model_dump(mode="json").items())[-3:] == [
        ("price_date", "2022-11-29"),
        ("currency", None),
        ("trailing_return_12m", 0.084337),
    ]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_trailing_return_that_is_not_finite_is_null(bad: float) -> None:
    displays = {"GR1": display_of("GR1", trailing_return_12m=bad)}
    [item] = build_items([Contributions(1, 0, 0)], contents=encode_displays(displays), decided_at=DECIDED_AT)
    assert item.trailing_return_12m is None


def test_an_asset_that_left_the_catalogue_is_left_out_and_ranks_close_up() -> None:
    displays = {"GR1": display_of("GR1"), "GR3": display_of("GR3")}
    items = build_items([Contributions(1, 0, 0)] * 3, contents=encode_displays(displays), decided_at=DECIDED_AT)
    assert [(item.isin, item.rank) for item in items] == [("GR1", 1), ("GR3", 2)]


ANY_FLOAT = st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324])
A_CONTRIBUTION = st.one_of(st.none(), st.floats(-1e300, 1e300), st.sampled_from([-0.0, 5e-324, 1e22, 1e-7, 0, 1]))
A_TEXT = st.text(max_size=8)
ASSETS = st.builds(
    AssetDisplay,
    isin=st.just("GR1"),
    assetname=A_TEXT,
    assetcategory=A_TEXT,
    sector=st.none() | A_TEXT,
    industry=st.none() | A_TEXT,
    current_price=st.none() | ANY_FLOAT | st.integers(-5, 5),
    profitability=st.none() | ANY_FLOAT,
    asset_sub_category=st.none() | A_TEXT,
    price_date=st.none() | st.dates(),
    currency=st.none() | A_TEXT,
    trailing_return_12m=st.none() | ANY_FLOAT,
)


def item_of(display: AssetDisplay, contributions: Contributions) -> RecommendationItem:
    """The item as the type of the contract makes it, field by field."""
    components = {name: None if value is None else rounded(value) for name, value in contributions._asdict().items()}
    return RecommendationItem(
        isin=display.isin,
        assetname=display.assetname,
        assetcategory=display.assetcategory,
        sector=display.sector,
        industry=display.industry,
        current_price=rounded_or_none(display.current_price),
        profitability=rounded_or_none(display.profitability),
        recommendation_date="2025-11-30T22:00:00",
        score=rounded(sum(value for value in components.values() if value is not None)),
        rank=1,
        components=Components(**components),
        price_date=display.price_date,
        currency=display.currency,
        trailing_return_12m=rounded_or_none(display.trailing_return_12m),
    )


@given(ASSETS, st.tuples(*[A_CONTRIBUTION] * 3))
def test_the_text_is_the_json_of_the_same_items_as_the_contract_makes_them(
    display: AssetDisplay, parts: tuple[float | None, float | None, float | None]
) -> None:
    contributions = Contributions(*parts)
    expected = item_of(display, contributions)
    made = build_items([contributions], contents=encode_displays({"GR1": display}), decided_at=DECIDED_AT)
    text = json.dumps([expected.model_dump(mode="json")], separators=(",", ":"), allow_nan=False)
    assert encode_items(made) == encode_items((expected,)) == text


def test_items_are_read_as_a_sequence_and_equal_the_same_items() -> None:
    displays = {f"GR{rank}": display_of(f"GR{rank}") for rank in range(1, 4)}
    parts = [Contributions(0.5, None, 0.25)] * 3
    items = build_items(parts, contents=encode_displays(displays), decided_at=DECIDED_AT)
    plain = tuple(items)
    assert (len(items), items[1], items[1:]) == (3, plain[1], plain[1:])
    assert items == plain
    assert plain == items
    assert hash(items) == hash(plain)
    assert items != plain[:2]
    assert items != "text"


def test_no_assets_are_an_empty_list() -> None:
    assert build_items([], contents=encode_displays({}), decided_at=DECIDED_AT) == ()


def test_a_sum_that_is_not_finite_is_a_bug() -> None:
    with pytest.raises(ValueError, match="finite"):
        build_items(
            [Contributions(1.7e308, 1.7e308, 0)],
            contents=encode_displays({"GR1": display_of("GR1")}),
            decided_at=DECIDED_AT,
        )


def test_a_changed_asset_is_encoded_anew() -> None:
    asked = [Contributions(1, 0, 0)]
    for price in (1.0, 2.0, 1.0):
        [item] = build_items(
            asked, contents=encode_displays({"GR1": display_of("GR1", current_price=price)}), decided_at=DECIDED_AT
        )
        assert item.current_price == price


NOTHING_PREDICTED = {
    "profitability.known": np.zeros(40, np.bool_),
    "profitability.predicted_return": np.zeros(40, np.float32),
}
TIES = st.integers(-(10**9), 10**9).map(lambda whole: (whole + 0.5) / 1e6)
NEAR_TIES = st.builds(lambda tie, towards: math.nextafter(tie, towards), TIES, st.sampled_from([-math.inf, math.inf]))


@given(st.lists(TIES | NEAR_TIES | st.floats(-2147, 2147) | st.floats(-1, 1), min_size=1, max_size=40))
def test_arrays_are_rounded_as_single_numbers_are(numbers: list[float]) -> None:
    millionths = round_to_millionths(np.array(numbers))
    assert [value / 1_000_000 for value in millionths.tolist()] == [rounded(number) for number in numbers]


def test_lists_of_a_batch_have_their_own_lengths_and_only_the_large_one_is_stored_as_numbers() -> None:
    parts = [Contributions(0.5, None, 0.25), Contributions(0.125, None, -0.5)]
    top, silent = build_top_assets([parts, [], [Contributions(3e9, None, 0.5)], parts[:1]])
    lists = build_lists(top, contents=["{}", "{}"], silent=silent, decided_at=DECIDED_AT)
    assert [one.millionths for one in lists] == [
        [500_000, None, 250_000, 125_000, None, -500_000],
        [],
        None,
        [500_000, None, 250_000],
    ]
    assert lists[2].contributions == [3e9, None, 0.5]


def test_a_batch_has_the_lists_of_its_rankings_one_by_one() -> None:
    """What is stored comes from arrays; rankings are the same lists as objects."""
    for seed, silent in ((1, {}), (2, NOTHING_PREDICTED)):
        model = build_model(seed=seed, assets=40, arrays=silent)
        histories = build_histories(model, 60)
        k = [1 + number % 12 for number in range(60)]
        contents = [f'{{"isin":"{isin}"}}' for isin in model.id_map.isins]
        top = rank_assets(model, histories, k=k, now=NOW)
        lists = build_lists(top, contents=contents, silent=model.silent_components, decided_at=DECIDED_AT)
        for one, ranking in zip(lists, recommend(model, histories, k=k, now=NOW), strict=True):
            assert one.contents == [contents[model.id_map.asset_index(asset.isin)] for asset in ranking.assets]
            shown = [value for asset in ranking.assets for value in asset.contributions]
            assert one.contributions == [None if value is None else rounded(value) for value in shown]
            assert one.millionths == [None if value is None else round(rounded(value) * 10**6) for value in shown]
