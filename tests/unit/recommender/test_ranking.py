"""Laws that every ranking keeps, whatever the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from shared.recommender.candidates import accepted_risk_level, candidate_mask
from shared.recommender.history import dismissed_isins
from shared.recommender.pipeline import CHUNK_SIZE, recommend, recommend_indices
from shared.recommender.top_k import NO_ASSET, top_k
from shared.recommender.types import Basis, InteractionWeights, Ranking, RiskLevel, Weights
from tests.builders import NOW, build_customer, build_histories, build_history, build_interaction, build_model


def isins_of(ranking: Ranking) -> list[str]:
    return [asset.isin for asset in ranking.assets]


seeds = st.integers(0, 2**16)


@given(seed=seeds, assets=st.integers(1, 60), k=st.integers(1, 80))
def test_a_list_never_holds_an_owned_dismissed_untradable_or_unsuitable_asset(seed: int, assets: int, k: int) -> None:
    model = build_model(seed=seed, assets=assets)
    histories = build_histories(model, 12, seed=seed)
    for history, ranking in zip(histories, recommend(model, histories, k=k, now=NOW), strict=True):
        isins = set(isins_of(ranking))
        indices = model.id_map.known_indices(isins)
        assert not isins & set(history.owned)
        assert not isins & dismissed_isins(history)
        assert model.tradable[indices].all()
        assert (model.asset_risk_level[indices] <= accepted_risk_level(history.customer)).all()


@given(seed=seeds, assets=st.integers(0, 60), k=st.integers(1, 80))
def test_a_list_is_as_long_as_k_and_the_candidates_allow_and_its_ranks_and_scores_are_in_order(
    seed: int, assets: int, k: int
) -> None:
    model = build_model(seed=seed, assets=assets)
    histories = build_histories(model, 8, seed=seed)
    candidates = candidate_mask(model, histories).sum(axis=1)
    for count, ranking in zip(candidates.tolist(), recommend(model, histories, k=k, now=NOW), strict=True):
        assert len(set(isins_of(ranking))) == len(ranking.assets) == min(k, count)
        assert [asset.rank for asset in ranking.assets] == list(range(1, len(ranking.assets) + 1))
        order = [(-asset.score, asset.isin) for asset in ranking.assets]
        assert order == sorted(order)
        for asset in ranking.assets:
            assert asset.score == sum(value for value in asset.contributions if value is not None)


@given(seed=seeds, assets=st.integers(1, 60), customers=st.integers(1, 2 * CHUNK_SIZE + 3), data=st.data())
def test_one_customer_alone_gets_the_list_that_they_get_in_a_batch(
    seed: int, assets: int, customers: int, data: st.DataObject
) -> None:
    model = build_model(seed=seed, assets=assets)
    histories = build_histories(model, customers, seed=seed)
    row = data.draw(st.integers(0, customers - 1))
    batch = recommend(model, histories, k=10, now=NOW)
    assert [ranking.customer_id for ranking in batch] == [history.customer.customer_id for history in histories]
    assert recommend(model, [histories[row]], k=10, now=NOW) == [batch[row]]


def test_the_same_input_gives_the_same_lists() -> None:
    first, second = (recommend(build_model(), build_histories(build_model(), 30), k=10, now=NOW) for _ in range(2))
    assert first == second


def test_evaluation_ranks_what_serving_ranks() -> None:
    model = build_model(assets=30)
    histories = build_histories(model, CHUNK_SIZE + 20)
    weights = [Weights(1, index % 3, 0) if index % 2 else None for index in range(len(histories))]
    indices = recommend_indices(model, histories, k=15, now=NOW, weights=weights)
    assert indices.shape == (len(histories), 15)
    served = recommend(model, histories, k=15, now=NOW, weights=weights)
    for row, ranking in zip(indices.tolist(), served, strict=True):
        expected = [model.id_map.asset_index(isin) for isin in isins_of(ranking)]
        assert row == expected + [NO_ASSET] * (15 - len(expected))


def test_no_customers_no_candidates_and_no_assets_give_empty_lists() -> None:
    model = build_model(assets=3, tradable=np.zeros(3, bool))
    assert recommend(model, [], k=10, now=NOW) == []
    assert recommend_indices(model, [], k=10, now=NOW).shape == (0, 10)
    assert [ranking.assets for ranking in recommend(model, [build_history()], k=10, now=NOW)] == [()]
    empty = build_model(assets=0)
    assert [ranking.assets for ranking in recommend(empty, [build_history()], k=10, now=NOW)] == [()]
    assert recommend_indices(empty, [build_history()], k=2, now=NOW).tolist() == [[NO_ASSET, NO_ASSET]]


@given(seed=seeds, power=st.integers(-30, 30))
def test_only_the_proportions_of_the_weights_count(seed: int, power: int) -> None:
    model = build_model(seed=seed)
    histories = build_histories(model, 10, seed=seed)
    factor = 2.0**power  # a power of two scales without rounding, so the lists must be equal bit for bit
    plain = recommend(model, histories, k=10, now=NOW, weights=Weights(0.5, 0.3, 0.7))
    assert (
        recommend(model, histories, k=10, now=NOW, weights=Weights(0.5 * factor, 0.3 * factor, 0.7 * factor)) == plain
    )


def test_each_request_has_its_own_weights_and_none_means_the_models() -> None:
    model = build_model()
    history = build_history(owned=model.id_map.isins[:2])
    own, others = model.configuration.weights, Weights(0, 0, 1)
    mixed = recommend(model, [history] * 3, k=10, now=NOW, weights=[None, others, own])
    assert mixed[0] == mixed[2] == recommend(model, [history], k=10, now=NOW)[0]
    assert mixed[1] == recommend(model, [history], k=10, now=NOW, weights=others)[0] != mixed[0]
    returns = model.signals["profitability"]["predicted_return"]
    by_return = sorted(
        np.flatnonzero(candidate_mask(model, [history])[0]).tolist(),
        key=lambda index: -returns[index],
    )
    assert isins_of(mixed[1]) == model.id_map.isins_of(by_return[:10])


def test_the_models_interaction_weights_count() -> None:
    click = [build_interaction(build_model().id_map.isins[0])]
    without, with_click = (
        recommend(
            build_model(interaction_weights=InteractionWeights(click=weight)),
            [build_history(interactions=click)],
            now=NOW,
        )
        for weight in (0.0, 1.0)
    )
    assert without[0].basis is Basis.SEGMENT_PRIOR
    assert with_click[0].basis is Basis.HISTORY


def test_wrong_calls_are_refused() -> None:
    model = build_model()
    with pytest.raises(ValueError, match="k must be"):
        recommend(model, [build_history()], k=0, now=NOW)
    with pytest.raises(ValueError, match="weights for"):
        recommend(model, [build_history()], k=1, now=NOW, weights=[None, None])


def test_a_cold_customers_list_says_so_and_follows_the_segment() -> None:
    model = build_model(assets=30)
    cold = build_history(build_customer(risk_level=RiskLevel.BALANCED))
    warm = replace(cold, owned=model.id_map.isins[:1])
    rankings = recommend(model, [cold, warm], k=5, now=NOW, weights=Weights(1, 0, 0))
    assert [ranking.basis for ranking in rankings] == [Basis.SEGMENT_PRIOR, Basis.HISTORY]
    prior = model.signals["segment_prior"]["popularity"][
        int(RiskLevel.BALANCED) * 5 + int(cold.customer.investment_capacity)
    ]
    popular = np.argsort(-np.where(candidate_mask(model, [cold])[0], prior, -1))[:5]
    assert isins_of(rankings[0]) == model.id_map.isins_of(popular.tolist())


def test_the_offline_benchmark_may_rank_without_suitability() -> None:
    model = build_model(assets=30, asset_risk_level=np.full(30, 3, np.int8))
    careful = [build_history(build_customer(risk_level=RiskLevel.CONSERVATIVE))]
    assert recommend(model, careful, k=5, now=NOW)[0].assets == ()
    assert len(recommend(model, careful, k=5, now=NOW, enforce_suitability=False)[0].assets) == 5
    assert (recommend_indices(model, careful, k=5, now=NOW, enforce_suitability=False) >= 0).all()


few_values = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.25, 0.5, np.nextafter(0.5, 1), 1.0])


@given(
    scores=hnp.arrays(np.float64, st.tuples(st.integers(0, 6), st.integers(0, 25)), elements=few_values),
    k=st.integers(1, 30),
)
@settings(max_examples=400)
def test_top_k_is_what_a_full_sort_with_ties_by_index_gives(scores: NDArray[np.float64], k: int) -> None:
    expected = []
    for row in scores.tolist():
        order = sorted((index for index, value in enumerate(row) if value > -np.inf), key=lambda i: (-row[i], i))[:k]
        expected.append(order + [NO_ASSET] * (k - len(order)))
    assert top_k(scores, k).tolist() == expected
