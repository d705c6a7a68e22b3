"""What a list does to a portfolio: figures of equal weights up to a date, beside an independent computation."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.portfolio import LEAST_RETURNS, WINDOW_DAYS, PortfolioAsset, PortfolioFigures, measure_portfolio
from shared.recommender.types import RiskLevel
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakeReader
from tests.unit.api.test_recommendations import ITEM, stored_list

AS_OF = date(2022, 11, 29)
SECTORS = st.sampled_from([None, "", "Energy", "Banks", "Utilities"])
LEVELS = st.sampled_from([None, *RiskLevel])
PRICES = st.dictionaries(
    st.integers(-400, 60).map(lambda days: AS_OF + timedelta(days=days)),
    st.floats(0.01, 1000.0),
    max_size=60,
)
ASSETS = st.lists(st.builds(PortfolioAsset, SECTORS, LEVELS, PRICES), max_size=8)


def measure(assets: list[PortfolioAsset], *, as_of: date | None = AS_OF) -> PortfolioFigures:
    return measure_portfolio(assets, as_of=as_of, accepted=RiskLevel.INCOME)


def expected_volatility(assets: list[PortfolioAsset]) -> float | None:
    """Return the same with pandas: a frame of prices, filled forward, and the mean of the returns of each day."""
    frame = pd.DataFrame({number: pd.Series(asset.prices, dtype=float) for number, asset in enumerate(assets)})
    frame.index = pd.to_datetime(frame.index)
    cut = frame.sort_index().loc[str(AS_OF - timedelta(days=WINDOW_DAYS)) : str(AS_OF)]
    cut = cut.loc[:, cut.count() > 1].dropna(how="all").ffill()
    returns = cut.pct_change(fill_method=None).mean(axis=1).dropna()
    return float(returns.std() * 252**0.5) if len(returns) >= LEAST_RETURNS else None


def walk(seed: int, *, days: int = 200, sector: str | None = None, level: RiskLevel | None = None) -> PortfolioAsset:
    steps = np.random.default_rng(seed).normal(0, 0.02, days).cumsum()
    known = {AS_OF - timedelta(days=days - 1 - day): float(np.exp(step)) for day, step in enumerate(steps)}
    return PortfolioAsset(sector, level, known)


@given(ASSETS)
def test_the_volatility_is_that_of_an_independent_computation(assets: list[PortfolioAsset]) -> None:
    expected = expected_volatility(assets) if assets else None
    assert measure(assets).volatility == (None if expected is None else pytest.approx(expected, rel=1e-9))


def test_random_walks_have_a_volatility_and_a_mix_of_them_a_smaller_one() -> None:
    alone = measure([walk(1)]).volatility
    mixed = measure([walk(seed) for seed in range(10)]).volatility
    assert alone is not None
    assert mixed is not None
    assert mixed < 0.6 * alone
    assert alone == pytest.approx(0.02 * 252**0.5, rel=0.2)


@given(ASSETS)
def test_concentration_and_share_above_the_profile_are_counts(assets: list[PortfolioAsset]) -> None:
    figures = measure(assets)
    if not assets:
        assert figures == PortfolioFigures(0)
        return
    shares = pd.Series([asset.sector or f"alone {number}" for number, asset in enumerate(assets)]).value_counts(True)
    above = [asset for asset in assets if asset.risk_level is None or asset.risk_level > RiskLevel.INCOME]
    assert figures.sector_hhi == pytest.approx(float((shares**2).sum()))
    assert figures.share_above_profile == len(above) / len(assets)


@given(ASSETS, st.randoms())
def test_what_is_priced_after_the_date_changes_nothing(assets: list[PortfolioAsset], random: object) -> None:
    later = {AS_OF + timedelta(days=day): 1e9 for day in range(1, 40)}
    assert measure([replace(asset, prices={**asset.prices, **later}) for asset in assets]) == measure(
        [replace(asset, prices={day: one for day, one in asset.prices.items() if day <= AS_OF}) for asset in assets]
    )


def test_prices_up_to_the_date_do_matter() -> None:
    shaken = walk(1)
    assert measure([replace(shaken, prices={**shaken.prices, AS_OF: 9.0})]) != measure([shaken])


def test_without_a_date_or_prices_the_volatility_is_unknown() -> None:
    assert measure([walk(1)], as_of=None) == PortfolioFigures(1, 0, None, 1.0, 1.0)
    assert measure([PortfolioAsset("Energy"), walk(1, days=LEAST_RETURNS)]).volatility is None
    assert measure([PortfolioAsset("Energy"), walk(1, days=LEAST_RETURNS + 1)]).priced == 1


def test_the_route_says_what_the_list_does_to_what_is_held(client: AsgiClient, reader: FakeReader) -> None:
    reader.held = {"X": walk(1, sector="Energy", level=RiskLevel.AGGRESSIVE), "Y": walk(2, sector="Energy")}
    reader.list_facts = replace(reader.list_facts, as_of=AS_OF)
    reader.facts = replace(reader.facts, customer_risk_level=RiskLevel.AGGRESSIVE)
    reader.lists["C1"] = stored_list(ITEM, {**ITEM, "isin": "GRS003003035", "rank": 2})

    answer = client.get("/recommendations/C1/portfolio").json()

    before, after = answer["before"], answer["after"]
    assert (answer["as_of"], answer["model_version"]) == ("2022-11-29", "v7")
    assert (before["assets"], before["priced"], before["sector_hhi"], before["share_above_profile"]) == (2, 2, 1, 0.5)
    assert (after["assets"], after["priced"], after["sector_hhi"], after["share_above_profile"]) == (4, 2, 0.375, 0.75)
    assert before["volatility"] == after["volatility"] > 0


def test_a_customer_without_a_list_has_no_effect_and_an_unknown_one_no_answer(client: AsgiClient) -> None:
    names = ("request_id", "model_version", "as_of", "before", "after")
    assert client.get("/recommendations/C1/portfolio").json() == {"status": "ok", **dict.fromkeys(names)}
    assert client.get("/recommendations/C9/portfolio").status_code == 404
    assert client.get("/recommendations/C1/portfolio?k=3").status_code == 422


def test_a_database_that_is_away_is_a_503(client: AsgiClient, reader: FakeReader) -> None:
    reader.unavailable = True
    assert client.get("/recommendations/C1/portfolio").status_code == 503
