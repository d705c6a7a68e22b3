"""What each component says, on data small enough to know the answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from shared.errors import NotEnoughData
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.content import fit_content_similarity
from shared.recommender.training_data import Purchases, build_training_data, day_number
from shared.recommender.model import segment_index
from shared.recommender.price_grid import FEATURE_NAMES, HORIZON_WEEKDAYS, build_price_grid, price_features
from shared.recommender.priors import HALF_LIFE_DAYS, SHRINKAGE, fit_segment_priors
from shared.recommender.profitability import predict_returns
from shared.recommender.ranking import recommend_indices
from shared.recommender.training import fit_model, fit_shared_components, tradable_assets
from shared.recommender.types import Asset, Customer, InvestmentCapacity, RiskLevel, Weights
from tests.unit.recommender.planted import (
    AS_OF,
    NOW,
    build_data,
    build_interactions,
    build_prices,
    build_purchases,
    build_rows,
    customer_of,
    isin_of,
)
from trainer.evaluation.evaluation import build_split, evaluate, evaluate_lists

MONDAY = date(2022, 1, 3)
LATER = datetime(2024, 6, 1, tzinfo=UTC)  # after 500 weekdays
EASE = ModelConfiguration("ease", Weights(0.5, 0.2, 0.3), ease_l2=20.0)


def weekdays(count: int) -> list[date]:
    days = (MONDAY + timedelta(days=offset) for offset in range(count * 2))
    return [day for day in days if day.weekday() < 5][:count]


def feature(grid_rows: list[tuple[str, date, float]], name: str) -> float:
    data = build_data(assets=1, close_prices=build_prices(grid_rows), purchases=build_purchases([]))
    grid = build_price_grid(data.close_prices, asset_count=1, last_day=day_number(data.as_of))
    return float(price_features(grid, len(grid.prices) - 1)[0, FEATURE_NAMES.index(name)])


def test_indicators_of_a_steady_rise_are_what_arithmetic_says() -> None:
    rows = [(isin_of(0), day, 100.0 * 1.01**step) for step, day in enumerate(weekdays(130))]

    assert feature(rows, "momentum_21") == pytest.approx(1.01**21 - 1)
    assert feature(rows, "momentum_126") == pytest.approx(1.01**126 - 1)
    assert feature(rows, "volatility_21") == pytest.approx(0.0, abs=1e-9)
    assert feature(rows, "drawdown_126") == 0.0
    assert feature(rows, "rsi_14") == 1.0


def test_drawdown_is_the_fall_from_the_highest_price() -> None:
    prices = [100.0] * 10 + [150.0] + [120.0] * 10
    rows = [(isin_of(0), day, price) for day, price in zip(weekdays(21), prices, strict=True)]

    assert feature(rows, "drawdown_126") == pytest.approx(120 / 150 - 1)


def test_a_price_is_carried_over_a_gap_of_two_weeks_and_no_further() -> None:
    days = weekdays(30)
    rows = [(isin_of(0), days[0], 5.0), (isin_of(1), days[29], 7.0)]
    data = build_data(assets=2, close_prices=build_prices(rows), purchases=build_purchases([]))

    grid = build_price_grid(data.close_prices, asset_count=2, last_day=day_number(days[29]))

    assert np.isfinite(grid.prices[:, 0]).tolist() == [True] * 11 + [False] * 19


def test_returns_are_predicted_from_prices_and_assets_without_enough_of_them_get_the_median() -> None:
    random = np.random.default_rng(5)
    days = weekdays(500)
    rows = []
    for asset in range(20):
        # Trends persist, so the past of a series says something of its future.
        drift = 0.002 if asset % 2 else -0.002
        prices = 10 * np.exp(np.cumsum(drift + random.normal(0, 0.003, len(days))))
        rows += [(isin_of(asset), day, float(price)) for day, price in zip(days, prices, strict=True)]
    rows.append((isin_of(20), days[-1], 5.0))
    data = build_data(now=LATER, assets=22, close_prices=build_prices(rows), purchases=build_purchases([]))
    grid = build_price_grid(data.close_prices, asset_count=22, last_day=day_number(days[-1]))

    predicted = predict_returns(grid, seed=7)

    assert predicted[1:20:2].min() > 0.1 > -0.1 > predicted[0:20:2].max()
    assert predicted[20] == predicted[21] == pytest.approx(np.median(predicted[:20]))
    np.testing.assert_array_equal(predicted, predict_returns(grid, seed=7))


def test_a_short_history_has_no_six_month_indicator_and_is_learnt_from_all_the_same() -> None:
    days = weekdays(HORIZON_WEEKDAYS + 60)  # every row with a known outcome lacks momentum_126
    prices = [
        (isin_of(asset), day, 100 * (1 + 0.001 * (-1) ** (asset + 1)) ** age)
        for asset in range(40)
        for age, day in enumerate(days)
    ]
    data = build_data(assets=40, close_prices=build_prices(prices), purchases=build_purchases([]))
    grid = build_price_grid(data.close_prices, asset_count=40, last_day=day_number(days[-1]))

    predicted = predict_returns(grid, seed=7)

    assert np.isfinite(predicted).all()
    assert predicted.any()


def test_nothing_is_learnt_from_series_that_are_too_sparse() -> None:
    days = weekdays(500)
    rows = [(isin_of(asset), day, 1.0 + step) for asset in range(30) for step, day in enumerate(days[::9])]
    rows += [(isin_of(30), day, 1.0) for day in days[-60:]]  # well known, but its outcomes are still to come
    data = build_data(now=LATER, assets=31, close_prices=build_prices(rows), purchases=build_purchases([]))
    grid = build_price_grid(data.close_prices, asset_count=31, last_day=day_number(days[-1]))

    assert not predict_returns(grid, seed=7).any()


def test_without_prices_no_return_is_predicted() -> None:
    data = build_data(close_prices=build_prices([]))

    components = fit_shared_components(data, seed=7)

    assert not components.predicted_return.any()
    assert np.isfinite(components.content_similarity).all()


def test_likeness_of_content_grows_with_every_shared_attribute() -> None:
    twin = Asset("A1", "Stock", None, "XATH", "Technology", "Software")
    assets = [
        twin,
        replace(twin, isin="A2"),
        replace(twin, isin="A3", industry="Hardware"),
        replace(twin, isin="A4", sector="Energy", industry="Oil"),
        Asset("A5", "Bond", "Government", "XFRA"),
    ]
    data = build_data(close_prices=build_prices([]))
    grid = build_price_grid(data.close_prices, asset_count=5, last_day=day_number(AS_OF))

    similarity = fit_content_similarity(assets, grid)

    assert similarity[0, 1] == pytest.approx(1.0)
    assert similarity[0, 1] > similarity[0, 2] > similarity[0, 3] > similarity[0, 4] == 0.0
    assert (np.diag(similarity) == 0).all()
    np.testing.assert_array_equal(similarity, similarity.T)


def test_a_gap_shared_by_two_assets_is_no_likeness() -> None:
    assets = [Asset("A1", "Stock", sector=None), Asset("A2", "Bond", sector=None)]
    data = build_data(close_prices=build_prices([]))
    grid = build_price_grid(data.close_prices, asset_count=2, last_day=day_number(AS_OF))

    assert not fit_content_similarity(assets, grid).any()


def test_a_segment_with_much_of_its_own_goes_its_own_way_and_an_empty_one_follows_the_crowd() -> None:
    customers = [Customer("a", RiskLevel.AGGRESSIVE), Customer("b", RiskLevel.CONSERVATIVE)]
    # 1,000 purchases of asset 0 by aggressive customers, 1 of asset 1 by a conservative one.
    who = np.array([0] * 1000 + [1], dtype=np.int32)
    purchases = Purchases(who, np.array([0] * 1000 + [1], dtype=np.int32), np.full(1001, 10, dtype=np.int32))

    priors = fit_segment_priors(purchases, customers, asset_count=3, last_day=10)

    aggressive, conservative, nobody = (
        priors[segment_index(level, InvestmentCapacity.UNKNOWN)]
        for level in (RiskLevel.AGGRESSIVE, RiskLevel.CONSERVATIVE, RiskLevel.INCOME)
    )
    crowd = np.array([1000, 1, 0]) / 1001
    expected = SHRINKAGE * crowd + [0, 1, 0]
    np.testing.assert_allclose(conservative, expected / expected.max(), rtol=1e-5)
    np.testing.assert_allclose(nobody, crowd / crowd.max(), rtol=1e-5)
    assert aggressive[1] < conservative[1]
    assert priors.max() == 1.0


def test_an_old_purchase_counts_half_after_the_half_life() -> None:
    customers = [Customer("a")]
    days = np.array([0, int(HALF_LIFE_DAYS)], dtype=np.int32)
    purchases = Purchases(np.zeros(2, dtype=np.int32), np.array([0, 1], dtype=np.int32), days)

    priors = fit_segment_priors(purchases, customers, asset_count=2, last_day=int(HALF_LIFE_DAYS))

    np.testing.assert_allclose(priors[segment_index(None, InvestmentCapacity.UNKNOWN)], [0.5, 1.0], rtol=1e-6)


def test_tradable_is_within_the_published_dates_else_recently_priced() -> None:
    dated = Asset(isin_of(0), "Stock", tradable_from=AS_OF - timedelta(days=9), tradable_until=AS_OF)
    assets = (
        dated,
        replace(dated, isin=isin_of(1), tradable_from=AS_OF + timedelta(days=1)),
        replace(dated, isin=isin_of(2), tradable_until=AS_OF - timedelta(days=1)),
        Asset(isin_of(3), "Stock"),
        Asset(isin_of(4), "Stock"),
        Asset(isin_of(5), "Stock"),
    )
    prices = build_prices(
        [(isin_of(3), AS_OF - timedelta(days=30), 1.0), (isin_of(4), AS_OF - timedelta(days=31), 1.0)]
    )
    purchases = build_purchases([(customer_of(0), isin_of(0), AS_OF)])
    data = build_data(assets=6, close_prices=prices, purchases=purchases)

    tradable = tradable_assets(replace(data, assets=assets))

    assert tradable.tolist() == [True, False, False, True, False, False]


def test_without_assets_there_is_nothing_to_train() -> None:
    nothing = replace(build_rows(customers=3, assets=3), assets=())

    with pytest.raises(NotEnoughData):
        build_training_data(nothing, now=NOW)


def test_strays_are_left_out_and_strangers_are_customers_about_whom_nothing_is_known() -> None:
    purchases = build_purchases(
        [("stranger", isin_of(0), AS_OF), ("stranger", "NOT-LISTED", AS_OF), (customer_of(1), isin_of(1), AS_OF)]
    )
    data = build_data(customers=3, assets=3, purchases=purchases)

    assert len(data.purchases.day) == 2
    assert Customer("stranger") in data.customers
    assert data.as_of == AS_OF


def test_prices_after_the_newest_purchase_are_not_known_yet() -> None:
    earlier = AS_OF - timedelta(days=100)
    data = build_data(customers=3, assets=3, purchases=build_purchases([(customer_of(0), isin_of(0), earlier)]))

    assert data.as_of == earlier
    assert data.close_prices.day.max() <= day_number(earlier)


def test_a_click_counts_less_than_a_purchase_and_fades() -> None:
    def similarity(days_ago: float) -> float:
        owners = [(customer_of(n), isin_of(0), AS_OF) for n in range(50)]
        moment = NOW - timedelta(days=days_ago)
        clicks = [(customer_of(n), isin_of(1), "click", moment) for n in range(50)]
        data = build_data(
            customers=50, assets=3, purchases=build_purchases(owners), interactions=build_interactions(clicks)
        )
        return float(fit_model(data, EASE, version="v").asset_similarity[0, 1])

    assert similarity(0.0) > similarity(60.0) > 0.0


def test_planted_preferences_are_found_better_than_by_popularity() -> None:
    split = build_split(build_data(), window_days=120)
    assert split is not None
    model = fit_model(split.training, EASE, version="v")
    counts = np.bincount(split.training.purchases.asset_index, minlength=len(model.id_map))
    # The same path, but every history says how often each asset was bought.
    crowd = np.tile(counts / counts.max(), (len(model.id_map), 1)).astype(np.float32)
    popularity = replace(model, asset_similarity=crowd, weights=Weights(1, 0, 0))

    hybrid, followed = evaluate(model, split), evaluate(popularity, split)

    assert hybrid.ndcg_at_10 > followed.ndcg_at_10 + 0.05
    assert hybrid.unsuitable_share == 0.0


def test_evaluation_ranks_with_the_function_that_serving_uses() -> None:
    split = build_split(build_data(), window_days=120)
    assert split is not None
    model = fit_model(split.training, EASE, version="v")

    lists = recommend_indices(model, split.histories, k=10, now=split.training.now)

    assert evaluate(model, split) == evaluate_lists(lists, split, asset_risk_level=model.asset_risk_level)
