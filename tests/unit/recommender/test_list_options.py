"""What one request asks of its list: how many assets, of which categories and sectors, and how many of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recommender.candidates import CatalogueView, build_catalogue_view
from shared.recommender.model import Model
from shared.recommender.pipeline import CHUNK_SIZE, recommend
from shared.recommender.types import CustomerHistory, ListOptions, ListRules, Ranking, RiskLevel, Weights
from tests.builders import NOW, build_histories, build_history, build_model

CATEGORIES = ("Bond", "MTF", "Stock")
SECTORS = ("Energy", "Technology", None)

seeds = st.integers(0, 2**16)
names = st.sampled_from([*CATEGORIES, "Energy", "Technology", "stock", "Nothing"])
filters = st.none() | st.lists(names, min_size=1, max_size=4, unique=True).map(tuple)
limits = st.none() | st.integers(1, 4)


@st.composite
def asked_options(draw: st.DrawFn, model: Model) -> ListOptions | None:
    isins = st.sampled_from([*model.id_map.isins, "GR_UNKNOWN"])
    exclude = st.none() | st.lists(isins, min_size=1, max_size=10, unique=True).map(tuple)
    options = st.builds(
        ListOptions, categories=filters, sectors=filters, exclude=exclude, per_sector=limits, per_category=limits
    )
    return draw(st.none() | options)


def labelled(seed: int, assets: int, **fields: Any) -> tuple[Model, CatalogueView, dict[str, str], dict[str, Any]]:
    """A model and a catalogue that agree on sectors, with some new assets, and the labels of the assets."""
    random = np.random.default_rng(seed)
    sector = random.integers(-1, 2, assets).astype(np.int16)
    model = build_model(seed=seed, assets=assets, sector=sector, new=random.random(assets) < 0.2, **fields)
    rules = ListRules(exploration_share=0.5)
    model = replace(model, configuration=replace(model.configuration, list_rules=rules))
    categories = {isin: CATEGORIES[random.integers(3)] for isin in model.id_map.isins}
    sectors = {isin: SECTORS[number] for isin, number in zip(model.id_map.isins, sector.tolist(), strict=True)}
    levels = dict.fromkeys(model.id_map.isins, RiskLevel.CONSERVATIVE)
    return (
        model,
        build_catalogue_view(model.id_map, levels, categories=categories, sectors=sectors),
        categories,
        sectors,
    )


def isins_of(ranking: Ranking) -> list[str]:
    return [asset.isin for asset in ranking.assets]


def most_common(values: list[Any]) -> int:
    return max(Counter(value for value in values if value is not None).values(), default=0)


@given(seed=seeds, assets=st.integers(1, 40), data=st.data())
def test_a_list_keeps_everything_that_its_request_asked(seed: int, assets: int, data: st.DataObject) -> None:
    model, catalogue, categories, sectors = labelled(seed, assets)
    histories = build_histories(model, 6, seed=seed)
    options = [data.draw(asked_options(model)) for _ in histories]
    k = [data.draw(st.integers(1, 50)) for _ in histories]

    rankings = recommend(model, histories, k=k, now=NOW, options=options, catalogue=catalogue)

    for asked, most, ranking in zip(options, k, rankings, strict=True):
        found, asked = isins_of(ranking), asked or ListOptions()
        assert len(found) == len(set(found)) <= most
        assert [asset.rank for asset in ranking.assets] == list(range(1, len(found) + 1))
        assert [asset.score for asset in ranking.assets] == sorted((a.score for a in ranking.assets), reverse=True)
        assert not set(found) & set(asked.exclude or ())
        assert asked.categories is None or {categories[isin] for isin in found} <= set(asked.categories)
        assert asked.sectors is None or {sectors[isin] for isin in found} <= set(asked.sectors)
        assert asked.per_sector is None or most_common([sectors[isin] for isin in found]) <= asked.per_sector
        assert asked.per_category is None or most_common([categories[isin] for isin in found]) <= asked.per_category


def test_a_new_asset_whose_sector_has_its_share_does_not_get_the_last_place() -> None:
    model, catalogue, _, sectors = labelled(866, 14)  # the first and the last of these lists had such an asset
    histories = build_histories(model, 6, seed=866)

    rankings = recommend(model, histories, k=3, now=NOW, catalogue=catalogue)

    for ranking in (rankings[0], rankings[5]):
        first, second, last = ranking.assets
        assert sectors[last.isin] is None or sectors[last.isin] not in (sectors[first.isin], sectors[second.isin])
        assert first.score >= second.score >= last.score


@given(seed=seeds, assets=st.integers(1, 40), customers=st.integers(1, CHUNK_SIZE + 3), data=st.data())
def test_a_request_with_options_alone_gets_the_list_that_it_gets_in_a_batch(
    seed: int, assets: int, customers: int, data: st.DataObject
) -> None:
    model, catalogue, *_ = labelled(seed, assets)
    histories = build_histories(model, customers, seed=seed)
    some = [data.draw(asked_options(model)) for _ in range(5)]
    options = [some[index % 5] for index in range(customers)]
    k = [data.draw(st.integers(1, 50))] + [1 + index % 50 for index in range(1, customers)]
    weights = [Weights(1, index % 3, 1) for index in range(customers)]
    row = data.draw(st.integers(0, customers - 1))

    batch = recommend(model, histories, k=k, now=NOW, weights=weights, options=options, catalogue=catalogue)

    alone = recommend(
        model, [histories[row]], k=k[row], now=NOW, weights=weights[row], options=[options[row]], catalogue=catalogue
    )
    assert alone == [batch[row]]


@given(seed=seeds, assets=st.integers(0, 40), k=st.integers(1, 50))
def test_without_options_the_list_is_that_of_a_call_that_knows_none(seed: int, assets: int, k: int) -> None:
    model, catalogue, *_ = labelled(seed, assets)
    histories = build_histories(model, 8, seed=seed)

    plain = recommend(model, histories, k=k, now=NOW, catalogue=catalogue)

    assert recommend(model, histories, k=[k] * 8, now=NOW, options=[None] * 8, catalogue=catalogue) == plain
    nothing = [ListOptions()] * 8
    assert recommend(model, histories, k=k, now=NOW, options=nothing, catalogue=catalogue) == plain


@given(seed=seeds, k=st.integers(2, 50), data=st.data())
def test_filters_leave_assets_out_and_change_no_score(seed: int, k: int, data: st.DataObject) -> None:
    model, catalogue, categories, sectors = labelled(seed, 40)
    model = replace(model, new=np.zeros(40, np.bool_))
    [history] = build_histories(model, 1, seed=seed)
    asked = replace(ListOptions(), sectors=("Energy",), categories=data.draw(filters))
    rules = ListRules(largest_sector_share=1.0)
    everything = replace(model, configuration=replace(model.configuration, list_rules=rules))
    [whole] = recommend(everything, [history], k=50, now=NOW, catalogue=catalogue)

    [ranking] = recommend(model, [history], k=k, now=NOW, options=[asked], catalogue=catalogue)

    expected = [
        (asset.isin, asset.score, asset.contributions)
        for asset in whole.assets
        if sectors[asset.isin] == "Energy" and (not asked.categories or categories[asset.isin] in asked.categories)
    ]
    assert [(asset.isin, asset.score, asset.contributions) for asset in ranking.assets] == expected[:k]


def planted(count: int = 12) -> tuple[Model, CustomerHistory]:
    """A model whose assets fall in score by their number, and a customer without history who may buy all."""
    falling = np.tile(np.linspace(1, 0.1, count, dtype=np.float32), (25, 1))
    model = build_model(
        assets=count,
        tradable=np.ones(count, np.bool_),
        asset_risk_level=np.ones(count, np.int8),
        weights=Weights(1, 0, 0),
        arrays={"segment_prior.popularity": falling},
    )
    return model, build_history("C1")


def positions(model: Model, history: CustomerHistory, view: CatalogueView, k: int, **asked: Any) -> list[int]:
    options = [ListOptions(**asked)]
    [ranking] = recommend(model, [history], k=k, now=NOW, options=options, catalogue=view)
    return [model.id_map.asset_index(isin) for isin in isins_of(ranking)]


def view_of(model: Model, sectors: Sequence[str | None], categories: Sequence[str]) -> CatalogueView:
    isins = model.id_map.isins
    return build_catalogue_view(
        model.id_map,
        dict.fromkeys(isins, RiskLevel.CONSERVATIVE),
        categories=dict(zip(isins, categories, strict=True)),
        sectors=dict(zip(isins, sectors, strict=True)),
    )


def test_limits_are_kept_best_first_and_a_list_is_shorter_rather_than_against_them() -> None:
    model, history = planted(8)
    sectors = ["A", "A", "A", "B", "B", None, None, None]
    view = view_of(model, sectors, ["Stock"] * 4 + ["Bond"] * 4)

    assert positions(model, history, view, 4, per_sector=1) == [0, 3, 5, 6]
    assert positions(model, history, view, 8, per_sector=1) == [0, 3, 5, 6, 7]
    assert positions(model, history, view, 8, per_category=2) == [0, 1, 4, 5]
    assert positions(model, history, view, 8, per_category=2, per_sector=1) == [0, 3, 5, 6]
    assert positions(model, history, view, 8, per_sector=2, exclude=(model.id_map.isins[0],)) == [1, 2, 3, 4, 5, 6, 7]


def test_the_share_of_sectors_of_the_model_gives_way_to_what_a_request_says_of_sectors() -> None:
    model, history = planted(8)
    model = replace(model, sector=np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int16))
    view = view_of(model, ["A"] * 4 + ["B"] * 4, ["Stock"] * 6 + ["Bond"] * 2)

    assert positions(model, history, view, 4) == [0, 1, 4, 5]
    assert positions(model, history, view, 4, sectors=("A", "B")) == [0, 1, 2, 3]
    assert positions(model, history, view, 4, per_sector=3) == [0, 1, 2, 4]
    # Categories say nothing of sectors: the share counts, but never costs a place, and never breaks a limit.
    assert positions(model, history, view, 4, per_category=4) == [0, 1, 4, 5]
    assert positions(model, history, view, 4, per_category=3) == [0, 1, 4, 6]
    assert positions(model, history, view, 6, per_category=4) == [0, 1, 2, 4, 6, 7]


def test_a_new_asset_that_explores_keeps_filters_and_limits() -> None:
    model, history = planted(8)
    rules = ListRules(exploration_share=1.0)
    model = replace(
        model,
        new=np.array([False] * 6 + [True] * 2),
        configuration=replace(model.configuration, list_rules=rules),
    )
    view = view_of(model, ["A", "A", "B", "B", None, None, "A", "B"], ["Stock"] * 7 + ["Bond"])

    assert positions(model, history, view, 3) == [0, 1, 6]
    assert positions(model, history, view, 3, per_sector=1) == [0, 2, 4]  # both new assets are of full sectors
    assert positions(model, history, view, 3, per_sector=2) == [0, 1, 7]
    assert positions(model, history, view, 3, categories=("Stock",), per_sector=2) == [0, 1, 2]
    assert positions(model, history, view, 3, exclude=(model.id_map.isins[6],)) == [0, 1, 7]
    assert positions(model, history, view, 1) == [0]  # a list of one place is its best


def test_an_unknown_name_gives_an_empty_list_and_names_are_taken_to_the_letter() -> None:
    model, history = planted(4)
    view = view_of(model, ["A", "a", None, ""], ["Stock"] * 4)

    assert positions(model, history, view, 4, sectors=("Nothing",)) == []
    assert positions(model, history, view, 4, sectors=("a", "Nothing")) == [1]
    assert positions(model, history, view, 4, sectors=("",)) == []
    assert positions(model, history, view, 4, categories=("stock",)) == []


def test_options_that_need_a_catalogue_are_refused_without_one() -> None:
    model, history = planted(4)
    for asked in ({"categories": ("Stock",)}, {"sectors": ("A",)}, {"per_sector": 1}, {"per_category": 1}):
        with pytest.raises(ValueError, match="need a catalogue"):
            recommend(model, [history], now=NOW, options=[ListOptions(**asked)])
    [ranking] = recommend(model, [history], now=NOW, options=[ListOptions(exclude=model.id_map.isins[:1])])
    assert isins_of(ranking) == list(model.id_map.isins[1:])


def test_one_k_and_one_set_of_options_belong_to_each_history() -> None:
    model, history = planted(4)
    with pytest.raises(ValueError, match="for 1 histories"):
        recommend(model, [history], k=[1, 2], now=NOW)
    with pytest.raises(ValueError, match="for 1 histories"):
        recommend(model, [history], now=NOW, options=[None, None])
    with pytest.raises(ValueError, match="k must be"):
        recommend(model, [history, history], k=[1, 0], now=NOW)
