"""One training from its trigger to the pointer: the decision, and a stop at any step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shared.artifacts.publication import FileArtifacts
from shared.errors import DatabaseUnavailable
from shared.recommender.configuration import build_configuration
from shared.recommender.training_rows import TrainingRows
from tests.builders import build_model
from tests.unit.recommender.planted import build_prices, build_purchases, build_rows
from tests.unit.trainer.service.job_world import BAD, COVERED, GOOD, World, rows
from tests.unit.trainer.service.trainer_fakes import FakeRow, build_command
from trainer.evaluation.rolling import RollingRules
from worker.model_slot import smoke_test

FEW_CUTOFFS = RollingRules(most_cutoffs=3, most_customers=40, least_customers=10)


@cache
def trained() -> FakeRow:
    """A finished row of the good configuration, and its figures."""
    world = World()
    world.run("v1")
    return world.store.rows["v1"]


def test_a_first_model_is_promoted_with_everything_that_is_known_about_it() -> None:
    world = World()

    outcome = world.run("v1")

    row = world.store.rows["v1"]
    assert outcome.kind == "promoted"
    assert world.served() == "v1"
    assert (row.status, row.active, row.sequence, row.progress) == ("promoted", True, 1, "done")
    assert row.result is not None
    assert row.result.metrics["ndcg_at_10"] > 0.1
    assert row.result.metrics["selection"]["candidates"]["ease"]["ndcg_at_10"] > 0.1
    assert row.result.watermark["interaction_offsets"] == {"0": 7}
    assert row.result.configuration == GOOD.to_json()
    metadata = world.artifacts.models["v1"].metadata
    assert {**metadata["metrics"], "signals": metadata["signals"]} == row.result.metrics
    assert world.store.offsets == COVERED


def test_a_worse_challenger_is_kept_but_not_promoted_with_the_reason() -> None:
    world = World()
    world.run("v1")
    world.plan = replace(world.plan, candidates=(BAD,))

    outcome = world.run("v2")

    row = world.store.rows["v2"]
    assert outcome.kind == "stored"
    assert row.status == "stored"
    assert "worse than the champion" in (row.reason or "")
    assert world.served() == "v1"
    assert "v2" in world.artifacts.models
    assert world.store.offsets == COVERED
    assert row.result is not None
    assert row.result.champion_metrics is not None
    assert row.result.champion_metrics["ndcg_at_10"] == trained().result.metrics["ndcg_at_10"]  # type: ignore[union-attr]


@pytest.mark.lightfm
def test_the_best_candidate_by_ndcg_is_the_challenger() -> None:
    world = World(build_configuration("lightfm", weights=BAD.weights, changes={"lightfm": {"epochs": 1}}), GOOD)

    world.run("v1")

    result = world.store.rows["v1"].result
    assert result is not None
    assert result.algorithm == "ease"
    assert result.metrics["selection"]["candidates"].keys() == {"ease", "lightfm"}


def test_an_unsuitable_list_is_never_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    save = world.artifacts.save_model

    def save_tampered(model: Any) -> str:
        return save(replace(model, asset_risk_level=np.ones(len(model.id_map), dtype=np.int8)))

    monkeypatch.setattr(world.artifacts, "save_model", save_tampered)
    outcome = world.run("v1")

    assert outcome.kind == "stored"
    assert "recommends an unsuitable asset" in outcome.reason
    assert world.served() is None
    assert world.store.rows["v1"].status == "stored"


def test_an_artifact_that_does_not_load_is_not_promoted() -> None:
    world = World()
    world.artifacts.damaged.add("v1")

    outcome = world.run("v1")

    assert outcome.kind == "stored"
    assert "does not load" in outcome.reason
    assert world.served() is None


def test_without_purchases_a_model_of_content_and_profitability_is_promoted_unevaluated() -> None:
    world = World()
    world.store.training_rows = replace(rows(), purchases=build_purchases([]))

    outcome = world.run("v1")

    assert outcome.kind == "promoted"
    assert outcome.reason.startswith("not evaluated")
    model = world.artifacts.models["v1"]
    assert not model.signals["item_item"]["similarity"].any()
    assert not model.signals["segment_prior"]["popularity"].any()
    assert model.signals["content"]["similarity"].any()
    assert world.store.rows["v1"].result.metrics["evaluated"] is False  # type: ignore[union-attr]


def test_without_prices_a_model_is_evaluated_and_promoted() -> None:
    world = World()
    world.store.training_rows = replace(rows(), close_prices=build_prices([]))

    outcome = world.run("v1")

    assert (outcome.kind, world.served()) == ("promoted", "v1")
    assert world.artifacts.models["v1"].silent_components == {"profitability"}
    curve = world.store.rows["v1"].result.metrics["frontier"]  # type: ignore[union-attr]
    assert {point["roi_above_market"] for point in curve["points"]} == {None}


def one_day(bank: TrainingRows) -> TrainingRows:
    day = bank.purchases["day"].max()
    last = bank.close_prices[bank.close_prices["day"] == day]
    return replace(bank, purchases=bank.purchases.assign(day=day), close_prices=last)


def extreme_prices(bank: TrainingRows) -> TrainingRows:
    values = np.random.default_rng(1).choice([1e308, 5e-324, 1.0, np.inf, np.nan, 0.0, -1.0], len(bank.close_prices))
    return replace(bank, close_prices=bank.close_prices.assign(close_price=values))


ODD_BANKS: dict[str, Callable[[], TrainingRows]] = {
    "one asset": lambda: build_rows(customers=80, assets=1),
    "two assets": lambda: build_rows(customers=80, assets=2),
    "one customer": lambda: build_rows(customers=1, assets=12),
    "one sector": lambda: replace(rows(), assets=tuple(replace(asset, sector="Energy") for asset in rows().assets)),
    "one day": lambda: one_day(rows()),
    "each day three times": lambda: replace(rows(), close_prices=pd.concat([rows().close_prices] * 3)),
    "extreme prices": lambda: extreme_prices(rows()),
}


@pytest.mark.parametrize("bank", ODD_BANKS.values(), ids=ODD_BANKS)
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_an_odd_bank_gets_a_model(bank: Callable[[], TrainingRows]) -> None:
    world = World(build_configuration("ease_next_purchase"))
    world.plan = replace(world.plan, selection=replace(world.plan.selection, choose_weights=True, rolling=FEW_CUTOFFS))
    world.store.training_rows = bank()

    outcome = world.run("v1")

    assert (outcome.kind, world.served()) == ("promoted", "v1")
    smoke_test(world.artifacts.models["v1"])


def test_a_version_activated_by_hand_meanwhile_stays() -> None:
    world = World()
    world.run("v1")
    world.artifacts.save_model(build_model(version="by-hand"))
    store_progress = world.store.store_progress

    def interfere(version: str, progress: str) -> None:
        store_progress(version, progress)
        if progress == "checking":
            world.registry.activate("by-hand")

    world.store.store_progress = interfere  # type: ignore[method-assign]
    outcome = world.run("v2")

    assert outcome.kind == "stored"
    assert "activated by hand" in outcome.reason
    assert world.served() == "by-hand"


def test_a_served_model_that_nobody_knows_how_to_fit_is_no_champion() -> None:
    world = World()
    world.artifacts.publish(build_model(version="stranger"))

    outcome = world.run("v1")

    assert outcome.kind == "promoted"
    assert "no champion" in outcome.reason
    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.sequence == 2


def test_a_served_version_that_no_worker_can_load_is_no_champion_and_is_replaced() -> None:
    world = World()
    world.run("v1")
    world.artifacts.damaged.add("v1")  # as a version of an older format is
    world.restart()
    world.registry.reconcile()
    assert world.registry.servable() is None
    assert world.registry.current() is not None
    world.plan = replace(world.plan, candidates=(BAD,))

    outcome = world.run("v2")

    assert outcome.kind == "promoted"
    assert "no champion" in outcome.reason
    assert world.served() == "v2"
    assert world.registry.servable() == world.artifacts.pointer


@pytest.mark.parametrize("changes", [{"cold_start": {"signal": "of the future"}}, {"weights": {}}, {"more": 1}])
def test_a_champion_that_cannot_be_fitted_here_does_not_stop_training(changes: dict[str, Any]) -> None:
    world = World()
    world.run("v1")
    row = world.store.rows["v1"]
    assert row.result is not None
    unusable = replace(row.result, configuration={**row.result.configuration, **changes})
    world.store.rows["v1"] = replace(row, result=unusable)

    outcome = world.run("v2")

    assert outcome.kind == "promoted"
    assert "no champion" in outcome.reason


@pytest.mark.parametrize("failures", [1, 3])
def test_a_database_that_is_away_for_a_while_costs_only_time(failures: int) -> None:
    world = World()
    world.store.fail = failures

    assert world.run("v1").kind == "promoted"


def test_a_commit_whose_answer_was_lost_is_repeated_without_harm() -> None:
    world = World()
    answers = iter([DatabaseUnavailable(), None])

    def lose_the_answer() -> None:
        error = next(answers)
        if error:
            raise error

    world.store.after_finish = lose_the_answer
    assert world.run("v1").kind == "promoted"
    assert world.artifacts.pointer is not None
    assert world.artifacts.pointer.sequence == 1


def test_a_training_that_another_trainer_has_taken_over_publishes_nothing() -> None:
    world = World()
    store_progress = world.store.store_progress

    def overtaken(version: str, progress: str) -> None:
        store_progress(version, progress)
        if progress == "checking":
            world.store.abandon_trainings(reason="somebody else", retry_version="x", counts=True)

    world.store.store_progress = overtaken  # type: ignore[method-assign]
    outcome = world.run("v1")

    assert outcome.kind == "abandoned"
    assert world.served() is None
    assert world.store.rows["v1"].status == "failed"


@pytest.mark.parametrize(
    "last_step", ["reading", "splitting by time", "evaluating ease", "fitting ease", "saving", "checking"]
)
def test_a_stop_at_any_step_publishes_nothing_and_leaves_a_row_that_is_reconcile(last_step: str) -> None:
    world = World()
    store_progress = world.store.store_progress

    def stop_there(version: str, progress: str) -> None:
        store_progress(version, progress)
        if progress == last_step:
            world.stop.set()

    world.store.store_progress = stop_there  # type: ignore[method-assign]
    world.store.queue_training("v1", command=build_command(1), reason="please")
    outcome = world.run("v1")

    assert outcome.kind == "abandoned"
    assert world.served() is None
    assert COVERED.keys().isdisjoint(world.store.offsets)
    world.store.abandon_trainings(reason="stopped", retry_version="v2", counts=False)
    assert world.store.rows["v1"].status == "failed"
    assert world.store.rows["v2"].seen().request_reason == "please"


def test_a_bug_fails_the_training_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of no use")

    world = World()
    monkeypatch.setattr("trainer.service.job.evaluate_candidates", broken)

    outcome = world.run("v1")

    assert (outcome.kind, outcome.reason) == ("failed", "ZeroDivisionError: of no use")
    assert world.store.rows["v1"].status == "failed"
    assert world.store.offsets == {}


def test_a_served_version_without_signature_counts_as_no_model_once_there_is_a_key_and_a_training_mends_it(
    tmp_path: Path,
) -> None:
    unsigned = FileArtifacts(tmp_path)
    unsigned.save_model(build_model(version="v0"))
    unsigned.activate("v0")
    world = World()
    world.artifacts = signed = FileArtifacts(tmp_path, signing_keys=(b"key",))  # type: ignore[assignment]
    world.restart()

    world.registry.reconcile()
    assert world.registry.servable() is None

    assert world.run("v1").kind == "promoted"
    pointer = world.registry.servable()
    assert pointer is not None
    assert signed.load_model(pointer).version == "v1"
