"""The three components: what they are, how they are normalised, and that a batch changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.recommender.candidates import candidate_mask
from shared.recommender.components import build_components, scale_to_unit, score_signals
from shared.recommender.configuration import build_configuration
from shared.recommender.history import build_history_matrix
from shared.recommender.model import Model
from shared.recommender.pipeline import BatchScores, ScoringRules, build_batch, score_batch
from shared.recommender.signal import LARGEST_VALUE
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.portfolio_mix import GROUP_MIX_COUNT, MIX_COUNT, AssetGroup, PortfolioMix
from shared.recommender.top_k import top_k
from shared.recommender.types import (
    DEFAULT_INTERACTION_WEIGHTS,
    SEGMENT_COUNT,
    CustomerHistory,
    InvestmentCapacity,
    RiskLevel,
    Weights,
    segment_index,
)
from tests.builders import (
    NOW,
    build_customer,
    build_histories,
    build_history,
    build_interaction,
    build_model,
    with_arrays,
)

RULES = ScoringRules(NOW)


def score(model: Model, histories: Sequence[CustomerHistory], weights: Weights | None = None) -> BatchScores:
    return score_batch(model, histories, weights=[weights or model.configuration.weights] * len(histories), rules=RULES)


def similarity_alone(model: Model) -> Model:
    """Return the model with item-item similarity as the only collaborative signal that tells assets apart."""
    signals = [signal.name for signal in model.configuration.collaborative if signal.name != "item_item"]
    zeros = {name: {array: np.zeros_like(values) for array, values in model.signals[name].items()} for name in signals}
    return replace(model, signals={**model.signals, **zeros})


def expected_contributions(model: Model, history: CustomerHistory) -> NDArray[np.float64]:
    """The definition, written down once more in float64, for one customer who is not cold: (3, candidates)."""
    row = build_history_matrix(model.id_map, [history], interaction_weights=DEFAULT_INTERACTION_WEIGHTS, now=NOW)
    vector = row.toarray()[0].astype(np.float64)
    candidates = candidate_mask(model, [history])[0]
    contributions = []
    owned = model.id_map.known_indices(history.owned)
    mix = int(np.bitwise_or.reduce(model.signals["portfolio_mix"]["asset_group"][owned])) + (8 if len(owned) > 2 else 0)
    signals = {
        "edlae": vector @ model.signals["edlae"]["similarity"].astype(np.float64),
        "item_item": vector @ model.signals["item_item"]["similarity"].astype(np.float64),
        "basket": vector @ model.signals["basket"]["similarity"].astype(np.float64),
        "residual_next_purchase": vector @ model.signals["residual_next_purchase"]["similarity"].astype(np.float64),
        "next_purchase": vector @ model.signals["next_purchase"]["matrix"].astype(np.float64)
        + model.signals["next_purchase"]["intercept"],
        "portfolio_mix": model.signals["portfolio_mix"]["log_shares"][mix].astype(np.float64),
        "trend": model.signals["trend"]["log_shares"].astype(np.float64),
        "popularity": model.signals["popularity"]["log_shares"].astype(np.float64),
        "fund_preference": model.signals["fund_preference"]["is_fund"].astype(np.float64),
    }
    demand = candidates & (model.bought | (vector > 0))
    weights = {
        signal.name: signal.weight * min(3.0, max(1 / 3, (max(len(owned), 1) / 4) ** signal.portfolio_power))
        for signal in model.configuration.collaborative
    }
    collaborative = np.zeros(len(vector))
    for name, values in signals.items():
        collaborative += weights[name] * (values - values[demand].mean()) / values[demand].std()
    collaborative[~demand] = collaborative[demand].min()
    for component, weight in (
        (collaborative, 0.5),
        (vector @ model.signals["content"]["similarity"].astype(np.float64), 0.2),
        (model.signals["profitability"]["predicted_return"].astype(np.float64), 0.3),
    ):
        values = component[candidates]
        contributions.append(weight * (values - values.min()) / (values.max() - values.min()))
    return np.array(contributions)


def test_contributions_are_the_weighted_components_scaled_over_the_candidates() -> None:
    model = build_model(assets=60, bought=np.arange(60) % 4 > 0)
    histories = [history for history in build_histories(model, 40) if len(history.owned) > 1]
    batch = score(model, histories)
    assert len(histories) > 10
    for row, history in enumerate(histories):
        candidates = candidate_mask(model, [history])[0]
        np.testing.assert_allclose(
            batch.contributions[:, row, candidates], expected_contributions(model, history), atol=2e-5
        )


def test_the_weight_of_a_signal_grows_with_the_portfolio_from_a_third_to_three_times() -> None:
    changes = {"trend": {"weight": 2.0, "portfolio_power": 0.5}, "edlae": {"portfolio_power": -1.0}}
    configuration = build_configuration("edlae+trend", changes=changes)
    model = build_model(assets=60, tradable=np.ones(60, bool))
    arrays = {signal.name: model.signals[signal.name] for signal in configuration.signals()}
    model = replace(model, configuration=configuration, signals=arrays)
    owned = [model.id_map.isins[:count] for count in (1, 3, 4, 9, 16, 50)]
    clicks = [build_interaction(model.id_map.isins[0])]
    histories = [build_history(interactions=clicks), *(build_history(owned=isins) for isins in owned)]
    candidates = candidate_mask(model, histories)
    signals = score_signals(model, build_batch(model, histories, now=NOW), candidates)

    collaborative = build_components(configuration, signals, candidates)[0]

    edlae, trend = ((one.scores - one.mean) / one.deviation for one in signals.signals["collaborative"])
    factors = [(3, 1 / 2), (3, 1 / 2), (4 / 3, (3 / 4) ** 0.5), (1, 1), (4 / 9, 3 / 2), (1 / 3, 2), (1 / 3, 3)]
    for row, (of_edlae, of_trend) in enumerate(factors):
        np.testing.assert_allclose(collaborative[row], of_edlae * edlae[row] + 2 * of_trend * trend[row], atol=1e-12)


def test_the_score_is_exactly_the_sum_of_the_contributions_and_minus_infinity_elsewhere() -> None:
    model = build_model(assets=60)
    histories = build_histories(model, 50)
    batch, mask = score(model, histories), candidate_mask(model, histories)
    total = batch.contributions[0] + batch.contributions[1] + batch.contributions[2]
    assert (batch.scores[mask] == total[mask]).all()
    assert (batch.scores[~mask] == -np.inf).all()


def test_the_best_candidate_of_a_component_gets_its_whole_weight_and_the_worst_nothing() -> None:
    model = build_model(assets=60)
    histories = [history for history in build_histories(model, 50) if history.owned]
    batch, mask = score(model, histories), candidate_mask(model, histories)
    weights = model.configuration.weights.normalised()
    for component, weight in enumerate((weights.collaborative, weights.content, weights.profitability)):
        for row in range(len(histories)):
            values = batch.contributions[component, row, mask[row]]
            assert values.min() == 0.0
            assert values.max() == weight


def test_a_component_that_tells_no_difference_contributes_nothing() -> None:
    model = build_model(assets=8, arrays={"profitability.predicted_return": np.full(8, 0.7, np.float32)})
    batch = score(model, [build_history(owned=model.id_map.isins[:2])])
    assert (batch.contributions[2] == 0).all()


def test_assets_that_are_no_candidates_do_not_stretch_the_scale() -> None:
    model = build_model(assets=4, tradable=np.array([True, True, True, False]))
    model = with_arrays(model, profitability__predicted_return=np.array([0.1, 0.2, 0.3, 1000], np.float32))
    batch = score(model, [build_history()], Weights(0, 0, 1))
    assert batch.contributions[2, 0, :3] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("risk_level", [None, *RiskLevel])
@pytest.mark.parametrize("capacity", list(InvestmentCapacity))
def test_cold_customer_gets_the_priors_of_their_segment(
    risk_level: RiskLevel | None, capacity: InvestmentCapacity
) -> None:
    model = build_model(assets=30)
    history = build_history(build_customer("COLD", risk_level, capacity), owned=["UNKNOWN"])
    candidates = candidate_mask(model, [history])
    signals = score_signals(model, build_batch(model, [history], now=NOW), candidates)
    collaborative, content, _ = build_components(model.configuration, signals, candidates)
    prior = model.signals["segment_prior"]["popularity"][segment_index(risk_level, capacity)]
    assert signals.cold.tolist() == [True]
    assert (collaborative[0] == prior).all()
    np.testing.assert_allclose(content[0], prior.astype(np.float64) @ model.signals["content"]["similarity"], rtol=1e-5)


def test_an_asset_that_nobody_has_bought_gets_nothing_from_the_collaborative_component_until_it_is_clicked() -> None:
    model = build_model(assets=6, bought=np.arange(6) != 3, tradable=np.ones(6, bool))
    isins = model.id_map.isins
    plain = build_history(owned=[isins[0]])
    clicked = replace(plain, interactions=(build_interaction(isins[3]),))

    batch = score(model, [plain, clicked], Weights(1, 0, 0))

    assert batch.contributions[0, 0, 3] == 0.0
    assert batch.contributions[0, 1, 3] > 0.0


def test_one_click_makes_a_customer_warm_and_raises_what_is_similar_to_the_clicked_asset() -> None:
    similarity = np.zeros((5, 5), np.float32)
    similarity[0, 3] = 1.0
    model = similarity_alone(build_model(assets=5, tradable=np.ones(5, bool)))
    model = with_arrays(model, item_item__similarity=similarity, content__similarity=similarity)
    isins = model.id_map.isins
    before = build_history(owned=[isins[1]])
    after = replace(before, interactions=(build_interaction(isins[0]),))
    batch = score(model, [before, after])
    assert batch.scores[1, 3] > batch.scores[0, 3]
    assert batch.scores[1, 3] == batch.scores[1].max()
    assert score(model, [build_history(interactions=after.interactions)]).cold.tolist() == [False]


@given(seed=st.integers(0, 2**16), assets=st.integers(1, 60))
def test_without_the_other_signals_the_collaborative_part_is_the_item_similarity_scaled_over_the_candidates(
    seed: int, assets: int
) -> None:
    """What EASE and LightFM gave before there were other signals: standardising first changes nothing."""
    model = similarity_alone(build_model(seed=seed, assets=assets))
    histories = build_histories(model, 20, seed=seed)
    batch, mask = score(model, histories, Weights(1, 0, 0)), candidate_mask(model, histories)
    vectors = build_history_matrix(model.id_map, histories, interaction_weights=DEFAULT_INTERACTION_WEIGHTS, now=NOW)
    similar = vectors @ model.signals["item_item"]["similarity"]
    expected = np.empty(mask.shape)
    scale_to_unit(similar, mask, out=expected)
    chosen = mask & ~batch.cold[:, np.newaxis]
    np.testing.assert_allclose(batch.contributions[0][chosen], expected[chosen], atol=1e-12)


def test_without_the_other_signals_lists_are_those_of_the_item_similarity() -> None:
    model = similarity_alone(build_model(assets=200))
    histories = [history for history in build_histories(model, 100) if history.owned]
    batch, mask = score(model, histories, Weights(1, 0, 0)), candidate_mask(model, histories)
    vectors = build_history_matrix(model.id_map, histories, interaction_weights=DEFAULT_INTERACTION_WEIGHTS, now=NOW)
    similar = np.where(mask, (vectors @ model.signals["item_item"]["similarity"]).astype(np.float64), -np.inf)
    assert len(histories) > 50
    np.testing.assert_array_equal(top_k(batch.scores, 10), top_k(similar, 10))


def test_the_mix_of_a_portfolio_is_what_is_owned_and_whether_it_is_much_and_not_what_is_clicked_on() -> None:
    groups = np.array([AssetGroup.STOCK, AssetGroup.BOND, AssetGroup.FUND, AssetGroup.OTHER, AssetGroup.STOCK], np.int8)
    mixes = np.repeat(np.arange(MIX_COUNT, dtype=np.float32)[:, np.newaxis], 5, axis=1)
    model = build_model(assets=5, arrays={"portfolio_mix.asset_group": groups, "portfolio_mix.log_shares": mixes})
    isins = model.id_map.isins
    histories = [
        build_history(),
        build_history(owned=[isins[0], isins[4]]),
        build_history(owned=[isins[0], isins[2], isins[3], "UNKNOWN"]),
        build_history(owned=isins, interactions=[build_interaction(isins[1])]),
        build_history(interactions=[build_interaction(isins[1])]),
    ]
    scores = PortfolioMix().score(model.signals["portfolio_mix"], build_batch(model, histories, now=NOW))
    assert scores[:, 0].tolist() == [0, 1, 5 + GROUP_MIX_COUNT, 7 + GROUP_MIX_COUNT, 0]


@given(seed=st.integers(0, 2**16), assets=st.integers(2, 40), positive=st.booleans())
def test_a_click_never_lowers_what_similarity_says_about_a_similar_asset(
    seed: int, assets: int, positive: bool
) -> None:
    model = build_model(seed=seed, assets=assets)
    clicked = model.id_map.isins[seed % assets]
    before = build_history(owned=[model.id_map.isins[(seed + 1) % assets]])
    after = replace(before, interactions=(build_interaction(clicked),))
    batch = build_batch(model, [before, after], now=NOW)
    scores = ItemItem().score(model.signals["item_item"], batch)
    similar = model.signals["item_item"]["similarity"][seed % assets]
    chosen = similar > 1e-4 if positive else similar < -1e-4
    rise = scores[1, chosen] - scores[0, chosen]
    assert (rise > 0).all() if positive else (rise < 0).all()


@given(seed=st.integers(0, 2**16), assets=st.integers(1, 70), customers=st.integers(1, 40), data=st.data())
def test_one_customer_alone_scores_bit_for_bit_as_in_any_batch(
    seed: int, assets: int, customers: int, data: st.DataObject
) -> None:
    model = build_model(seed=seed, assets=assets)
    histories = build_histories(model, customers, seed=seed)
    batch = score(model, histories)
    row = data.draw(st.integers(0, customers - 1))
    alone = score(model, [histories[row]])
    assert alone.scores[0].tobytes() == batch.scores[row].tobytes()
    assert alone.contributions[:, 0].tobytes() == batch.contributions[:, row].tobytes()
    assert alone.cold[0] == batch.cold[row]


def test_one_customer_alone_scores_bit_for_bit_as_among_many_with_the_whole_catalogue() -> None:
    model = build_model(assets=806)
    heavy = [build_history(f"H{size}", owned=model.id_map.isins[:size]) for size in (100, 300, 650)]
    histories = [*build_histories(model, 60), *heavy]
    batch = score(model, histories)
    for row, history in enumerate(histories):
        alone = score(model, [history])
        assert alone.scores[0].tobytes() == batch.scores[row].tobytes()
        assert alone.contributions[:, 0].tobytes() == batch.contributions[:, row].tobytes()


@given(
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-45, 1e-38, 1e-30, 1e-10, 1.0, LARGEST_VALUE]),
    weights=st.tuples(*[st.floats(0, 1e300)] * 3).filter(lambda values: sum(values) > 0),
)
def test_nothing_that_is_not_finite_comes_out(seed: int, scale: float, weights: tuple[float, float, float]) -> None:
    random = np.random.default_rng(seed)

    def extreme(*shape: int) -> NDArray[np.float32]:
        return np.asarray(random.choice([-scale, 0, scale / 3, scale], shape), dtype=np.float32)

    model = build_model(
        seed=seed,
        assets=12,
        arrays={
            "item_item.similarity": extreme(12, 12),
            "content.similarity": extreme(12, 12),
            "profitability.predicted_return": extreme(12),
            "segment_prior.popularity": np.abs(extreme(SEGMENT_COUNT, 12)),
            "next_purchase.matrix": extreme(12, 12),
            "next_purchase.intercept": extreme(12),
            "portfolio_mix.log_shares": extreme(MIX_COUNT, 12),
            "trend.log_shares": extreme(12),
            "edlae.similarity": extreme(12, 12),
            "basket.similarity": extreme(12, 12),
            "residual_next_purchase.similarity": extreme(12, 12),
            "popularity.log_shares": extreme(12),
        },
    )
    histories = build_histories(model, 10, seed=seed)
    with np.errstate(all="raise", under="ignore"):
        batch = score(model, histories, Weights(*weights))
    mask = candidate_mask(model, histories)
    assert np.isfinite(batch.contributions).all()
    assert ((batch.contributions[:, mask] >= 0) & (batch.contributions[:, mask] <= 1)).all()
    assert np.isfinite(batch.scores[mask]).all()
