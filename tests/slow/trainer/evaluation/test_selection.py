"""What is chosen on earlier windows and what is told of it: algorithms, weights, the margin, cold assets."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shared.recommender.configuration import ModelConfiguration, build_configuration
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.training_data import TrainingData, day_number
from shared.recommender.training_rows import build_training_data
from shared.recommender.types import Weights
from tests.unit.recommender.planted import AS_OF, build_data, build_purchases, build_rows, customer_of, isin_of
from trainer.evaluation.bootstrap import interval_95, standard_error
from trainer.evaluation.folds import build_folds
from trainer.evaluation.metrics import Metrics, evaluate_lists
from trainer.evaluation.selection import MOST_SELECTION_FOLDS, Evaluation, SelectionRules, evaluate_candidates
from trainer.evaluation.splits import build_split
from trainer.evaluation.weights import Budget, choose_weights

EASE = build_configuration("ease", weights=Weights(0.5, 0.2, 0.3), changes={"item_item": {"l2": 20.0}})
BLIND = replace(EASE, weights=Weights(0, 0, 1))  # by predicted return alone
RULES = SelectionRules(window_days=90, budget_seconds=60.0, choose_weights=True)


def judge(
    data: TrainingData,
    *candidates: ModelConfiguration,
    rules: SelectionRules = RULES,
    champion: ModelConfiguration | None = None,
) -> Evaluation:
    return evaluate_candidates(data, candidates or (EASE,), champion=champion, rules=rules, progress=lambda _: None)


def metrics_of(ndcg: list[float]) -> Metrics:
    split = build_split(build_data(), window_days=90)
    assert split is not None
    nothing = evaluate_lists(
        np.full((len(split.histories), 10), -1), split, asset_risk_level=np.ones(40, dtype=np.int8)
    )
    return replace(nothing, ndcg_at_10=float(np.mean(ndcg)), ndcg_of_customers=np.array(ndcg))


def test_what_is_chosen_does_not_depend_on_the_window_that_is_reported_on() -> None:
    data = build_data()
    judgement = judge(data)
    assert judgement.split is not None
    assert judgement.selection is not None
    assert next(fold.end for fold in judgement.selection.folds) == judgement.split.cutoff
    assert len(judgement.selection.folds) == MOST_SELECTION_FOLDS

    late = data.purchases.day > day_number(judgement.split.cutoff)
    shuffled = data.purchases.asset_index.copy()
    shuffled[late] = np.random.default_rng(1).permutation(shuffled[late])
    other = judge(replace(data, purchases=replace(data.purchases, asset_index=shuffled)))

    assert other.selection is not None
    assert other.selection.to_json() == judgement.selection.to_json()
    assert other.evaluated == judgement.evaluated
    assert other.metrics != judgement.metrics


def test_windows_follow_each_other_and_stop_where_the_data_do() -> None:
    folds = build_folds(build_data(), window_days=90, most=100, enforce_suitability=True)

    assert 4 <= len(folds) < 100
    assert folds[0].split.end == AS_OF
    for later, earlier in itertools.pairwise(folds):
        assert earlier.split.end == later.split.cutoff


def test_without_an_earlier_window_the_latest_one_chooses_too() -> None:
    days = [AS_OF - timedelta(days=day) for day in range(60)]
    old = AS_OF - timedelta(days=200)
    rows = [(customer_of(number), isin_of(number % 7), day) for number, day in enumerate(days)]
    rows += [(customer_of(number), isin_of(8), old) for number in range(60)]

    judgement = judge(build_data(purchases=build_purchases(rows)))

    assert judgement.selection is not None
    assert judgement.split is not None
    assert judgement.selection.folds == (judgement.split,)


def test_the_candidate_named_first_stays_unless_another_is_better() -> None:
    twin = replace(EASE, collaborative=(ItemItem(l2=20.000001),))

    assert judge(build_data(), EASE, twin, rules=replace(RULES, choose_weights=False)).best == EASE
    assert judge(build_data(), BLIND, EASE, rules=replace(RULES, choose_weights=False)).best == EASE


def test_a_spent_budget_leaves_the_first_candidate_with_its_weights_and_says_so() -> None:
    judgement = judge(
        build_data(), BLIND, build_configuration("ease_next_purchase"), rules=replace(RULES, budget_seconds=0)
    )

    assert judgement.best == BLIND
    told = judgement.to_json()
    assert told["selection"]["left_out_for_time"] == ["ease_next_purchase"]
    assert told["weights"]["tried"] == 0
    assert len(told["weights"]["cutoffs"]) == 1


def test_a_budget_is_spent_when_its_time_is_over() -> None:
    now = [10.0]
    budget = Budget(5.0, clock=lambda: now[0])
    assert not budget.is_spent()

    now[0] = 15.0

    assert budget.is_spent()


def test_the_weights_of_the_report_do_not_depend_on_its_window_and_those_that_are_served_do() -> None:
    data = build_data()
    judgement = judge(data, build_configuration("ease_next_purchase"))

    assert judgement.split is not None
    assert judgement.weights is not None
    before = choose_weights(
        judgement.split.training,
        build_configuration("ease_next_purchase"),
        rules=RULES.rolling,
        budget=Budget(60.0),
        figures={},
    )
    assert judgement.evaluated == before.chosen
    assert judgement.best == judgement.weights.chosen
    assert max(judgement.weights.cutoffs) > max(before.cutoffs)
    assert date.fromisoformat(max(before.cutoffs)) <= judgement.split.cutoff - timedelta(days=RULES.rolling.window_days)


def test_the_standard_error_is_that_of_the_mean_and_grows_with_what_differs_between_windows() -> None:
    values = np.random.default_rng(3).normal(0.3, 0.2, 400)

    assert standard_error([values]) == pytest.approx(0.2 / np.sqrt(400), rel=0.15)
    assert standard_error([values, values]) == pytest.approx(0.2 / np.sqrt(800), rel=0.2)
    assert standard_error([values, values + 0.4]) > 0.1
    assert standard_error([np.array([0.5])]) == 0.0


def test_the_interval_holds_the_mean_and_needs_two_values() -> None:
    values = np.random.default_rng(3).normal(0.3, 0.2, 400)

    interval = interval_95(values)

    assert interval is not None
    low, high = interval
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.2 / np.sqrt(400), rel=0.2)
    assert interval_95(np.array([0.3])) is None


def test_the_comparison_with_the_champion_is_pair_by_pair() -> None:
    same = judge(build_data(), champion=EASE, rules=replace(RULES, choose_weights=False))
    other = judge(build_data(), champion=BLIND, rules=replace(RULES, choose_weights=False))

    assert same.standard_error == 0.0
    assert same.to_json()["against_champion"]["ndcg_at_10"] == 0.0
    assert other.standard_error > 0.0
    low, high = other.to_json()["against_champion"]["interval_95"]
    assert low < other.to_json()["against_champion"]["ndcg_at_10"] < high


def test_assets_that_nobody_had_bought_are_judged_by_themselves() -> None:
    rows = build_rows()
    new = isin_of(39)
    cutoff = AS_OF - timedelta(days=90)
    known = rows.purchases[rows.purchases["isin"] != new]
    first = build_purchases([(customer_of(number), new, AS_OF - timedelta(days=5)) for number in range(10)])
    purchases = pd.concat([known.astype(str), first.astype(str)]).astype({"day": np.int32})
    split = build_split(build_training_data(replace(rows, purchases=purchases), now=build_data().now), window_days=90)
    assert split is not None
    assert split.cutoff == cutoff
    assert np.flatnonzero(split.cold_assets).tolist() == [39]
    buyers = [39 in relevant for relevant in split.relevant]
    lists = np.full((len(buyers), 10), -1)
    lists[:, 0] = 0
    lists[0, 1] = lists[buyers.index(True), 1] = 39

    metrics = evaluate_lists(lists, split, asset_risk_level=np.ones(40, dtype=np.int8))

    assert metrics.cold_asset_buyers == sum(buyers) == 10
    found = len({0, buyers.index(True)} & set(np.flatnonzero(buyers).tolist()))
    assert metrics.ndcg_at_10_cold_assets == pytest.approx(found / np.log2(3) / 10)
    assert metrics.cold_asset_share == pytest.approx((lists == 39).sum() / (lists != -1).sum())
