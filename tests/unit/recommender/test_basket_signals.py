"""What is bought together, and next beyond what was to be expected, against cases worked out by hand."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest

from shared.recommender.signals.basket import Basket
from shared.recommender.signals.next_purchase import build_baskets
from shared.recommender.signals.residual_next_purchase import ResidualNextPurchase
from tests.unit.recommender.small_data import data_of_purchases

ENTRY = [(0, 99, asset) for asset in range(3)]  # the first purchases of the assets show no demand


def test_what_is_bought_on_one_day_is_near_and_an_old_basket_counts_less() -> None:
    together = [(40, 0, 0), (40, 0, 1)]
    apart = [(100, 1, 0), (100, 2, 1), (130, 2, 0)]
    data = data_of_purchases(*ENTRY, *together, *apart, assets=3, last_day=400)

    similarity = Basket(l2=2.0).fit(data, random_state=7)["similarity"]

    old, of_0, of_1 = 0.5**1.0, 0.5 ** (300 / 360) + 0.5 ** (270 / 360), 0.5 ** (300 / 360)
    assert similarity[0, 1] == pytest.approx(old / (old + of_0 + 2.0), rel=1e-6)
    assert similarity[1, 0] == pytest.approx(old / (old + of_1 + 2.0), rel=1e-6)
    assert not similarity[2, :2].any()
    assert (np.diag(similarity) == similarity[1, 0]).all()


def test_one_basket_is_compared_with_the_shares_of_its_day_without_what_was_held() -> None:
    data = data_of_purchases(*ENTRY, (0, 0, 0), (30, 0, 1), assets=3, last_day=30)

    similarity = ResidualNextPurchase().fit(data, random_state=7)["similarity"]

    # Baskets of all days: 0.5, 1.5, 0.5. The day has 0, 1, 0 and 20 with these shares: 4/21, 13/21, 4/21. Asset 0 is
    # held, so 13/17 and 4/17 were to be expected, and the basket differs by 4/17 and -4/17.
    weight = 4 / 17 / (1 + 40)
    assert similarity[0, 1] == pytest.approx(weight / sqrt(13 / 17 + 0.001), rel=1e-6)
    assert similarity[0, 2] == pytest.approx(-weight / sqrt(4 / 17 + 0.001), rel=1e-6)
    assert not similarity[1:, 0].any()
    assert (np.diag(similarity) == similarity[0, 1]).all()


def test_residuals_are_those_of_the_definition_basket_by_basket() -> None:
    random = np.random.default_rng(3)
    rows = [(int(d), int(c), int(a)) for d, c, a in zip(*random.integers(0, (900, 25, 5), (300, 3)).T, strict=True)]
    data = data_of_purchases(*rows, assets=5, last_day=900)
    signal = ResidualNextPurchase(l2=3.0, longest_age_days=700, kernel_days=60.0, shrinkage=2.0)

    similarity = signal.fit(data, random_state=7)["similarity"]

    holdings, bought, day = build_baskets(data.first_purchases(entry_days=14), asset_count=5)
    assert (day < 200).any()
    baskets = [
        (day_of_one, held, content / content.sum())
        for day_of_one, held, content in zip(day, holdings.toarray(), bought.toarray(), strict=True)
        if day_of_one >= 200
    ]
    assert len(baskets) > 20
    all_days = sum(shares for _, _, shares in baskets) + 0.5
    gram, target, mean = np.zeros((5, 5)), np.zeros((5, 5)), np.zeros(5)
    for when, held, shares in baskets:
        near = sum(exp(-abs(float(when - other)) / 60.0) * its_shares for other, _, its_shares in baskets)
        expected = (near + 2.0 * all_days / all_days.sum()) * (held == 0)
        expected = expected / expected.sum()
        row, weight = held / sqrt(max(held.sum(), 1)), 0.5 ** ((900 - when) / 400)
        gram += weight * np.outer(row, row)
        target += weight * np.outer(row, shares - expected)
        mean += weight * expected
    solution = np.linalg.inv(gram + 3.0 * np.eye(5)) @ target / np.sqrt(mean / mean.sum() + 0.001)
    off = ~np.eye(5, dtype=np.bool_)
    np.testing.assert_allclose(similarity[off], solution[off], atol=1e-6)


def test_baskets_that_are_all_too_old_say_nothing() -> None:
    data = data_of_purchases(*ENTRY, (0, 0, 0), (30, 0, 1), assets=3, last_day=130)

    fits = [ResidualNextPurchase(longest_age_days=days).fit(data, random_state=7) for days in (100, 99)]

    assert [bool(arrays["similarity"].any()) for arrays in fits] == [True, False]


def test_without_demand_baskets_say_nothing() -> None:
    data = data_of_purchases(*ENTRY, assets=3)

    assert not Basket().fit(data, random_state=7)["similarity"].any()
    assert not ResidualNextPurchase().fit(data, random_state=7)["similarity"].any()
