"""A ranking becomes the items of the contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recommender.types import Basis, Contributions, RankedAsset, Ranking
from tests.fakes_store import display_of
from tests.public_items import ITEM_KEYS
from worker.answers import build_items

DECIDED_AT = datetime(2025, 11, 30, 22, 0, 0, 999_999, tzinfo=UTC)


def ranking(*contributions: Contributions) -> Ranking:
    assets = tuple(
        RankedAsset(f"GR{rank}", rank, sum(vars(parts).values()), parts)
        for rank, parts in enumerate(contributions, start=1)
    )
    return Ranking("C1", Basis.HISTORY, assets)


def test_keys_are_those_of_the_contract_in_its_order() -> None:
    [item] = build_items(
        ranking(Contributions(0.5, 0.25, 0.125)), displays={"GR1": display_of("GR1")}, decided_at=DECIDED_AT
    )
    assert list(item.model_dump()) == ITEM_KEYS
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
    }


def test_the_date_is_utc_whatever_the_clock_says() -> None:
    local = DECIDED_AT.astimezone(timezone(timedelta(hours=-7)))
    [item] = build_items(ranking(Contributions(1, 0, 0)), displays={"GR1": display_of("GR1")}, decided_at=local)
    assert item.recommendation_date == "2025-11-30T22:00:00"


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=5))
def test_shown_components_add_up_to_the_shown_score(parts: list[tuple[float, float, float]]) -> None:
    displays = {f"GR{rank}": display_of(f"GR{rank}") for rank in range(1, 6)}
    for item in build_items(
        ranking(*(Contributions(*three) for three in parts)), displays=displays, decided_at=DECIDED_AT
    ):
        assert item.score == round(sum(vars(item.components).values()), 6)
        assert "-0.0" not in json.dumps(item.model_dump(), allow_nan=False)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_a_bug(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        build_items(ranking(Contributions(0.5, bad, 0)), displays={"GR1": display_of("GR1")}, decided_at=DECIDED_AT)


def test_a_price_that_is_not_known_or_not_a_number_is_null() -> None:
    displays = {"GR1": display_of("GR1", current_price=None, profitability=float("nan"), sector=None)}
    [item] = build_items(ranking(Contributions(1, 0, 0)), displays=displays, decided_at=DECIDED_AT)
    assert (item.current_price, item.profitability, item.sector) == (None, None, None)


def test_an_asset_that_left_the_catalogue_is_left_out_and_ranks_close_up() -> None:
    displays = {"GR1": display_of("GR1"), "GR3": display_of("GR3")}
    items = build_items(ranking(*[Contributions(1, 0, 0)] * 3), displays=displays, decided_at=DECIDED_AT)
    assert [(item.isin, item.rank) for item in items] == [("GR1", 1), ("GR3", 2)]
