"""Classes of assets, refusals to everybody, and the guard: nothing dated after the list's date changes anything."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recommender.policy.issuers import issuer_of
from shared.recommender.policy.market import Market, largest_falls
from shared.recommender.policy.view import PolicyView
from shared.recommender.training_data import day_number
from shared.recommender.types import Asset
from tests.builders import AS_OF, build_asset
from tests.unit.recommender.policy.policies import (
    BASE,
    DRAWDOWN,
    EVERY_RULE,
    MISSING,
    VOLATILITY,
    market_with,
    policy_with,
    view_with,
)

STOCK, BOND = build_asset("S", "Stock"), build_asset("B", "Bond", "Corporate")
GOVERNMENT = build_asset("G", "Bond", "Government")


def zigzag(asset: int, step: float) -> list[tuple[int, int, float]]:
    """Daily prices that go up and down by `step`: an annual volatility of step times the root of 365."""
    return [(asset, days, float(np.exp(step * (days % 2)))) for days in range(60)]


def test_the_highest_of_category_and_sub_category_counts() -> None:
    other = build_asset("X", "Warrant")
    assert view_with(policy_with(), [STOCK, BOND, GOVERNMENT, other]).asset_class.tolist() == [3, 2, 1, 3]


@pytest.mark.parametrize(("step", "expected"), [(0.001, 1), (0.005, 2), (0.01, 3), (0.05, 4)])
def test_volatility_raises_a_class_and_never_lowers_it(step: float, expected: int) -> None:
    view = view_with(
        policy_with(BASE + VOLATILITY), [GOVERNMENT, STOCK], market_with([*zigzag(0, step), *zigzag(1, step)])
    )
    assert view.figures.volatility[0] == pytest.approx(step * np.sqrt(365), rel=1e-9)
    assert view.asset_class.tolist() == [expected, max(expected, 3)]


def test_a_fall_that_was_recovered_counts_as_drawdown() -> None:
    market = market_with([(0, 40, 10.0), (0, 30, 7.0), (0, 5, 11.0), (1, 40, 10.0), (1, 30, 10.0), (1, 5, 9.9)])
    view = view_with(policy_with(BASE + DRAWDOWN), [GOVERNMENT, GOVERNMENT], market)
    assert view.figures.drawdown.tolist() == pytest.approx([0.3, 0.01])
    assert view.asset_class.tolist() == [3, 1]


def test_the_drawdown_starts_with_the_window() -> None:
    market = market_with([(0, 400, 100.0), (0, 30, 10.0), (0, 20, 10.0), (0, 10, 10.0)])
    assert view_with(policy_with(BASE + DRAWDOWN), [GOVERNMENT], market).figures.drawdown.tolist() == [0.0]


def test_too_few_prices_say_nothing_and_missing_prices_say_so() -> None:
    market = market_with([(0, 30, 10.0), (0, 20, 1.0)])
    assert view_with(policy_with(BASE + VOLATILITY + DRAWDOWN), [GOVERNMENT], market).asset_class.tolist() == [1]
    view = view_with(policy_with(BASE + MISSING), [GOVERNMENT, GOVERNMENT], market)
    assert view.asset_class.tolist() == [1, 4]


def test_what_everybody_is_refused() -> None:
    assets = [
        build_asset("0", sector="Tobacco"),
        build_asset("1", name="ARMS S.A. (CR)"),
        build_asset("2"),
        build_asset("3"),
        build_asset("4"),
        None,
    ]
    market = market_with(
        [(asset, 101 if asset == 2 else 100, 5.0) for asset in range(6)], [(a, 1) for a in (0, 1, 2, 3)]
    )
    view = view_with(policy_with(EVERY_RULE), assets, market)
    refused = {rule: np.flatnonzero(mask).tolist() for rule, mask in view.refused.items()}
    assert refused == {
        "excluded_isin": [3],
        "excluded_category": [],
        "excluded_sector": [0],
        "excluded_issuer": [1],
        "price_freshness": [2],
        "liquidity": [4, 5],
    }
    assert not view.masks[:, :5].any()


def test_one_mask_for_each_ceiling() -> None:
    masks = view_with(policy_with(), [STOCK, BOND, GOVERNMENT]).masks
    assert masks.tolist() == [[False] * 3, [False, False, True], [False, True, True], [True] * 3, [True] * 3]


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        (Asset("1", "Stock", name="NATIONAL BANK OF GREECE S.A. (CR)"), "NATIONAL BANK OF GREECE"),
        (Asset("2", "Bond", name="National Bank of Greece"), "NATIONAL BANK OF GREECE"),
        (Asset("3", "Bond", name="Apple"), "APPLE"),
        (Asset("4", "Stock", name="Apple Inc"), "APPLE"),
        (Asset("5", "Bond", name="EUROPEAN INVESTMENT BANK EIB 1,875 02/10/25"), "EUROPEAN INVESTMENT BANK EIB"),
        (Asset("6", "MTF", name="BlackRock Global Funds - US Mid-Cap Value Fund A2 (EUR)"), "BLACKROCK"),
        (Asset("7", "MTF", name=""), None),
        (Asset("8", "Stock"), None),
        (Asset("9", "Bond", name="4.5% 2030"), None),
    ],
)
def test_the_issuer_is_read_from_the_name(asset: Asset, expected: str | None) -> None:
    assert issuer_of(asset) == expected


prices = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-400, 500), st.floats(0.01, 1000.0)), min_size=1, max_size=60
)
trades = st.lists(st.tuples(st.integers(0, 3), st.integers(-400, 500)), max_size=30)


def said(view: PolicyView) -> list[object]:
    assert view.tie_order is not None
    return [view.masks.tolist(), view.asset_class.tolist(), view.tie_order.tolist(), view.tie_class.tolist()]


@given(prices, trades)
def test_rows_after_the_date_of_the_list_change_nothing(
    rows: list[tuple[int, int, float]], bought: list[tuple[int, int]]
) -> None:
    policy, assets = policy_with(EVERY_RULE), [STOCK, BOND, GOVERNMENT, STOCK]
    known = market_with([row for row in rows if row[1] >= 0], [row for row in bought if row[1] >= 0])
    assert said(view_with(policy, assets, market_with(rows, bought))) == said(view_with(policy, assets, known))


@given(prices)
def test_the_largest_fall_is_that_of_a_plain_loop(rows: list[tuple[int, int, float]]) -> None:
    market: Market = market_with(rows)
    found = largest_falls(market.prices, day=day_number(AS_OF), window_days=365, asset_count=4)
    for asset in range(4):
        of_asset = [
            float(close)
            for index, day, close in zip(*vars(market.prices).values(), strict=True)
            if index == asset and 0 <= day_number(AS_OF) - day < 365
        ]
        worst, highest = 0.0, 0.0
        for close in of_asset:
            highest = max(highest, close)
            worst = max(worst, 1 - close / highest)
        assert found[asset] == pytest.approx(worst, abs=1e-9)


def test_an_earlier_date_knows_less() -> None:
    market = market_with(zigzag(0, 0.05))
    policy = policy_with(BASE + VOLATILITY)
    earlier = view_with(policy, [GOVERNMENT], market, as_of=AS_OF - timedelta(days=90))
    assert (earlier.asset_class.tolist(), view_with(policy, [GOVERNMENT], market).asset_class.tolist()) == ([1], [4])


def test_equal_scores_are_ordered_by_liquidity_and_then_by_freshness() -> None:
    policy = policy_with(BASE + "[liquidity]\nwindow_days = 365\n")
    market = market_with([(0, 5, 1.0), (1, 1, 1.0), (2, 9, 1.0)], [(2, 3)])
    view = view_with(policy, [STOCK] * 5, market)
    assert view.tie_order is not None
    assert view.tie_order.tolist() == [2, 1, 0, 3, 4]
    assert view.tie_class[3] == view.tie_class[4]
    assert len(set(view.tie_class.tolist())) == 4
