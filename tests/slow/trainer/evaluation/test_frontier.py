"""The measured curve of a model from purchases to returns, and the presets that point into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.training_data import ClosePrices
from shared.recommender.types import Weights
from tests.unit.recommender.planted import build_data
from tests.unit.recommender.small_data import data_of_purchases
from trainer.evaluation.frontier import SETTINGS, FrontierPoint, choose_presets, measure_frontier
from trainer.evaluation.metrics import evaluate
from trainer.evaluation.splits import annual_volatility, build_split

POINT = FrontierPoint(Weights(1, 0, 0), 0.4, (0.3, 0.5), 0.0, None, 0.2, 0.0)


def points(*figures: tuple[float, float | None, float | None]) -> list[FrontierPoint]:
    """Build points of (nDCG, ROI above the market, volatility); the weight of profitability is the position."""
    return [
        replace(POINT, weights=Weights(1, 0, position), ndcg_at_10=ndcg, roi_above_market=roi, volatility=volatility)
        for position, (ndcg, roi, volatility) in enumerate(figures)
    ]


def test_presets_are_points_of_the_curve() -> None:
    curve = points((0.40, -0.02, 0.30), (0.39, -0.01, 0.28), (0.30, 0.01, 0.20), (0.05, 0.03, 0.10))

    presets = {name: weights.profitability for name, weights in choose_presets(curve).items()}

    assert presets == {"popular": 0, "balanced": 1, "return": 3, "low_volatility": 2}


def test_a_preset_whose_figure_is_unknown_is_the_popular_one() -> None:
    presets = choose_presets(points((0.40, None, None), (0.41, None, None)))

    assert {weights.profitability for weights in presets.values()} == {1}


def test_the_curve_has_eleven_settings_and_agrees_with_an_evaluation_at_each() -> None:
    split = build_split(build_data(), window_days=90)
    assert split is not None
    model = fit_model(split.training, build_configuration("ease"), version="v1")

    curve = measure_frontier(model, split)

    assert [point.weights.profitability for point in curve] == pytest.approx(list(SETTINGS))
    for point in (curve[0], curve[5], curve[10]):
        metrics = evaluate(model, split, weights=point.weights)
        assert point.ndcg_at_10 == pytest.approx(metrics.ndcg_at_10)
        market = split.monthly_returns[model.tradable & np.isfinite(split.monthly_returns)].mean()
        assert point.roi_above_market == pytest.approx((metrics.roi_at_10 or 0.0) - market)
    assert model.configuration.weights.profitability == 0.0
    assert curve[0].turnover == 0.0
    assert 0.0 < curve[10].turnover <= 1.0


def test_volatility_is_the_annual_deviation_of_returns_per_square_root_of_their_days() -> None:
    data = data_of_purchases((0, 0, 0), assets=3, last_day=1000)
    days = np.array([900, 904, 905, 914, 930, 990, 995, 100, 200], np.int32)
    close = np.array([10.0, 11.0, 10.0, 12.0, 11.0, 5.0, 6.0, 1.0, 2.0])
    prices = ClosePrices(np.array([0, 0, 0, 0, 0, 1, 1, 2, 2], np.int32), days, close)

    found = annual_volatility(replace(data, close_prices=prices))

    returns = np.array([np.log(1.1) / 2, np.log(10 / 11) / 1, np.log(1.2) / 3, np.log(11 / 12) / 4])
    assert found[0] == pytest.approx(returns.std() * np.sqrt(365))
    assert np.isnan(found[1:]).all()  # too few returns, and returns of years ago
