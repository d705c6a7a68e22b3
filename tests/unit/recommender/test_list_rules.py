"""What holds for a list besides its scores: ties, sectors, new assets."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.errors import InvalidWeights
from shared.recommender.candidates import build_catalogue_view
from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.list_rules import NO_ASSET, choose_assets, explores
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.pipeline import recommend
from shared.recommender.top_k import top_k
from shared.recommender.training_data import ClosePrices, date_of, take_rows
from shared.recommender.types import CustomerHistory, ListRules, RiskLevel
from tests.builders import (
    NOW,
    build_asset,
    build_customer,
    build_history,
    build_interaction,
    build_isins,
    build_model,
)
from tests.unit.recommender.planted import build_data
from tests.unit.recommender.small_data import data_of_purchases


def customers(count: int) -> list[CustomerHistory]:
    return [build_history(f"C{number}") for number in range(count)]


def with_rules(model: Model, **rules: Any) -> Model:
    return replace(model, configuration=replace(model.configuration, list_rules=ListRules(**rules)))


def choose(model: Model, *scores: list[float], k: int = 4) -> list[list[int]]:
    found: list[list[int]] = choose_assets(model, customers(len(scores)), np.array(scores), k).tolist()
    return found


def test_equal_scores_are_in_the_order_of_the_model_and_not_of_the_isin() -> None:
    model = build_model(assets=5, tie_order=np.array([3, 1, 4, 0, 2], np.int32))

    assert choose(model, [0.5, 0.5, 0.9, 0.5, 0.5]) == [[2, 3, 1, 4]]
    assert choose(model, [0.0] * 5, k=6) == [[3, 1, 4, 0, 2, NO_ASSET]]


def test_the_order_of_equal_scores_is_fresh_prices_first_then_many_owners() -> None:
    data = data_of_purchases((0, 0, 0), (1, 0, 1), (2, 1, 1), (3, 0, 3), assets=5, last_day=50)
    priced = ClosePrices(np.array([1, 2, 3, 4], np.int32), np.array([40, 49, 40, 10], np.int32), np.ones(4))

    model = fit_model(replace(data, close_prices=priced), build_configuration("ease"), version="v1")

    assert model.tie_order.tolist() == [2, 1, 3, 4, 0]  # asset 1 has two owners; asset 0 was never priced
    assert model.bought.tolist() == [True, True, False, True, False]


def test_no_sector_fills_more_than_its_share_while_others_are_left() -> None:
    sector = np.array([7, 7, 7, 7, 2, NO_SECTOR, NO_SECTOR, NO_SECTOR, NO_SECTOR], np.int16)
    model = build_model(assets=9, sector=sector)
    falling = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]

    assert choose(model, falling) == [[0, 1, 4, 5]]
    assert choose(with_rules(model, largest_sector_share=1.0), falling) == [[0, 1, 2, 3]]
    assert choose(model, falling[:5] + [-np.inf] * 4) == [[0, 1, 2, 4]]  # too few others: filled by score
    assert choose(model, falling[::-1]) == [[8, 7, 6, 5]]  # assets without a sector are no sector


@given(seed=st.integers(0, 2**16), k=st.integers(1, 12))
def test_a_list_has_distinct_candidates_in_order_and_keeps_the_share(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    model = build_model(assets=30, sector=random.integers(-1, 4, 30).astype(np.int16))
    scores = random.choice([0.1, 0.2, 0.3, 0.4, -np.inf], (20, 30))

    for row, listed in zip(scores, choose_assets(model, customers(20), scores, k).tolist(), strict=True):
        chosen = [asset for asset in listed if asset != NO_ASSET]
        assert len(set(chosen)) == len(chosen) == min(k, np.isfinite(row).sum())
        assert listed == chosen + [NO_ASSET] * (k - len(chosen))
        values = row[chosen]
        assert np.isfinite(values).all()
        assert (np.diff(values) <= 0).all()
        sectors = [sector for sector in model.sector[chosen].tolist() if sector != NO_SECTOR]
        most = max(int(k * 0.5), 1)
        left = [a for a in np.flatnonzero(np.isfinite(row)).tolist() if a not in chosen]
        if any(model.sector[a] == NO_SECTOR or sectors.count(int(model.sector[a])) < most for a in left):
            assert all(sectors.count(sector) <= most for sector in sectors)


def test_a_share_of_the_customers_finds_a_new_asset_in_the_last_place() -> None:
    new = np.array([False, False, False, False, False, True, True])
    model = build_model(assets=7, new=new)
    scores = np.tile([0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.2], (2000, 1))

    lists = choose_assets(model, customers(2000), scores, 4)

    exploring = np.array([explores(model, f"C{number}") for number in range(2000)])
    assert 0.07 < exploring.mean() < 0.13
    assert (lists[exploring] == [0, 1, 2, 6]).all()
    assert (lists[~exploring] == [0, 1, 2, 3]).all()
    assert (choose_assets(with_rules(model, exploration_share=0.0), customers(2000), scores, 4)[:, 3] == 3).all()


def test_after_each_training_other_customers_explore() -> None:
    first, second = (build_model(assets=5, version=version) for version in ("v1", "v2"))

    both = [explores(first, f"C{number}") and explores(second, f"C{number}") for number in range(2000)]

    assert 0.002 < np.mean(both) < 0.03  # a tenth of a tenth


def test_no_list_explores_a_new_asset_that_is_dismissed_unsuitable_or_gone() -> None:
    tradable, new = np.ones(12, np.bool_), np.arange(12) == 5
    levels = np.where(new, 4, 1).astype(np.int8)
    model = with_rules(
        build_model(assets=12, tradable=tradable, new=new, asset_risk_level=levels), exploration_share=1.0
    )
    isin = model.id_map.isins[5]
    today = build_catalogue_view(
        model.id_map, {one: RiskLevel.CONSERVATIVE for one in model.id_map.isins if one != isin}
    )
    anybody, careful = customers(20), [build_history(build_customer("C1", RiskLevel.BALANCED))]
    dismissing = [build_history(interactions=[build_interaction(isin, "dismiss")])]

    def lists(histories: list[CustomerHistory], **options: Any) -> list[bool]:
        found = recommend(model, histories, k=4, now=NOW, **options)
        return [isin in {asset.isin for asset in one.assets} for one in found]

    assert all(lists(anybody))
    assert not any([*lists(careful), *lists(dismissing), *lists(anybody, catalogue=today)])


def test_a_list_that_has_a_new_asset_or_no_other_candidates_stays() -> None:
    model = with_rules(build_model(assets=5, new=np.array([False, True, False, False, True])), exploration_share=1.0)

    assert choose(model, [0.9, 0.8, 0.7, 0.6, 0.5]) == [[0, 1, 2, 3]]
    assert choose(model, [0.9, -np.inf, 0.7, 0.6, -np.inf]) == [[0, 2, 3, NO_ASSET]]
    assert choose(model, [0.9, -np.inf, 0.7, 0.6, 0.5], k=3) == [[0, 2, 4]]


def test_an_asset_is_new_while_nobody_has_bought_it_in_the_days_after_it_appears() -> None:
    last_day = 400
    listed = [
        build_asset(isin, "Stock", tradable_from=None if day is None else date_of(day), tradable_until=date_of(9000))
        for isin, day in zip(build_isins(5), (371, 370, None, 399, 500), strict=True)
    ]
    data = data_of_purchases((399, 0, 3), assets=listed, last_day=last_day)

    model = fit_model(data, build_configuration("ease"), version="v1")

    assert model.new.tolist() == [True, False, False, False, False]


def test_a_new_asset_is_found_by_the_training_after_it_appears() -> None:
    data, last = build_data(), len(build_data().assets) - 1
    day = timedelta(days=1)
    newcomer = replace(data.assets[0], isin=data.assets[last].isin, tradable_from=data.as_of - day)
    known = replace(
        data,
        assets=(*data.assets[:last], replace(newcomer, tradable_until=data.as_of + day)),
        purchases=take_rows(data.purchases, data.purchases.asset_index != last),
        close_prices=take_rows(data.close_prices, data.close_prices.asset_index != last),
    )
    model = fit_model(known, build_configuration("ease"), version="v1")

    lists = [one for one in recommend(model, known.histories(), now=known.now) if len(one.assets) == 10]

    found = [any(asset.isin == newcomer.isin for asset in one.assets) for one in lists]
    assert 0.02 < np.mean(found) < 0.3


@pytest.mark.parametrize(
    "rules",
    [
        {"exploration_share": 1.1},
        {"largest_sector_share": -0.1},
        {"new_asset_days": 1.5},
        {"new_asset_days": -1},
        {"new_asset_days": 10**30},
        {"exploration_share": math.nan},
    ],
)
def test_rules_outside_their_range_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(InvalidWeights):
        ListRules(**rules)


def test_a_tie_order_that_is_no_permutation_is_refused() -> None:
    for order in ([0, 0, 1], [1, 2, 3]):
        with pytest.raises(ValueError, match="tie_order"):
            build_model(assets=3, tie_order=np.array(order, np.int32))


def best_by_sorting(scores: NDArray[np.float64], k: int) -> list[int]:
    return [int(index) for index in np.argsort(-scores, kind="stable")[:k] if scores[index] > -np.inf]


def test_the_best_k_are_those_of_a_whole_sort() -> None:
    scores = np.random.default_rng(5).choice([0.0, 0.1, 0.2, -np.inf], (50, 40))

    for row, found in zip(scores, top_k(scores, 10).tolist(), strict=True):
        assert [index for index in found if index != NO_ASSET] == best_by_sorting(row, 10)


@given(seed=st.integers(0, 2**16), k=st.integers(1, 12), values=st.sampled_from([3, 50, 100_000]))
def test_the_best_k_of_many_columns_are_those_of_a_whole_sort(seed: int, k: int, values: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, values, (4, int(random.integers(100, 400)))) / values
    scores[random.random(scores.shape) < random.choice([0.0, 0.3, 0.97])] = -np.inf

    for row, found in zip(scores, top_k(scores, k).tolist(), strict=True):
        expected = best_by_sorting(row, k)
        assert found == expected + [NO_ASSET] * (k - len(expected))


def test_a_sector_that_has_all_of_the_best_assets_leaves_half_of_the_list_to_the_others() -> None:
    sector = np.zeros(100, np.int16)
    sector[[70, 98]] = 1
    model = build_model(assets=100, sector=sector)
    falling = np.linspace(1.0, 0.1, 100)

    assert choose(model, falling.tolist()) == [[0, 1, 70, 98]]
    assert choose(model, np.where(np.arange(100) == 98, -np.inf, falling).tolist()) == [[0, 1, 2, 70]]
