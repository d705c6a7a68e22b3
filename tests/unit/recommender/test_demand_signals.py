"""Purchases that show demand, next purchases, portfolio mixes and the trend, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.recommender.signals.fund_preference import FundPreference
from shared.recommender.signals.next_purchase import NextPurchase, build_baskets
from shared.recommender.signals.popularity import Popularity
from shared.recommender.signals.portfolio_mix import GROUP_MIX_COUNT, AssetGroup, PortfolioMix, asset_groups
from shared.recommender.signals.trend import Trend
from shared.recommender.training_data import FirstPurchases
from shared.recommender.types import Asset
from tests.builders import build_asset, build_isins
from tests.unit.recommender.small_data import data_of_purchases

STOCK, BOND = AssetGroup.STOCK, AssetGroup.BOND
Row = tuple[int, int, int]  # day, customer, asset


def find_first_purchases(*rows: Row, assets: int = 4) -> FirstPurchases:
    return data_of_purchases(*rows, assets=assets).first_purchases(entry_days=14)


def rows_that_show_demand(purchases: FirstPurchases) -> list[Row]:
    columns = (purchases.customer_index, purchases.asset_index, purchases.day)
    rows = zip(zip(*map(list, columns), strict=True), purchases.shows_demand, strict=True)
    return [row for row, shows_demand in rows if shows_demand]


def assets_of(groups: list[AssetGroup]) -> list[Asset]:
    categories = {STOCK: "Stock", BOND: "Bond"}
    isins = build_isins(len(groups))
    return [build_asset(isin, categories[group]) for isin, group in zip(isins, groups, strict=True)]


def fit_mix(*rows: Row, groups: list[AssetGroup], last_day: int) -> NDArray[np.float32]:
    data = data_of_purchases(*rows, assets=assets_of(groups), last_day=last_day)
    return PortfolioMix().fit(data, random_state=7)["log_shares"]


def fit_trend(*rows: Row, assets: int = 4, last_day: int) -> NDArray[np.float32]:
    return Trend().fit(data_of_purchases(*rows, assets=assets, last_day=last_day), random_state=7)["log_shares"]


def test_a_purchase_shows_demand_after_the_first_fortnight_of_the_asset() -> None:
    purchases = find_first_purchases(
        (0, 0, 0),
        (0, 0, 1),
        (14, 1, 3),
        (14, 0, 2),  # asset 2 enters
        (28, 1, 2),  # its fortnight ends
        (29, 2, 2),  # after it
        (29, 3, 3),
        (30, 2, 1),
        (29, 1, 0),
    )

    assert rows_that_show_demand(purchases) == [(1, 0, 29), (2, 2, 29), (2, 1, 30), (3, 3, 29)]


def test_only_the_first_purchase_of_an_asset_counts() -> None:
    purchases = find_first_purchases((0, 0, 0), (40, 0, 0), (20, 0, 1), (30, 0, 1))

    assert purchases.asset_index.tolist() == [0, 1]
    assert purchases.day.tolist() == [0, 20]


def test_a_basket_is_what_was_bought_on_one_day_and_what_was_held_before_it() -> None:
    purchases = find_first_purchases(
        (0, 9, 0), (0, 9, 1), (0, 9, 2), (0, 9, 3), (50, 0, 3), (60, 0, 0), (60, 0, 2), (70, 0, 1)
    )

    holdings, bought, day = build_baskets(purchases, asset_count=4)

    assert day.tolist() == [50, 60, 70]
    assert holdings.toarray().tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]]
    assert bought.toarray().tolist() == [[0, 0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0]]


def test_next_purchase_is_the_weighted_ridge_regression_of_baskets_on_holdings() -> None:
    random = np.random.default_rng(3)
    rows = [(int(d), int(c), int(a)) for d, c, a in zip(*random.integers(0, (400, 25, 5), (300, 3)).T, strict=True)]
    purchases = find_first_purchases(*rows, assets=5)
    holdings, bought, day = build_baskets(purchases, asset_count=5)
    assert len(day) > 20

    signal = NextPurchase()
    arrays = signal.fit(data_of_purchases(*rows, assets=5, last_day=400), random_state=7)
    matrix, intercept = arrays["matrix"], arrays["intercept"]

    # The definition as least squares over rows scaled by sqrt(weight), with the penalty as further rows.
    root = np.sqrt(0.5 ** ((400 - day) / 180.0))[:, np.newaxis]
    features = np.hstack([holdings.toarray(), np.ones((len(day), 1))])
    penalty = np.diag(np.sqrt([signal.l2] * 5 + [signal.intercept_l2]))
    solution = np.linalg.lstsq(
        np.vstack([root * features, penalty]), np.vstack([root * bought.toarray(), np.zeros((6, 5))]), rcond=None
    )[0]
    off = ~np.eye(5, dtype=np.bool_)
    np.testing.assert_allclose(matrix[off], solution[:-1][off], atol=1e-6)
    np.testing.assert_allclose(intercept, solution[-1], atol=1e-6)
    assert (np.diag(matrix) == matrix[off].max()).all()


def test_who_holds_bonds_gets_what_bond_holders_buy() -> None:
    groups = [STOCK, BOND, STOCK, BOND]
    entry = [(0, 99, asset) for asset in range(4)]
    stock_holders = [row for c in range(20) for row in ((10, c, 0), (100, c, 2))]
    bond_holders = [row for c in range(20, 40) for row in ((10, c, 1), (100, c, 3))]

    prior = fit_mix(*entry, *stock_holders, *bond_holders, groups=groups, last_day=100)

    assert prior[STOCK, 2] > prior[STOCK, 3]
    assert prior[BOND, 3] > prior[BOND, 2]
    assert prior.shape == (16, 4)
    assert prior.dtype == np.float32


def test_a_share_of_a_mix_worked_out_by_hand() -> None:
    # Customer 0 holds both kinds; (20, asset 1) shows demand of age 0, the three others are not.
    rows = [(0, 0, 0), (0, 1, 1), (20, 0, 1)]
    old = 0.1 * 0.5 ** (20 / 360)
    trend = (1 + 10 * 2 / 3) / (1 + 10)  # of asset 1

    prior = fit_mix(*rows, groups=[STOCK, BOND], last_day=20)

    of_both = (1 + 50 * trend) / (1 + old + 50)
    small = (1 + 50 * of_both) / (1 + old + 50)
    assert prior[STOCK | BOND, 1] == pytest.approx(np.log1p(1000 * small), rel=1e-6)
    assert prior[(STOCK | BOND) + GROUP_MIX_COUNT, 1] == pytest.approx(np.log1p(1000 * of_both), rel=1e-6)
    assert prior[0, 1] == pytest.approx(np.log1p(1000 * trend), rel=1e-6)


def test_owners_of_many_assets_get_what_owners_of_many_buy() -> None:
    entry = [(0, 99, asset) for asset in range(8)]
    small = [row for c in range(20) for row in ((10, c, 0), (100, c, 6))]
    large = [row for c in range(20, 40) for row in (*((10, c, asset) for asset in range(3)), (100, c, 7))]

    prior = fit_mix(*entry, *small, *large, groups=[STOCK] * 8, last_day=100)

    assert prior[STOCK, 6] > prior[STOCK, 7]
    assert prior[STOCK + GROUP_MIX_COUNT, 7] > prior[STOCK + GROUP_MIX_COUNT, 6]


def test_entries_of_a_new_asset_are_followed_less_than_fewer_purchases_that_show_demand() -> None:
    old = [(0, c, 0) for c in range(8)] + [(0, 99, 1)]
    entered = [(95, c, 2) for c in range(5)]  # asset 2 appears with all its holders
    rows = [*old, *entered, *((95, c, 1) for c in (5, 6, 7))]

    prior = fit_mix(*rows, groups=[STOCK] * 3, last_day=95)

    assert prior[STOCK, 1] > prior[STOCK, 2]


def test_without_purchases_nothing_says_anything() -> None:
    arrays = NextPurchase().fit(data_of_purchases(last_day=10), random_state=7)

    assert not arrays["matrix"].any()
    assert not arrays["intercept"].any()
    assert not fit_mix(groups=[STOCK] * 4, last_day=10).any()


def test_an_asset_belongs_to_the_group_of_its_category() -> None:
    isins = build_isins(4)
    assets = [build_asset(isin, category) for isin, category in zip(isins, ("Stock", "Bond", "MTF", "?"), strict=True)]

    assert asset_groups(assets).tolist() == [1, 2, 4, 0]


def test_the_trend_is_what_was_bought_in_the_last_days() -> None:
    entry = [(0, 99, asset) for asset in range(4)]
    before = [(30 + day, day, 0) for day in range(10)]  # customers 0..9 enter
    long_ago = [(60, customer, 1) for customer in range(8)]
    lately = [(98, customer, 2) for customer in range(6)]
    trend = fit_trend(*entry, *before, *long_ago, *lately, last_day=100)

    assert trend.argmax() == 2
    assert trend[1] > trend[3]
    assert trend.dtype == np.float32


def test_a_share_of_the_trend_worked_out_by_hand() -> None:
    rows = [(0, 9, 0), (0, 9, 1), (10, 0, 0), (30, 0, 1)]  # only the last one shows demand
    recent, all_time = 0.5 ** (10 / 30), 0.5
    wider = (recent + 10 * all_time) / (recent + 10)
    lately = 0.5 ** (10 / 7)

    trend = fit_trend(*rows, assets=2, last_day=40)

    assert trend[1] == pytest.approx(np.log1p(1000 * (lately + 20 * wider) / (lately + 20)), rel=1e-6)


def test_without_demand_the_trend_is_what_was_ever_bought() -> None:
    trend = fit_trend((0, 0, 0), (0, 0, 1), (0, 1, 1), assets=3, last_day=1)

    np.testing.assert_allclose(trend, np.log1p([1000 / 3, 2000 / 3, 0.0]), rtol=1e-6)
    assert not fit_trend(assets=3, last_day=1).any()


def test_popularity_is_the_log_of_the_recent_share_and_of_the_share_of_all_time() -> None:
    rows = [*((0, 9, asset) for asset in range(3)), (100, 0, 0), (100, 1, 0), (220, 2, 1)]
    signal = Popularity(half_life_days=120.0, shrinkage=2.0)

    found = signal.fit(data_of_purchases(*rows, assets=4, last_day=220), random_state=7)["log_shares"]

    all_time = np.array([3, 2, 1, 0]) / 6
    demand = np.array([2 * 0.5, 1.0, 0, 0])  # the first day does not count: the assets enter the records
    recent = (demand + 2.0 * all_time) / (demand.sum() + 2.0)
    assert found[:3] == pytest.approx(np.log(recent[:3]) + np.log(all_time[:3]), rel=1e-5)
    assert found[3] == pytest.approx(2 * np.log(1e-6), rel=1e-5)


def test_only_funds_are_preferred() -> None:
    assets = [build_asset(isin, kind) for isin, kind in zip(build_isins(3), ("Stock", "MTF", "Bond"), strict=True)]

    arrays = FundPreference().fit(data_of_purchases((0, 0, 0), assets=assets), random_state=7)

    assert arrays["is_fund"].tolist() == [0.0, 1.0, 0.0]
