"""Who may be recommended what."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from shared.recommender.candidates import (
    accepted_risk_level,
    asset_risk_level,
    build_catalogue_view,
    candidate_mask,
    is_suitable,
    is_tradable,
)
from shared.recommender.history import build_history_matrix
from shared.recommender.model import Model
from shared.recommender.signal import Batch
from shared.recommender.types import CustomerHistory, RiskLevel
from tests.builders import NOW, build_asset, build_customer, build_history, build_interaction, build_model


def candidates_of(model: Model, history: CustomerHistory, *, enforce_suitability: bool = True) -> set[int]:
    mask = candidate_mask(model, [history], enforce_suitability=enforce_suitability)
    return set(np.flatnonzero(mask[0]).tolist())


def open_model(levels: list[int]) -> Model:
    return build_model(
        assets=len(levels), asset_risk_level=np.array(levels, dtype=np.int8), tradable=np.ones(len(levels), bool)
    )


@pytest.mark.parametrize(
    ("category", "sub_category", "level"),
    [
        ("MTF", "Money Market", 1),
        ("Bond", "Government", 1),
        ("Bond", "Corporate", 2),
        ("Bond", None, 2),
        ("MTF", "Bond", 2),
        ("MTF", "Bonds", 2),
        ("MTF", "Balanced", 2),
        ("MTF", "Equity", 3),
        ("MTF", "Other", 3),
        ("MTF", "Structured", 3),
        ("MTF", None, 3),
        ("Stock", None, 3),
        ("Stock", "Large Cap", 3),
        ("Something New", "Government", 3),
    ],
)
def test_risk_level_of_an_asset_follows_its_category(category: str, sub_category: str | None, level: int) -> None:
    assert asset_risk_level(category, sub_category) == level


@pytest.mark.parametrize(
    ("risk_level", "candidates"),
    [
        (None, {0}),
        (RiskLevel.CONSERVATIVE, {0}),
        (RiskLevel.INCOME, {0, 1}),
        (RiskLevel.BALANCED, {0, 1, 2}),
        (RiskLevel.AGGRESSIVE, {0, 1, 2, 3}),
    ],
)
def test_only_suitable_assets_are_candidates(risk_level: RiskLevel | None, candidates: set[int]) -> None:
    customer = build_customer(risk_level=risk_level)
    assert candidates_of(open_model([1, 2, 3, 4]), build_history(customer)) == candidates
    assert {level - 1 for level in (1, 2, 3, 4) if is_suitable(level, customer)} == candidates


def test_a_customer_whose_level_is_not_known_counts_as_conservative() -> None:
    assert accepted_risk_level(build_customer(risk_level=None)) is RiskLevel.CONSERVATIVE


def test_a_benchmark_can_measure_without_suitability() -> None:
    history = build_history(build_customer(risk_level=None))
    assert candidates_of(open_model([1, 2, 3, 4]), history, enforce_suitability=False) == {0, 1, 2, 3}


def test_what_was_owned_formerly_is_a_candidate_and_scores_as_if_it_were_owned() -> None:
    model = open_model([1] * 6)
    isins = model.id_map.isins
    owner = build_history(owned=isins[:3])
    seller = replace(owner, owned=isins[:2], formerly_held=isins[2:3])
    batches = [_batch(model, history) for history in (owner, seller)]
    assert batches[0].owned() == batches[1].owned() == [[0, 1, 2]]
    assert np.array_equal(batches[0].history.toarray(), batches[1].history.toarray())
    assert (candidates_of(model, owner), candidates_of(model, seller)) == ({3, 4, 5}, {2, 3, 4, 5})


def _batch(model: Model, history: CustomerHistory) -> Batch:
    weights = model.configuration.interaction_weights
    matrix = build_history_matrix(model.id_map, [history], interaction_weights=weights, now=NOW)
    return Batch(model.id_map, [history], matrix)


def test_owned_and_untradable_assets_are_no_candidates() -> None:
    model = open_model([1, 1, 1, 1])
    model = replace(model, tradable=np.array([True, False, True, True]))
    assert candidates_of(model, build_history(owned=[model.id_map.isins[2], "UNKNOWN"])) == {0, 3}


def test_a_dismissed_asset_is_no_candidate_until_the_customer_turns_to_it_again() -> None:
    model = open_model([1, 1])
    isin = model.id_map.isins[0]
    dismissed = [build_interaction(isin, "click", days_ago=3), build_interaction(isin, "dismiss", days_ago=2)]
    assert candidates_of(model, build_history(interactions=dismissed)) == {1}
    again = [*dismissed, build_interaction(isin, "view", days_ago=1)]
    assert candidates_of(model, build_history(interactions=again)) == {0, 1}


def test_the_last_interaction_of_the_log_counts_whatever_the_clocks_say() -> None:
    model = open_model([1, 1])
    isin = model.id_map.isins[0]
    ahead = [build_interaction(isin, "click", days_ago=-1), build_interaction(isin, "dismiss")]
    assert candidates_of(model, build_history(interactions=ahead)) == {1}
    behind = [build_interaction(isin, "dismiss"), build_interaction(isin, "click", days_ago=2)]
    assert candidates_of(model, build_history(interactions=behind)) == {0, 1}
    same_time = [build_interaction(isin, "click"), build_interaction(isin, "dismiss")]
    assert candidates_of(model, build_history(interactions=same_time)) == {1}
    assert candidates_of(model, build_history(interactions=same_time[::-1])) == {0, 1}


def test_a_dismissal_older_than_the_interactions_excludes_until_the_customer_turns_to_the_asset_again() -> None:
    model = open_model([1, 1])
    isin = model.id_map.isins[0]
    history = replace(build_history(interactions=[build_interaction("UNKNOWN")]), dismissed=(isin, "GONE"))
    assert candidates_of(model, history) == {1}
    again = replace(history, interactions=(build_interaction(isin, "view"),))
    assert candidates_of(model, again) == {0, 1}


def test_the_catalogue_decides_what_exists_and_how_much_risk_it_carries() -> None:
    model = open_model([1, 1, 1, 3])
    isins = model.id_map.isins
    levels = {isins[0]: RiskLevel.CONSERVATIVE, isins[1]: RiskLevel.AGGRESSIVE, isins[3]: RiskLevel.INCOME}
    view = build_catalogue_view(model.id_map, {**levels, "NEW": RiskLevel.CONSERVATIVE})
    careful, bold = build_customer(risk_level=RiskLevel.INCOME), build_customer()
    histories = [build_history(careful), build_history(bold), build_history(bold, owned=[isins[3]])]
    assert [np.flatnonzero(row).tolist() for row in candidate_mask(model, histories, catalogue=view)] == [
        [0, 3],
        [0, 1, 3],
        [0, 1],
    ]
    unchecked = candidate_mask(model, histories, catalogue=view, enforce_suitability=False)
    assert unchecked.tolist()[0] == [True, True, False, True]


def test_an_untradable_asset_is_no_candidate_though_the_catalogue_has_it() -> None:
    model = replace(open_model([1, 1]), tradable=np.array([False, True]))
    view = build_catalogue_view(model.id_map, dict.fromkeys(model.id_map.isins, RiskLevel.CONSERVATIVE))
    assert candidate_mask(model, [build_history()], catalogue=view).tolist() == [[False, True]]


def test_an_empty_catalogue_leaves_no_candidate() -> None:
    model = open_model([1, 1])
    view = build_catalogue_view(model.id_map, {})
    assert not candidate_mask(model, [build_history()], catalogue=view).any()
    assert len(build_catalogue_view(build_model(assets=0).id_map, {}).listed) == 0


def test_each_customer_of_a_batch_has_their_own_row() -> None:
    model = open_model([1, 2, 3])
    histories = [
        build_history(owned=[model.id_map.isins[0]]),
        build_history(build_customer("C2", RiskLevel.INCOME)),
    ]
    assert candidate_mask(model, histories).tolist() == [[False, True, True], [True, True, False]]
    assert candidate_mask(model, []).shape == (0, 3)


def test_the_models_own_mask_is_left_alone() -> None:
    model = open_model([1, 1])
    candidate_mask(model, [build_history(owned=model.id_map.isins)])
    assert model.tradable.all()


def test_an_asset_is_tradable_within_its_published_dates_else_when_priced_lately() -> None:
    asset = build_asset("A", tradable_from=date(2020, 1, 1), tradable_until=date(2020, 12, 31))
    assert is_tradable(asset, date(2020, 1, 1), has_recent_price=False)
    assert is_tradable(asset, date(2020, 12, 31), has_recent_price=False)
    assert not is_tradable(asset, date(2019, 12, 31), has_recent_price=True)
    assert not is_tradable(asset, date(2021, 1, 1), has_recent_price=True)
    assert is_tradable(build_asset("A"), date(2021, 1, 1), has_recent_price=True)
    assert not is_tradable(build_asset("A"), date(2021, 1, 1), has_recent_price=False)
