"""The chosen weights and the curve of a date are the same whatever rows after it say: deleted, moved, corrupted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.training_data import TrainingData, date_of, day_number, end_of_day
from shared.recommender.training_rows import TrainingRows, build_training_data
from tests.slow.recommender.test_look_ahead import HOW, corrupt
from tests.unit.recommender.planted import (
    AS_OF,
    NOW,
    build_interactions,
    build_purchases,
    build_rows,
    customer_of,
    isin_of,
)
from trainer.evaluation.frontier import frontier_to_json, measure_frontier
from trainer.evaluation.rolling import RollingRules, rolling_cutoffs
from trainer.evaluation.splits import TemporalSplit, build_split
from trainer.evaluation.weights import Budget, choose_weights

LAST = AS_OF - timedelta(days=100)
WINDOW = LAST - timedelta(days=90)
RULES = RollingRules(most_cutoffs=3, most_customers=40, least_customers=10)
HYBRID = build_configuration("item_item+trend+popularity")
FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def published() -> TrainingRows:
    clicks = [
        (customer_of(number), isin_of(number % 9), "click", end_of_day(LAST) + timedelta(days=days))
        for number, days in enumerate(range(-400, 90, 10))
    ]
    rows = build_rows(customers=300, assets=14, interactions=build_interactions(clicks))
    # One asset appears in the last weeks before the cutoff, so that some customers explore; another one after it.
    first = {12: LAST - timedelta(days=20), 13: LAST + timedelta(days=20)}
    assets = tuple(
        replace(asset, tradable_from=first.get(number, asset.tradable_from)) for number, asset in enumerate(rows.assets)
    )
    late = {isin_of(number): day_number(day) for number, day in first.items()}
    purchases, prices = (
        frame[frame["day"] >= frame["isin"].astype(str).map(late).fillna(0).astype(int)]
        for frame in (rows.purchases, rows.close_prices)
    )
    unbought = purchases["isin"].astype(str) != isin_of(12)
    # A purchase on each date: without one, the newest purchase before it would decide which prices are known.
    dates = build_purchases([(customer_of(1), isin_of(0), day) for day in (WINDOW, LAST)])
    text = {"customer_id": "category", "isin": "category"}
    return replace(
        rows,
        assets=assets,
        purchases=pd.concat([purchases[unbought].astype(str), dates.astype(str)], ignore_index=True)
        .astype({"day": np.int32})
        .astype(text),
        close_prices=prices.reset_index(drop=True),
    )


def data_at(rows: TrainingRows, cutoff: Any) -> TrainingData:
    return build_training_data(rows, now=NOW).known_at(cutoff)


def changed(after: Any, hows: tuple[str, str, str], seed: int) -> TrainingRows:
    rows, day = published(), day_number(after)
    purchases, prices, interactions = hows
    return replace(
        rows,
        purchases=corrupt(rows.purchases, "day", after=day, how=purchases, seed=seed),
        close_prices=corrupt(rows.close_prices, "day", after=day, how=prices, seed=seed),
        interactions=corrupt(
            rows.interactions, "occurred_at", after=end_of_day(after).timestamp(), how=interactions, seed=seed
        ),
    )


def choice_of(rows: TrainingRows) -> tuple[dict[str, Any], list[float]]:
    figures: dict[tuple[str, str], float] = {}
    choice = choose_weights(data_at(rows, LAST), HYBRID, rules=RULES, budget=Budget(600.0), figures=figures)
    return choice.to_json(), list(figures.values())  # the fingerprints of cutoffs know the order of the log


@cache
def expected_choice() -> tuple[dict[str, Any], list[float]]:
    return choice_of(published())


@FEW
@given(hows=st.tuples(HOW, HOW, HOW), seed=st.integers(0, 2**16))
def test_no_row_after_the_last_day_reaches_the_choice_or_its_figures(hows: tuple[str, str, str], seed: int) -> None:
    choice, figures = choice_of(changed(LAST, hows, seed))

    assert len(choice["cutoffs"]) == RULES.most_cutoffs
    assert (choice, figures) == expected_choice()


@cache
def split() -> TemporalSplit:
    found = build_split(data_at(published(), LAST), window_days=90)
    assert found is not None
    assert found.cutoff == WINDOW
    return found


def curve(training: TrainingData) -> dict[str, Any]:
    model = fit_model(training, HYBRID, version="v")
    assert model.new.tolist() == [False] * 14
    return frontier_to_json(measure_frontier(model, replace(split(), training=training)))


@cache
def expected_curve() -> dict[str, Any]:
    return curve(split().training)


@FEW
@given(hows=st.tuples(HOW, HOW, HOW), seed=st.integers(0, 2**16))
def test_no_row_after_the_cutoff_reaches_the_lists_of_the_curve(hows: tuple[str, str, str], seed: int) -> None:
    assert curve(data_at(changed(WINDOW, hows, seed), WINDOW)) == expected_curve()


@FEW
@given(hows=st.tuples(HOW, HOW, HOW), seed=st.integers(0, 2**16))
def test_no_row_after_the_end_of_the_window_reaches_the_figures_of_the_curve(
    hows: tuple[str, str, str], seed: int
) -> None:
    found = build_split(data_at(changed(LAST, hows, seed), LAST), window_days=90)

    assert found is not None
    assert (found.cutoff, found.relevant) == (split().cutoff, split().relevant)
    np.testing.assert_array_equal(found.monthly_returns, split().monthly_returns)
    assert curve(found.training) == expected_curve()


def test_rows_of_the_windows_do_matter() -> None:
    """Without this the properties above would also hold for a choice that reads nothing."""
    newest, *_ = expected_choice()[0]["cutoffs"]
    [cutoff, *_] = rolling_cutoffs(data_at(published(), LAST), rules=RULES, tradable=None, enforce_suitability=True)
    assert date_of(cutoff.day).isoformat() == newest
    before, at_cutoff = LAST - timedelta(days=150), ("delete", "delete", "delete")

    assert choice_of(changed(before, at_cutoff, 1)) != expected_choice()
    assert curve(data_at(changed(before, at_cutoff, 1), before)) != expected_curve()


def test_an_asset_is_new_at_the_dates_after_it_appears_and_at_no_earlier_one() -> None:
    rows = published()
    days = {12: LAST - timedelta(days=20), 13: LAST + timedelta(days=20)}
    for asset, first in days.items():
        models = [
            fit_model(data_at(rows, first + timedelta(days=days)), HYBRID, version="v") for days in (-1, 0, 29, 30)
        ]
        found = [bool(model.new[asset]) for model in models]
        owned = [bool(model.bought[asset]) for model in models]
        assert not found[0]
        assert found[1:] == [not owned[1], not owned[2], False]
