"""A model for a date is the same whatever happens later: rows after it are moved, deleted, corrupted or added."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.portfolio import PortfolioAsset, PortfolioFigures, measure_portfolio
from shared.artifacts.format import named_arrays
from shared.recommender.configuration import ModelConfiguration, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.model import Model
from shared.recommender.training_data import date_of, day_number, end_of_day
from shared.recommender.training_rows import TrainingRows, build_training_data
from shared.recommender.types import RiskLevel
from tests.unit.recommender.planted import AS_OF, NOW, build_interactions, build_rows, customer_of, isin_of

CUTOFF = AS_OF - timedelta(days=200)
ALL = build_configuration("ease_next_purchase+user_knn")
LIGHTFM = build_configuration("lightfm", changes={"lightfm": {"epochs": 2, "factors": 4}})


@cache
def published() -> TrainingRows:
    clicks = [
        (customer_of(number), isin_of(number % 9), "click", end_of_day(CUTOFF) + timedelta(hours=hours))
        for number, hours in enumerate(range(-400, 400, 20))
    ]
    return build_rows(customers=80, assets=12, interactions=build_interactions(clicks))


@cache
def expected(configuration: ModelConfiguration) -> Model:
    return fit_at_cutoff(published(), configuration)


def fit_at_cutoff(rows: TrainingRows, configuration: ModelConfiguration) -> Model:
    data = build_training_data(rows, now=NOW)
    return fit_model(data.known_at(CUTOFF), configuration, version="v")


def assert_same(model: Model, configuration: ModelConfiguration) -> None:
    same = named_arrays(expected(configuration))
    for name, array in named_arrays(model).items():
        np.testing.assert_array_equal(array, same[name], err_msg=name)


def corrupt(frame: pd.DataFrame, column: str, *, after: float, how: str, seed: int) -> pd.DataFrame:
    """Change only rows whose `column` lies after the limit."""
    random = np.random.default_rng(seed)
    later = frame[column].to_numpy() > after
    changed = frame.copy()
    if how == "delete":
        return changed[~later]
    if how == "delete some":
        return changed[~(later & (random.random(len(changed)) < 0.5))]
    if how == "shuffle":
        return changed.sample(frac=1.0, random_state=seed)
    if how == "double":
        return pd.concat([changed, changed[later]])
    if how == "move":
        span = float(changed[column].max() - after)
        moved = after + np.ceil(random.random(len(changed)) * span)
        changed[column] = pd.Series(
            np.where(later, moved, changed[column]), index=frame.index, dtype=frame[column].dtype
        )
    if how == "corrupt" and "close_price" in changed:
        changed["close_price"] = np.where(later, random.choice([0.0, 1e9, 1e-9, 7.0]), changed["close_price"])
    elif how == "corrupt":
        changed["isin"] = changed["isin"].where(~pd.Series(later), isin_of(1)).astype("category")
    return changed


HOW = st.sampled_from(["delete", "delete some", "shuffle", "double", "move", "corrupt"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(purchases=HOW, prices=HOW, interactions=HOW, seed=st.integers(0, 2**16))
def test_no_row_after_the_cutoff_reaches_a_model(purchases: str, prices: str, interactions: str, seed: int) -> None:
    rows, day = published(), day_number(CUTOFF)
    moment = end_of_day(CUTOFF).timestamp()
    changed = replace(
        rows,
        purchases=corrupt(rows.purchases, "day", after=day, how=purchases, seed=seed),
        close_prices=corrupt(rows.close_prices, "day", after=day, how=prices, seed=seed),
        interactions=corrupt(rows.interactions, "occurred_at", after=moment, how=interactions, seed=seed),
    )

    assert_same(fit_at_cutoff(changed, ALL), ALL)


def portfolio_at_cutoff(close_prices: pd.DataFrame) -> PortfolioFigures:
    """Return the figures of a portfolio of every asset, from the last price of each day."""
    of_assets: dict[str, dict[date, float]] = {isin_of(number): {} for number in range(12)}
    for isin, day, price in zip(*(close_prices[name] for name in ("isin", "day", "close_price")), strict=True):
        of_assets[isin][date_of(int(day))] = float(price)
    assets = [PortfolioAsset(prices=dict(sorted(prices.items()))) for prices in of_assets.values()]
    return measure_portfolio(assets, as_of=CUTOFF, accepted=RiskLevel.INCOME)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(how=HOW.filter(lambda how: how != "shuffle"), seed=st.integers(0, 2**16))
def test_no_price_after_the_cutoff_reaches_the_figures_of_a_portfolio(how: str, seed: int) -> None:
    prices = published().close_prices
    expected = portfolio_at_cutoff(prices)
    assert expected.volatility
    assert portfolio_at_cutoff(corrupt(prices, "day", after=day_number(CUTOFF), how=how, seed=seed)) == expected
    earlier = day_number(CUTOFF - timedelta(days=90))
    assert portfolio_at_cutoff(corrupt(prices, "day", after=earlier, how="corrupt", seed=seed)) != expected


@pytest.mark.lightfm
def test_lightfm_does_not_look_ahead_either() -> None:
    rows, day = published(), day_number(CUTOFF)
    changed = replace(rows, purchases=corrupt(rows.purchases, "day", after=day, how="delete", seed=1))

    assert_same(fit_at_cutoff(changed, LIGHTFM), LIGHTFM)


@pytest.mark.parametrize("table", ["purchases", "close_prices", "interactions"])
def test_rows_before_the_cutoff_do_matter(table: str) -> None:
    """Without this the property above would also hold for a model that reads nothing."""
    frame = getattr(published(), table)
    column = "occurred_at" if table == "interactions" else "day"
    halved = replace(published(), **{table: frame[frame[column] > frame[column].median()]})
    model = fit_at_cutoff(halved, ALL)

    same = named_arrays(expected(ALL))
    changed = {name for name, array in named_arrays(model).items() if not np.array_equal(array, same[name])}
    demand = {"next_purchase/matrix", "next_purchase/intercept", "portfolio_mix/log_shares", "trend/log_shares"}
    assert changed
    assert demand <= changed if table == "purchases" else not demand & changed
