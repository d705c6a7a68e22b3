"""What each component says, on data small enough to know the answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import NotEnoughData
from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model, tradable_assets
from shared.recommender.pipeline import recommend_indices
from shared.recommender.price_grid import PriceGrid, price_grid, technical_indicators
from shared.recommender.signals.content import Content
from shared.recommender.signals.segment_prior import SegmentPrior
from shared.recommender.training_data import TrainingData, day_number
from shared.recommender.training_rows import build_training_data
from shared.recommender.types import Asset, Customer, InvestmentCapacity, RiskLevel, Weights, segment_index
from tests.builders import with_arrays, with_weights
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
from tests.unit.recommender.small_data import data_of_purchases
from trainer.benchmark.algorithms.price_regression import PriceRegression
from trainer.evaluation.metrics import evaluate, evaluate_lists
from trainer.evaluation.splits import build_split

MONDAY = date(2022, 1, 3)
LATER = datetime(2024, 6, 1, tzinfo=UTC)  # after 500 weekdays
EASE = build_configuration("ease", weights=Weights(0.5, 0.2, 0.3), changes={"item_item": {"l2": 20.0}})


def weekdays(count: int) -> list[date]:
    days = (MONDAY + timedelta(days=offset) for offset in range(count * 2))
    return [day for day in days if day.weekday() < 5][:count]


def grid_of(data: TrainingData) -> PriceGrid:
    return price_grid(data, stale_after_weekdays=10, longest_history_weekdays=2_610)


def predict_returns(data: TrainingData) -> NDArray[np.float32]:
    return PriceRegression().fit(data, random_state=7)["predicted_return"]


def fit_priors(data: TrainingData) -> NDArray[np.float32]:
    return SegmentPrior().fit(data, random_state=7)["popularity"]


def feature(grid_rows: list[tuple[str, date, float]], name: str) -> float:
    data = build_data(assets=1, close_prices=build_prices(grid_rows), purchases=build_purchases([]))
    grid = grid_of(data)
    return float(technical_indicators(grid, len(grid.prices) - 1)[name][0])


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

    grid = grid_of(data)

    assert data.as_of == days[29]

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

    predicted = predict_returns(data)

    assert predicted[1:20:2].min() > 0.1 > -0.1 > predicted[0:20:2].max()
    assert predicted[20] == predicted[21] == pytest.approx(np.median(predicted[:20]))
    again = build_data(now=LATER, assets=22, close_prices=build_prices(rows), purchases=build_purchases([]))
    np.testing.assert_array_equal(predicted, predict_returns(again))


def test_a_short_history_has_no_six_month_indicator_and_is_learnt_from_all_the_same() -> None:
    days = weekdays(PriceRegression().horizon_weekdays + 60)  # every row with a known outcome lacks momentum_126
    prices = [
        (isin_of(asset), day, 100 * (1 + 0.001 * (-1) ** (asset + 1)) ** age)
        for asset in range(40)
        for age, day in enumerate(days)
    ]
    data = build_data(assets=40, close_prices=build_prices(prices), purchases=build_purchases([]))

    predicted = predict_returns(data)

    assert np.isfinite(predicted).all()
    assert predicted.any()


def test_nothing_is_learnt_from_series_that_are_too_sparse() -> None:
    days = weekdays(500)
    rows = [(isin_of(asset), day, 1.0 + step) for asset in range(30) for step, day in enumerate(days[::9])]
    rows += [(isin_of(30), day, 1.0) for day in days[-60:]]  # well known, but its outcomes are still to come
    data = build_data(now=LATER, assets=31, close_prices=build_prices(rows), purchases=build_purchases([]))

    assert not predict_returns(data).any()


def test_without_prices_no_return_is_predicted() -> None:
    data = build_data(close_prices=build_prices([]))

    assert not predict_returns(data).any()
    assert np.isfinite(Content().fit(data, random_state=7)["similarity"]).all()


def test_likeness_of_content_grows_with_every_shared_attribute() -> None:
    twin = Asset("A1", "Stock", None, "XATH", "Technology", "Software")
    assets = [
        twin,
        replace(twin, isin="A2"),
        replace(twin, isin="A3", industry="Hardware"),
        replace(twin, isin="A4", sector="Energy", industry="Oil"),
        Asset("A5", "Bond", "Government", "XFRA"),
    ]
    similarity = Content().fit(data_of_purchases(assets=assets), random_state=7)["similarity"]

    assert similarity[0, 1] == pytest.approx(1.0)
    assert similarity[0, 1] > similarity[0, 2] > similarity[0, 3] > similarity[0, 4] == 0.0
    assert (np.diag(similarity) == 0).all()
    np.testing.assert_array_equal(similarity, similarity.T)


def test_a_gap_shared_by_two_assets_is_no_likeness() -> None:
    assets = [Asset("A1", "Stock", sector=None), Asset("A2", "Bond", sector=None)]

    assert not Content().fit(data_of_purchases(assets=assets), random_state=7)["similarity"].any()


def test_a_segment_with_much_of_its_own_goes_its_own_way_and_an_empty_one_follows_the_crowd() -> None:
    customers = [Customer("a", RiskLevel.AGGRESSIVE), Customer("b", RiskLevel.CONSERVATIVE)]
    # 1,000 purchases of asset 0 by aggressive customers, 1 of asset 1 by a conservative one.
    data = data_of_purchases(*[(10, 0, 0)] * 1000, (10, 1, 1), assets=3, customers=customers)

    priors = fit_priors(data)

    aggressive, conservative, nobody = (
        priors[segment_index(level, InvestmentCapacity.UNKNOWN)]
        for level in (RiskLevel.AGGRESSIVE, RiskLevel.CONSERVATIVE, RiskLevel.INCOME)
    )
    crowd = np.array([1000, 1, 0]) / 1001
    expected = SegmentPrior().shrinkage * crowd + [0, 1, 0]
    np.testing.assert_allclose(conservative, expected / expected.max(), rtol=1e-5)
    np.testing.assert_allclose(nobody, crowd / crowd.max(), rtol=1e-5)
    assert aggressive[1] < conservative[1]
    assert priors.max() == 1.0


def test_an_old_purchase_counts_half_after_the_half_life() -> None:
    half_life = int(SegmentPrior().half_life_days)
    data = data_of_purchases((0, 0, 0), (half_life, 0, 1), assets=2, customers=[Customer("a")])

    priors = fit_priors(data)

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


@pytest.mark.parametrize("days", [-400, 0, 1, 20, 2000])
def test_an_executed_order_teaches_and_moves_no_date(days: int) -> None:
    """As_of follows the market data: what could be bought before an order of today can be bought after it."""
    order = build_purchases([("newcomer", isin_of(1), AS_OF + timedelta(days=days))])
    now = NOW + timedelta(days=3000)
    before, after = build_data(now=now), build_data(now=now, recorded_purchases=order)

    assert after.as_of == before.as_of == AS_OF
    assert np.array_equal(tradable_assets(after), tradable_assets(before))
    assert len(after.close_prices.day) == len(before.close_prices.day)
    assert len(after.purchases.day) == len(before.purchases.day) + 1
    newcomer = after.customers.index(Customer("newcomer"))
    [row] = np.flatnonzero(after.purchases.customer_index == newcomer)
    assert after.purchases.day[row] == day_number(AS_OF + timedelta(days=min(days, 0)))
    assert np.all(np.diff(after.purchases.day) >= 0)


def test_orders_alone_move_no_date_either() -> None:
    order = build_purchases([(customer_of(0), isin_of(1), NOW.date())])
    data = build_data(customers=3, assets=3, purchases=build_purchases([]), recorded_purchases=order)

    assert data.as_of == AS_OF  # of the newest price
    assert data.purchases.day.tolist() == [day_number(AS_OF)]


def test_a_click_counts_less_than_a_purchase_and_fades() -> None:
    def similarity(days_ago: float) -> float:
        owners = [(customer_of(n), isin_of(0), AS_OF) for n in range(50)]
        moment = NOW - timedelta(days=days_ago)
        clicks = [(customer_of(n), isin_of(1), "click", moment) for n in range(50)]
        data = build_data(
            customers=50, assets=3, purchases=build_purchases(owners), interactions=build_interactions(clicks)
        )
        return float(fit_model(data, EASE, version="v").signals["item_item"]["similarity"][0, 1])

    assert similarity(0.0) > similarity(60.0) > 0.0


def test_planted_preferences_are_found_better_than_by_popularity() -> None:
    split = build_split(build_data(), window_days=120)
    assert split is not None
    model = fit_model(split.training, EASE, version="v")
    counts = np.bincount(split.training.purchases.asset_index, minlength=len(model.id_map))
    # The same path, but every history says how often each asset was bought.
    crowd = np.tile(counts / counts.max(), (len(model.id_map), 1)).astype(np.float32)
    popularity = with_weights(with_arrays(model, item_item__similarity=crowd), Weights(1, 0, 0))

    hybrid, followed = evaluate(model, split), evaluate(popularity, split)

    assert hybrid.ndcg_at_10 > followed.ndcg_at_10 + 0.05
    assert hybrid.unsuitable_share == 0.0


def test_evaluation_ranks_with_the_function_that_serving_uses() -> None:
    split = build_split(build_data(), window_days=120)
    assert split is not None
    model = fit_model(split.training, EASE, version="v")

    lists = recommend_indices(model, split.histories, k=10, now=split.training.now)

    assert evaluate(model, split) == evaluate_lists(lists, split, asset_risk_level=model.asset_risk_level)
