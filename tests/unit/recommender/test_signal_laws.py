"""Every registered signal obeys the laws."""

from __future__ import annotations

import pytest

from shared.recommender.asset_matrix import MatrixSignal
from shared.recommender.signal import REGISTRY, signal_class
from shared.recommender.signals.basket import Basket
from shared.recommender.signals.content import Content
from shared.recommender.signals.edlae import Edlae
from shared.recommender.signals.fund_preference import FundPreference
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.lightfm import LightFm
from shared.recommender.signals.next_purchase import NextPurchase
from shared.recommender.signals.popularity import Popularity
from shared.recommender.signals.portfolio_mix import PortfolioMix
from shared.recommender.signals.predicted_return import PredictedReturn
from shared.recommender.signals.residual_next_purchase import ResidualNextPurchase
from shared.recommender.signals.segment_prior import SegmentPrior
from shared.recommender.signals.trend import Trend
from shared.recommender.signals.user_knn import UserKnn
from tests.unit.recommender.signal_laws import SignalLaws
from trainer.benchmark.algorithms.price_regression import PriceRegression


class TestItemItem(SignalLaws):
    signal = ItemItem(l2=20.0)


class TestItemItemWithEntryHalfLife(SignalLaws):
    signal = ItemItem(l2=20.0, least_entry=0.3)


class TestEdlae(SignalLaws):
    signal = Edlae(l2=20.0)


class TestEdlaeWithPopularityPower(SignalLaws):
    signal = Edlae(l2=20.0, popularity_power=0.5, portfolio_power=0.4)


class TestBasket(SignalLaws):
    signal = Basket(l2=5.0)


class TestPopularity(SignalLaws):
    signal = Popularity(shrinkage=5.0)


class TestFundPreference(SignalLaws):
    signal = FundPreference()


class TestItemItemWithRowHalfLife(SignalLaws):
    signal = ItemItem(l2=20.0, row_half_life_days=120.0)


@pytest.mark.lightfm
class TestLightFm(SignalLaws):
    signal = LightFm(factors=4, epochs=2)


class TestNextPurchase(SignalLaws):
    signal = NextPurchase(l2=5.0, half_life_days=90.0)


class TestResidualNextPurchase(SignalLaws):
    signal = ResidualNextPurchase(l2=5.0, kernel_days=9.0)


class TestPortfolioMix(SignalLaws):
    signal = PortfolioMix(small_portfolio=3)


class TestTrend(SignalLaws):
    signal = Trend(half_life_days=9.0)


class TestUserKnn(SignalLaws):
    signal = UserKnn(similarity_power=1.5)


class TestContent(SignalLaws):
    signal = Content(industry=2.0)


class TestPredictedReturn(SignalLaws):
    signal = PredictedReturn(least_assets=5, prior_windows=2.0)


@pytest.mark.parametrize("indicators", ["technical", "momentum_ranks"])
@pytest.mark.parametrize("regression", ["boosted_trees", "random_forest", "ridge"])
def test_every_regression_of_the_benchmark_predicts(regression: str, indicators: str) -> None:
    class Laws(SignalLaws):
        signal = PriceRegression(regression=regression, indicators=indicators, trees=5, leaves=4, least_leaf_rows=20)

    Laws().test_a_second_fit_gives_identical_arrays()
    Laws().test_a_customer_alone_scores_bit_for_bit_as_in_a_batch()
    Laws().test_no_row_after_the_cutoff_reaches_the_arrays()
    Laws().test_a_sparse_catalogue(200)
    Laws().test_a_dense_catalogue()
    Laws().test_no_rows_at_all()
    Laws().test_no_customers()


class TestSegmentPrior(SignalLaws):
    signal = SegmentPrior(shrinkage=10.0)


class TestSparseItemItem(SignalLaws):
    signal = ItemItem(l2=20.0, least_entry=0.3, dense_assets=0, neighbours=3)


class TestSparseEdlae(SignalLaws):
    signal = Edlae(l2=20.0, popularity_power=0.5, dense_assets=0, neighbours=3)


class TestSparseBasket(SignalLaws):
    signal = Basket(l2=5.0, dense_assets=0, neighbours=3)


class TestSparseNextPurchase(SignalLaws):
    signal = NextPurchase(l2=5.0, dense_assets=0, neighbours=3)


class TestSparseResidualNextPurchase(SignalLaws):
    signal = ResidualNextPurchase(l2=5.0, kernel_days=9.0, dense_assets=0, neighbours=3)


class TestSparseContent(SignalLaws):
    signal = Content(industry=2.0, dense_assets=0)


@pytest.mark.lightfm
class TestFactorsOfLightFm(SignalLaws):
    signal = LightFm(factors=4, epochs=2, dense_assets=0)


def test_every_registered_signal_has_its_class_of_laws() -> None:
    tested = {laws.signal.name for laws in SignalLaws.__subclasses__()}

    assert tested >= set(REGISTRY)


def test_every_signal_with_a_matrix_has_its_class_of_laws_above_the_threshold() -> None:
    matrices = {name for name in REGISTRY if issubclass(signal_class(name), MatrixSignal)}
    tested = [laws.signal for laws in SignalLaws.__subclasses__()]

    assert {one.name for one in tested if isinstance(one, MatrixSignal) and not one.dense_assets} == matrices
