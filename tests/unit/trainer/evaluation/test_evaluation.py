"""Metrics against lists worked out by hand, and the split by time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.training_data import day_number
from shared.recommender.types import RiskLevel, Weights
from tests.unit.recommender.planted import (
    AS_OF,
    NOW,
    build_data,
    build_interactions,
    build_prices,
    build_purchases,
    customer_of,
    isin_of,
)
from trainer.evaluation.bootstrap import resampled_means
from trainer.evaluation.folds import Fold
from trainer.evaluation.metrics import RelevantAssets, evaluate, evaluate_lists, ndcg_at_k, ndcg_of_lists
from trainer.evaluation.splits import TemporalSplit, build_split, monthly_returns

NO = -1


def ndcg_of(ranked: list[int], relevant: frozenset[int]) -> float:
    hits = np.array([[asset in relevant for asset in ranked[:10]]])
    return float(ndcg_at_k(hits, np.array([len(relevant)]))[0])


def test_ndcg_of_a_list_worked_out_by_hand() -> None:
    # Hits at ranks 1 and 3: 1 + 1/2. The best two places give 1 + 1/log2(3) = 1.63093.
    assert ndcg_of([4, 9, 7, 1], frozenset({4, 7})) == pytest.approx(1.5 / 1.6309297535714573)


def test_ndcg_is_one_for_the_best_list_and_zero_for_one_without_hits() -> None:
    assert ndcg_of([3, 5, 1], frozenset({3, 5})) == 1.0
    assert ndcg_of([3, 5, 1], frozenset({2})) == 0.0
    assert ndcg_of([NO, NO], frozenset({2})) == 0.0


def test_more_relevant_assets_than_places_can_still_be_a_perfect_list() -> None:
    assert ndcg_of(list(range(10)), frozenset(range(15))) == pytest.approx(1.0)


def test_only_ten_places_count() -> None:
    assert ndcg_of([*range(10), 42], frozenset({42})) == 0.0


def test_monthly_return_compounds_over_thirty_days() -> None:
    start, end = date(2022, 1, 3), date(2022, 3, 4)  # 60 days
    data = build_data(
        assets=3,
        close_prices=build_prices(
            [(isin_of(0), start, 100.0), (isin_of(0), end, 121.0), (isin_of(1), start, 5.0), (isin_of(2), end, 5.0)]
        ),
    )

    returns = monthly_returns(data, start=start, end=end)

    assert returns[0] == pytest.approx(0.1)
    assert np.isnan(returns[1:]).all()


def test_a_price_older_than_two_weeks_stands_for_nothing() -> None:
    start, end = date(2022, 1, 3), date(2022, 3, 4)
    rows = [(isin_of(0), start, 100.0), (isin_of(0), end - timedelta(days=15), 121.0)]
    data = build_data(assets=1, close_prices=build_prices(rows))

    assert np.isnan(monthly_returns(data, start=start, end=end)).all()


def split_of(data_assets: int = 12) -> TemporalSplit:
    split = build_split(build_data(assets=data_assets), window_days=90)
    assert split is not None
    return split


def test_lists_are_judged_by_known_returns_and_by_the_customers_risk_level() -> None:
    split = split_of()
    careful = [index for index, history in enumerate(split.histories) if history.customer.risk_level is None]
    lists = np.full((len(split.histories), 10), NO)
    lists[:, 0] = 1  # a share: unsuitable for those whose level is not known
    lists[:, 1] = 0  # a government bond
    levels = fit_model(split.training, build_configuration("ease"), version="v").asset_risk_level

    metrics = evaluate_lists(lists, split, asset_risk_level=levels)

    income = sum(history.customer.risk_level is RiskLevel.INCOME for history in split.histories)
    assert metrics.unsuitable_share == pytest.approx((len(careful) + income) / len(split.histories))
    assert metrics.roi_at_10 == pytest.approx(split.monthly_returns[:2].mean())
    assert metrics.known_return_share == 1.0


def test_test_customers_bought_something_new_that_was_tradable_at_the_cutoff() -> None:
    data = build_data()

    split = build_split(data, window_days=90)

    assert split is not None
    assert split.cutoff == AS_OF - timedelta(days=90)
    purchases = data.purchases
    later = purchases.day > day_number(split.cutoff)
    ids = [customer.customer_id for customer in data.customers]
    for history, relevant in zip(split.histories, split.relevant, strict=True):
        position = ids.index(history.customer.customer_id)
        bought = set(purchases.asset_index[later & (purchases.customer_index == position)].tolist())
        owned = set(data.id_map.known_indices(history.owned))
        assert relevant == bought - owned
        assert relevant


def test_the_window_grows_until_there_are_enough_customers() -> None:
    days = [AS_OF - timedelta(days=3 * offset) for offset in range(120)]
    rows = [(customer_of(number), isin_of(number % 7), day) for number, day in enumerate(days)]
    data = build_data(assets=7, purchases=build_purchases(rows))

    split = build_split(data, window_days=90)

    assert split is not None
    assert split.cutoff == AS_OF - timedelta(days=180)
    assert len(split.histories) >= 50


def test_without_purchases_there_is_no_split() -> None:
    assert build_split(build_data(purchases=build_purchases([])), window_days=90) is None


def test_histories_keep_the_order_of_the_log_and_the_trainers_clock_drops_nothing() -> None:
    moments = [NOW + timedelta(hours=5), NOW, NOW - timedelta(days=900)]
    kinds = ("click", "dismiss", "view")
    done = [(customer_of(0), isin_of(1), kind, moment) for kind, moment in zip(kinds, moments, strict=True)]

    [history] = build_data(interactions=build_interactions(done)).histories([0])
    assert [one.type.value for one in history.interactions] == ["click", "dismiss", "view"]


def test_interactions_after_the_cutoff_are_not_in_the_histories() -> None:
    clicks = [(customer_of(number), isin_of(1), "click", datetime(2022, 11, 30, tzinfo=UTC)) for number in range(300)]
    split = build_split(build_data(interactions=build_interactions(clicks)), window_days=90)

    assert split is not None
    assert all(not history.interactions for history in split.histories)


def test_an_asset_that_could_not_be_bought_at_the_cutoff_is_asked_of_nobody() -> None:
    data = build_data(assets=6)
    issued_later = replace(data.assets[1], tradable_from=AS_OF - timedelta(days=30))
    data = replace(data, assets=(data.assets[0], issued_later, *data.assets[2:]))

    split = build_split(data, window_days=90)

    assert split is not None
    assert not any(1 in relevant for relevant in split.relevant)
    assert any(2 in relevant for relevant in split.relevant)


def test_ndcg_counts_a_place_whose_asset_its_own_customer_bought() -> None:
    random = np.random.default_rng(2)
    lists = np.array([random.permutation(30)[:10] for _ in range(40)])
    lists[::3, 7:] = NO_ASSET
    relevant = [frozenset(random.choice(30, number % 5, replace=False).tolist()) for number in range(40)]

    hits = np.array([[asset in of_row for asset in row] for row, of_row in zip(lists.tolist(), relevant, strict=True)])
    counts = np.array([len(of_row) for of_row in relevant])
    np.testing.assert_array_equal(ndcg_of_lists(lists, relevant), ndcg_at_k(hits, counts))
    assert ndcg_of_lists(lists[:2], [frozenset(), frozenset()]).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="40 lists for 39 customers"):
        RelevantAssets(relevant[1:]).ndcg(lists)


@pytest.mark.parametrize(("count", "block"), [(1, 1), (7, 3), (300, 1), (70_000, 1)])
def test_resampled_means_are_those_of_one_draw_after_the_other(count: int, block: int) -> None:
    values = np.random.default_rng(3).normal(size=count)
    one_by_one, random = np.random.default_rng(0), np.random.default_rng(0)
    expected = []
    for _ in range(5):
        starts = one_by_one.integers(0, count - block + 1, -(-count // block))
        expected.append(values[(starts[:, np.newaxis] + np.arange(block)).ravel()[:count]].mean())

    assert resampled_means(values, random, resamples=5, block=block).tolist() == expected
    assert random.random() == one_by_one.random()


def test_a_fold_ranks_configurations_together_as_each_alone() -> None:
    split = build_split(build_data(), window_days=120)
    assert split is not None
    ease = build_configuration("ease")
    configurations = [
        ease,
        replace(ease, weights=Weights(0.5, 0.4, 0.1)),
        build_configuration("ease", changes={"item_item": {"l2": 5.0}}),
    ]
    fold = Fold(split, enforce_suitability=True)
    fold.rank(configurations)

    for configuration in configurations:
        model = fit_model(split.training, configuration, version="evaluation")
        assert fold.evaluate(configuration) == evaluate(model, split)
