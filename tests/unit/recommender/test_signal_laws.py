"""Every registered signal obeys the laws."""

from __future__ import annotations

import pytest

from shared.recommender.signal import REGISTRY
from shared.recommender.signals.basket import Basket
from shared.recommender.signals.content import Content
from shared.recommender.signals.edlae import Edlae
from shared.recommender.signals.fund_preference import FundPreference
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.lightfm import LightFm
from shared.recommender.signals.next_purchase import NextPurchase
from shared.recommender.signals.popularity import Popularity
from shared.recommender.signals.portfolio_mix import PortfolioMix
from shared.recommender.signals.profitability import Profitability
from shared.recommender.signals.residual_next_purchase import ResidualNextPurchase
from shared.recommender.signals.segment_prior import SegmentPrior
from shared.recommender.signals.trend import Trend
from shared.recommender.signals.user_knn import UserKnn
from tests.unit.recommender.signal_laws import SignalLaws


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


class TestProfitability(SignalLaws):
    signal = Profitability(trees=20, least_leaf_rows=20)


@pytest.mark.parametrize("regression", ["ridge", "random_forest"])
def test_every_regression_predicts(regression: str) -> None:
    class Laws(SignalLaws):
        signal = Profitability(regression=regression, indicators="momentum_ranks", trees=5, leaves=4)

    Laws().test_a_second_fit_gives_identical_arrays()
    Laws().test_a_sparse_catalogue(200)


class TestSegmentPrior(SignalLaws):
    signal = SegmentPrior(shrinkage=10.0)


def test_every_registered_signal_has_its_class_of_laws() -> None:
    tested = {laws.signal.name for laws in SignalLaws.__subclasses__()}

    assert tested >= set(REGISTRY)
