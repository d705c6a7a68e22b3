"""Weights that are chosen on earlier cutoffs: which cutoffs, what is compared, when the default stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import numpy as np
import pytest

from shared.recommender.alternatives import recommend_alternatives
from shared.recommender.configuration import ModelConfiguration, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.pipeline import recommend_indices
from shared.recommender.training_data import TrainingData, day_number, take_rows
from shared.recommender.types import Weights
from tests.unit.recommender.planted import build_data
from trainer.evaluation.rolling import Cutoff, RollingRules, rolling_cutoffs
from trainer.evaluation.weights import (
    MOST_FIGURES,
    PROFITABILITY_SHARES,
    Budget,
    Figures,
    WeightChoice,
    choose_weights,
    describe_weights,
    find_best,
    measure,
    profitability_costs,
    weight_alternatives,
    with_profitability_share,
)

RULES = RollingRules(most_cutoffs=6, most_customers=60)
HYBRID = build_configuration("ease_next_purchase")


def choose(data: TrainingData, *, figures: Figures | None = None, rules: RollingRules = RULES) -> WeightChoice:
    return choose_weights(data, HYBRID, rules=rules, budget=Budget(600.0), figures={} if figures is None else figures)


def test_cutoffs_are_days_of_a_fixed_calendar_whose_window_has_ended() -> None:
    data = build_data()
    days = [cutoff.day for cutoff in rolling_cutoffs(data, rules=RULES, tradable=None, enforce_suitability=True)]
    shorter = data.known_at(data.as_of - timedelta(days=3))
    same = [cutoff.day for cutoff in rolling_cutoffs(shorter, rules=RULES, tradable=None, enforce_suitability=True)]

    assert len(days) == RULES.most_cutoffs
    assert all(day % RULES.step_days == 0 for day in days)
    assert max(days) + RULES.window_days <= data.last_day
    assert set(same[:-1]) <= set(days) or days == same


def test_a_cutoff_holds_no_later_row_and_every_relevant_asset_is_bought_in_its_window() -> None:
    data = build_data()

    for cutoff in rolling_cutoffs(data, rules=RULES, tradable=None, enforce_suitability=True):
        assert cutoff.training.purchases.day.max() <= cutoff.day
        assert cutoff.training.close_prices.day.max() <= cutoff.day
        end = cutoff.day + RULES.window_days
        window = (data.purchases.day > cutoff.day) & (data.purchases.day <= end)
        bought = set(zip(data.purchases.customer_index[window], data.purchases.asset_index[window], strict=True))
        positions = {customer.customer_id: index for index, customer in enumerate(data.customers)}
        for history, relevant in zip(cutoff.histories, cutoff.relevant, strict=True):
            assert history.owned
            assert not relevant & set(data.id_map.known_indices(history.owned))
            assert all((positions[history.customer.customer_id], asset) in bought for asset in relevant)


def test_purchases_after_the_newest_window_change_no_choice() -> None:
    data = build_data()
    first = choose(data)
    late = data.purchases.day > day_number(date.fromisoformat(first.cutoffs[0])) + RULES.window_days
    other = replace(data.purchases, asset_index=np.where(late, 0, data.purchases.asset_index).astype(np.int32))

    assert late.sum() > 5
    assert choose(replace(data, purchases=other)).to_json() == first.to_json()


def test_an_alternative_needs_a_gain_above_its_standard_error() -> None:
    rules, equal = RollingRules(window_days=28), np.full(4, 0.25)
    default, noisy, better = np.full(4, 0.4), np.array([0.5, 0.3, 0.5, 0.31]), np.array([0.41, 0.42, 0.41, 0.42])

    position, gain, error = find_best(np.stack([default, noisy, better], axis=1), equal, rules)
    _, noise, noise_error = find_best(np.stack([default, noisy], axis=1), equal, rules)

    assert position == 2
    assert gain == pytest.approx(0.015)
    assert error == pytest.approx(0.005 / np.sqrt(4))
    assert gain > error
    assert noise < noise_error


def test_windows_that_overlap_count_as_fewer() -> None:
    values, equal = np.random.default_rng(1).normal(0.01, 0.01, (12, 1)), np.full(12, 1 / 12)
    apart, overlapping = RollingRules(step_days=84), RollingRules(step_days=28)

    assert overlapping.standard_error(values, equal) == pytest.approx(np.sqrt(3) * apart.standard_error(values, equal))


def test_cutoffs_at_which_profitability_changes_nothing_prove_nothing() -> None:
    rules, days = RollingRules(), [28 * number for number in range(12, 0, -1)]
    effective = np.tile([0.4, 0.399, 0.39], (6, 1))
    silent = np.full((6, 3), 0.4)

    both = profitability_costs(np.concatenate([effective, silent]), days, rules)
    alone = profitability_costs(effective, days[:6], rules)
    too_few = profitability_costs(np.concatenate([effective[:5], silent]), days[:11], rules)

    assert both == pytest.approx(alone) == [0.0, pytest.approx(0.001), pytest.approx(0.01)]
    assert too_few == [0.0, np.inf, np.inf]


def test_newer_cutoffs_count_more() -> None:
    weights = RollingRules(half_life_days=180.0).weigh([1000, 820, 640])

    assert weights == pytest.approx(np.array([4, 2, 1]) / 7)


def test_alternatives_differ_in_weights_alone_and_the_default_is_the_first() -> None:
    alternatives = weight_alternatives(HYBRID)

    assert alternatives[0] == HYBRID
    assert len(set(alternatives)) == len(alternatives) == 18
    assert len(weight_alternatives(build_configuration("ease"))) == 2

    def without_weights(configuration: ModelConfiguration) -> ModelConfiguration:
        signals = tuple(replace(signal, weight=1.0) for signal in configuration.collaborative)
        return replace(configuration, collaborative=signals, weights=Weights(1, 1, 1))

    assert {without_weights(one) for one in alternatives} == {without_weights(HYBRID)}


def test_a_share_of_profitability_leaves_the_proportion_of_the_others() -> None:
    weights = with_profitability_share(HYBRID, 0.2).weights

    assert weights.profitability == 0.2
    assert weights.collaborative / weights.content == pytest.approx(9.0)
    assert sum(vars(weights).values()) == pytest.approx(1.0)


def test_alternatives_get_the_lists_of_a_model_with_their_weights() -> None:
    data = build_data()
    model, histories = fit_model(data, HYBRID, version="v1"), data.histories()[:150]
    alternatives = [*weight_alternatives(HYBRID), with_profitability_share(HYBRID, 0.5)]

    lists = recommend_alternatives(model, histories, configurations=alternatives, now=data.now)

    for configuration, found in zip(alternatives, lists, strict=True):
        served = replace(model, configuration=configuration)
        np.testing.assert_array_equal(found, recommend_indices(served, histories, now=data.now))


def test_the_largest_share_of_profitability_that_costs_next_to_nothing_is_taken() -> None:
    choice = choose(build_data())

    assert choice.profitability_cost is not None
    assert list(choice.profitability_cost) == list(PROFITABILITY_SHARES)
    cheap = [share for share, cost in choice.profitability_cost.items() if cost <= 0.002]
    assert choice.chosen.weights.profitability == max(cheap)


def test_what_was_measured_is_not_measured_again_unless_the_data_have_changed() -> None:
    data, figures = build_data(), dict[tuple[str, str], float]()
    first = choose(data, figures=figures)
    measured = dict(figures)

    second = choose(build_data(), figures=figures)
    assert figures == measured
    assert second.to_json() == first.to_json()

    changed = replace(data, purchases=replace(data.purchases, asset_index=data.purchases.asset_index[::-1].copy()))
    choose(changed, figures=figures)
    assert len(figures) > len(measured)


def test_a_spent_budget_stops_at_the_first_cutoff_that_is_not_measured_yet() -> None:
    data, figures = build_data(), dict[tuple[str, str], float]()
    spent = partial(choose_weights, data, HYBRID, budget=Budget(0.0), figures=figures)

    assert len(spent(rules=RULES).cutoffs) == 1
    choose(data, figures=figures)
    assert len(spent(rules=RULES).cutoffs) == RULES.most_cutoffs
    assert len(spent(rules=replace(RULES, most_cutoffs=9)).cutoffs) == RULES.most_cutoffs


def test_only_the_newest_figures_are_kept() -> None:
    figures: Figures = {("old", str(number)): 0.1 for number in range(MOST_FIGURES)}
    [cutoff, *_] = rolling_cutoffs(build_data(), rules=RULES, tradable=None, enforce_suitability=True)

    measure(cutoff, [HYBRID], figures)

    assert len(figures) == MOST_FIGURES
    assert ("old", "0") not in figures
    assert list(figures)[-1][0] == cutoff.fingerprint


def with_figures(patch: pytest.MonkeyPatch, figure: Callable[[bool, ModelConfiguration], float]) -> None:
    """Let a cutoff have these figures; neighbouring cutoffs are even and odd."""

    def evaluate(cutoff: Cutoff, configurations: Sequence[ModelConfiguration]) -> list[float]:
        return [figure(cutoff.day // RULES.step_days % 2 == 1, one) for one in configurations]

    patch.setattr(Cutoff, "evaluate", evaluate)


def test_weights_stay_when_every_gain_is_within_its_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    default = with_profitability_share(HYBRID, 0.0)

    def noisy(is_odd: bool, configuration: ModelConfiguration) -> float:
        if configuration == default or configuration.weights.profitability:
            return 0.4
        return 0.42 if is_odd else 0.385

    with_figures(monkeypatch, noisy)
    choice = choose(build_data())

    assert choice.best != default
    assert 0 < choice.gain < choice.standard_error
    assert choice.chosen == default


def test_a_share_of_profitability_whose_cost_is_not_sure_to_be_small_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def costly(is_odd: bool, configuration: ModelConfiguration) -> float:
        if configuration.weights.profitability < 0.03:
            return 0.4
        return 0.395 if is_odd else 0.404  # a mean loss of 0.0005

    with_figures(monkeypatch, costly)
    choice = choose(build_data())

    assert choice.chosen.weights.profitability == 0.025


def test_a_share_of_profitability_that_changes_nothing_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with_figures(monkeypatch, lambda *_: 0.4)

    assert choose(build_data()).chosen.weights.profitability == 0.0


def newest_cutoff(data: TrainingData, rules: RollingRules = RULES) -> Cutoff:
    return next(rolling_cutoffs(data, rules=rules, tradable=None, enforce_suitability=True))


def test_a_cutoff_has_a_sample_of_many_customers_and_none_without_a_history() -> None:
    data = build_data()
    cutoff = newest_cutoff(data, replace(RULES, most_customers=10_000))
    buyer = cutoff.histories[0].customer
    is_early = (data.purchases.customer_index == data.customers.index(buyer)) & (data.purchases.day <= cutoff.day)
    cold = newest_cutoff(
        replace(data, purchases=take_rows(data.purchases, ~is_early)), replace(RULES, most_customers=10_000)
    )

    assert len(newest_cutoff(data, replace(RULES, most_customers=40)).histories) == 40 < len(cutoff.histories)
    assert buyer not in [history.customer for history in cold.histories]
    assert len(cold.histories) == len(cutoff.histories) - 1


def test_the_fingerprint_of_a_cutoff_knows_its_prices() -> None:
    data = build_data()
    other = replace(data, close_prices=replace(data.close_prices, close=data.close_prices.close * 2))

    assert newest_cutoff(other).fingerprint != newest_cutoff(data).fingerprint


def test_a_cutoff_keeps_nothing_that_was_derived_for_a_fit() -> None:
    [cutoff, *_] = rolling_cutoffs(build_data(), rules=RULES, tradable=None, enforce_suitability=True)
    rows = {name: value for name, value in vars(cutoff.training).items() if name != "_derived"}

    cutoff.evaluate([HYBRID])

    assert vars(cutoff.training) == {**rows, "_derived": {}}


def test_with_too_few_cutoffs_the_weights_stay_as_they_are() -> None:
    choice = choose(build_data(), rules=replace(RULES, most_cutoffs=2))

    assert choice.chosen == HYBRID
    assert choice.to_json()["tried"] == 0
    assert describe_weights(HYBRID)["components"]["collaborative"] == 0.9
