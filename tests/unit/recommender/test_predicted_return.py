"""What past prices say of later returns, and what the signal says of itself, on prices that a test writes down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.price_series import price_series
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.predicted_return import PredictedReturn
from shared.recommender.training_data import ClosePrices, TrainingData
from tests.unit.recommender.small_data import data_of_purchases

LAST = 3_000
SIGNAL = PredictedReturn()


def data_of(*rows: tuple[int, int, float], assets: int = 4) -> TrainingData:
    """Build from prices of (asset, day, close)."""
    asset, day, close = (np.array(column) for column in zip(*sorted(rows), strict=True))
    prices = ClosePrices(asset.astype(np.int32), day.astype(np.int32), close.astype(np.float64))
    return replace(data_of_purchases(assets=assets, last_day=LAST), close_prices=prices)


def trending(drifts: NDArray[np.float64], *, every: int, days: int = 1_500) -> TrainingData:
    """Build prices that grow by these daily rates, with a little noise, on one day of every so many."""
    random = np.random.default_rng(5)
    rows = []
    for asset, drift in enumerate(drifts):
        for day in range(LAST - days, LAST + 1, every):
            rows.append((asset, day, float(10 * np.exp(drift * (day - LAST) + random.normal(0, 0.002)))))
    return data_of(*rows, assets=len(drifts))


def fit(data: TrainingData, signal: PredictedReturn = SIGNAL) -> dict[str, NDArray[Any]]:
    return dict(signal.fit(data, random_state=7))


def test_nearness_is_the_fall_from_the_highest_price_of_the_window() -> None:
    series = price_series(data_of((0, LAST - 401, 99.0), (0, LAST - 300, 50.0), (0, LAST - 9, 40.0), (1, LAST, 5.0)))

    nearness = series.nearness_to_high(LAST, window_days=400)

    assert nearness[0] == pytest.approx(np.log(40 / 50))
    assert np.isnan(nearness[1:]).all()  # one price, and none
    assert series.ages(LAST).tolist() == [9, 0, np.inf, np.inf]
    assert series.counts(LAST).tolist() == [3, 1, 0, 0]


def test_momentum_counts_from_the_last_price_at_or_before_the_horizon_however_old() -> None:
    prices = [(0, LAST - 900, 10.0), (0, LAST - 300, 30.0), (0, LAST - 100, 20.0)]
    series = price_series(data_of(*prices, (1, LAST - 500, 4.0), (2, LAST - 20, 4.0)))

    momentum = series.momentum(LAST, days=360)

    assert momentum[0] == pytest.approx(np.log(20 / 10) / 800)
    assert np.isnan(momentum[1:]).all()  # nothing after the horizon, nothing before it, nothing


def test_volatility_of_irregular_days_is_per_square_root_of_a_day() -> None:
    prices = [
        (0, LAST - 25, 1.0),
        (0, LAST - 16, np.exp(0.3)),
        (0, LAST, np.exp(0.7)),
        (1, LAST - 9, 1.0),
        (1, LAST, 2.0),
    ]
    series = price_series(data_of(*prices))

    volatility = series.root_mean_square_returns(LAST, window_days=400)

    assert volatility[0] == pytest.approx(0.1)  # 0.3 in 9 days, 0.4 in 16
    assert np.isnan(volatility[1:]).all()  # one return, and none


def test_of_two_prices_of_one_day_the_last_one_counts() -> None:
    series = price_series(data_of((0, LAST, 2.0), (0, LAST, 1.0)))

    assert series.counts(LAST)[0] == 1
    assert series.log_prices_at(LAST, tolerance_days=0)[0] == pytest.approx(np.log(2.0))


def test_a_price_stands_for_later_days_within_the_tolerance_only() -> None:
    series = price_series(data_of((0, LAST - 8, 2.0)))

    assert np.isfinite(series.log_prices_at(LAST, tolerance_days=8)[0])
    assert np.isnan(series.log_prices_at(LAST, tolerance_days=7)[0])
    assert np.isnan(series.log_prices_at(LAST - 9, tolerance_days=99)[0])


def test_two_prices_are_enough_for_an_opinion_and_others_get_the_level() -> None:
    arrays = fit(data_of((0, LAST - 30, 10.0), (0, LAST, 5.0), (1, LAST - 30, 10.0), (1, LAST, 12.0), (2, LAST, 3.0)))

    assert arrays["known"].tolist() == [True, True, False, False]
    assert arrays["predicted_return"][0] < arrays["predicted_return"][2] < arrays["predicted_return"][1]
    assert arrays["predicted_return"][2] == arrays["predicted_return"][3] == 0.0  # nothing was learnt of the level


@pytest.mark.parametrize(
    ("few", "many"),
    [
        ([30, 0], [120, 90, 60, 30, 0]),  # by the number of prices
        ([200, 100], [100, 0]),  # by the age of the last one
    ],
)
def test_a_prediction_is_smaller_with_fewer_and_with_older_prices(few: list[int], many: list[int]) -> None:
    def rise(asset: int, ages: list[int]) -> list[tuple[int, int, float]]:
        return [(asset, LAST - age, 10.0 - 0.01 * age) for age in ages]

    arrays = fit(data_of(*rise(0, few), *rise(1, many), (2, LAST - 50, 9.0), (2, LAST, 2.0)))

    assert 0.0 < arrays["predicted_return"][0] < arrays["predicted_return"][1]


def test_without_two_prices_of_any_asset_there_is_no_opinion() -> None:
    for data in (data_of((0, LAST, 1.0), (1, LAST - 9, 1.0)), data_of_purchases(last_day=LAST)):
        arrays = fit(data)

        assert not SIGNAL.has_opinion(arrays)
        assert not arrays["predicted_return"].any()
    assert SIGNAL.has_opinion(fit(data_of((0, LAST - 9, 1.0), (0, LAST, 1.0))))
    assert ItemItem().has_opinion({})  # the default


@pytest.mark.parametrize("every", [1, 28], ids=["dense", "sparse"])
def test_trends_that_persist_are_learnt_and_shrunk(every: int) -> None:
    drifts = np.linspace(-0.001, 0.001, 30)
    data = trending(drifts, every=every)

    arrays, learnt_more = fit(data), fit(data, PredictedReturn(prior_windows=1.0))

    assert np.corrcoef(arrays["predicted_return"], drifts)[0, 1] > 0.95
    best, true = float(arrays["predicted_return"].max()), np.exp(0.001 * 182) - 1
    assert 0.02 < best < float(learnt_more["predicted_return"].max()) < 1.2 * true
    assert SIGNAL.figures(arrays)["rank_correlation"] > 0.9


def test_reversals_turn_the_slopes_when_there_are_enough_of_them() -> None:
    # What rose in one half year falls in the next.
    days = range(LAST - 3_600, LAST + 1, 7)
    rows = [
        (asset, day, float(np.exp((1 if asset % 2 else -1) * (0.1 + asset / 100) * np.sin(2 * np.pi * day / 364))))
        for asset in range(30)
        for day in days
    ]
    data = data_of(*rows, assets=30)

    learnt = fit(data, PredictedReturn(prior_windows=0.5))
    prior = fit(data, PredictedReturn(prior_windows=1e6))

    realised = price_series(data)  # the same half year a period before tells what follows
    ahead = realised.log_prices_at(LAST - 182, tolerance_days=7) - realised.log_prices_at(LAST - 364, tolerance_days=7)
    assert np.corrcoef(learnt["predicted_return"], ahead)[0, 1] > np.corrcoef(prior["predicted_return"], ahead)[0, 1]


def test_validation_uses_at_each_date_what_had_ended_by_then() -> None:
    drifts = np.linspace(-0.001, 0.001, 30)
    data = trending(drifts, every=7)

    figures = SIGNAL.figures(fit(data))

    assert figures["known_assets"] == 30
    assert figures["validation_dates"] == pytest.approx((1_500 - 182) / 28, abs=2)
    low, high = figures["rank_correlation_interval_95"]
    assert -1 <= low <= figures["rank_correlation"] <= high <= 1


def test_a_correlation_of_one_window_has_no_interval_worth_the_name() -> None:
    data = trending(np.linspace(-0.001, 0.001, 30), every=7, days=300)

    figures = SIGNAL.figures(fit(data))

    assert 0 < figures["validation_dates"] < 7
    assert figures["rank_correlation_interval_95"] == [-1.0, 1.0]


def test_without_a_past_date_nothing_is_validated() -> None:
    figures = SIGNAL.figures(fit(data_of((0, LAST - 9, 1.0), (0, LAST, 2.0))))

    assert figures == {
        "known_assets": 1,
        "validation_dates": 0,
        "rank_correlation": None,
        "rank_correlation_interval_95": None,
    }


def test_the_metadata_of_a_model_hold_the_validation() -> None:
    data = trending(np.linspace(-0.001, 0.001, 30), every=7)

    model = fit_model(data, build_configuration("ease"), version="v1", metadata={"metrics": {}})

    assert model.metadata == {
        "metrics": {},
        "signals": {"profitability": SIGNAL.figures(model.signals["profitability"])},
    }


def test_extreme_prices_and_dates_stay_finite() -> None:
    days = (-719_162, LAST - 300, LAST - 190, LAST - 1, LAST, 2_932_896)
    rows = [
        (asset, day, 10.0 ** ((asset * number * 37) % 600 - 300))
        for asset in range(30)
        for number, day in enumerate(days)
    ]

    with np.errstate(over="raise", divide="raise", invalid="raise"):
        arrays = fit(data_of(*rows, assets=30), PredictedReturn(least_assets=1))

    assert all(np.isfinite(array).all() for array in arrays.values())
