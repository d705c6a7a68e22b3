"""What the gate refuses: what was not evaluated, learned from much less, or was cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd
import pytest

from shared.errors import DatabaseUnavailable
from shared.recommender.training_rows import TrainingRows
from tests.builders import build_model
from tests.unit.recommender.planted import build_purchases
from tests.unit.trainer.evaluation.test_promotion import figures
from tests.unit.trainer.service.job_world import BAD, COVERED, GOOD, World, rows, with_one_price_changed
from tests.unit.trainer.service.trainer_fakes import build_command
from trainer.evaluation.promotion import Margins, decide_promotion, find_shortfalls
from trainer.service.job import TrainingThread
from trainer.service.ports import Outcome, TrainingOrder
from trainer.service.training_rows import digest_rows


def without_most(table: str) -> TrainingRows:
    """Return the rows with less than half of one table left."""
    full = rows()
    if table == "purchases":
        return replace(full, purchases=full.purchases.iloc[: len(full.purchases) // 2 - 1])
    if table == "customers":
        known = {customer.customer_id for customer in full.customers[:99]}
        bought = full.purchases[full.purchases["customer_id"].isin(known)]
        return replace(full, customers=full.customers[:99], purchases=bought)
    return replace(full, assets=full.assets[:14])


@cache
def trained() -> World:
    """A world whose first training is done."""
    world = World()
    world.run("v1")
    return world


def with_champion() -> World:
    """Return a world of its own in which v1 was trained and is served."""
    world, done = World(), trained()
    world.store.rows.update(done.store.rows)
    world.artifacts.models.update(done.artifacts.models)
    world.artifacts.pointer = done.artifacts.pointer
    return world


@pytest.mark.parametrize("table", ["purchases", "customers", "assets"])
def test_a_challenger_that_learned_from_less_than_half_is_stored_with_the_counts(table: str) -> None:
    world = with_champion()
    champion = world.store.rows["v1"].result
    assert champion is not None
    world.store.training_rows = without_most(table)

    outcome = world.run("v2")

    row = world.store.rows["v2"]
    assert (outcome.kind, row.status, world.served()) == ("stored", "stored", "v1")
    assert row.result is not None
    counts = f"from {row.result.watermark[table]} {table}, the served model from {champion.watermark[table]}"
    assert outcome.reason.startswith("learned too little: ")
    assert counts in outcome.reason
    assert "v2" in world.artifacts.models


@pytest.mark.parametrize("damage", ["row is gone", "row cannot be fitted", "row has no watermark"])
def test_the_manifest_says_what_the_champion_learned_from_when_its_row_does_not(damage: str) -> None:
    world = with_champion()
    row = world.store.rows["v1"]
    assert row.result is not None
    changed = {
        "row is gone": None,
        "row cannot be fitted": replace(row, result=replace(row.result, configuration={"algorithm": "of the future"})),
        "row has no watermark": replace(row, result=replace(row.result, watermark={})),
    }[damage]
    if changed is None:
        del world.store.rows["v1"]
    else:
        world.store.rows["v1"] = changed
    world.store.training_rows = without_most("customers")

    outcome = world.run("v2")

    assert outcome.kind == "stored"
    assert "learned too little" in outcome.reason


def test_after_a_load_that_emptied_the_transactions_the_served_model_stays() -> None:
    world = with_champion()
    world.store.training_rows = replace(rows(), purchases=build_purchases([]))

    outcome = world.run("v2")

    assert (outcome.kind, world.served()) == ("stored", "v1")
    assert "from 0 purchases" in outcome.reason


def test_a_challenger_that_could_not_be_evaluated_never_replaces_a_served_model() -> None:
    world = World()
    world.artifacts.publish(build_model(version="stranger"))  # nobody knows what it learned from
    world.store.training_rows = replace(rows(), purchases=build_purchases([]))

    outcome = world.run("v1")

    assert (outcome.kind, world.served()) == ("stored", "stranger")
    assert outcome.reason == "not evaluated: too few purchases for a temporal split; the served model stays"


def test_a_system_without_a_model_gets_one_even_if_it_cannot_be_evaluated_but_never_an_unsafe_one() -> None:
    world = World()
    world.store.training_rows = replace(rows(), purchases=build_purchases([]))
    nothing_tradable = [replace(a, tradable_from=None, tradable_until=None) for a in rows().assets]
    world.store.training_rows = replace(
        world.store.training_rows,
        assets=tuple(nothing_tradable),
        customers=(),
        close_prices=rows().close_prices.iloc[:0],
    )
    assert world.run("v1").reason.startswith("unsafe: no asset is tradable")
    assert world.served() is None

    world.store.training_rows = replace(rows(), purchases=build_purchases([]))
    outcome = world.run("v2")

    assert outcome.kind == "promoted"
    assert outcome.reason.endswith("promoted because no model is served")


@pytest.mark.parametrize(
    ("champion", "shortfalls"),
    [
        (None, []),
        ({}, []),
        ({"customers": None, "purchases": "many", "as_of": "2022-11-29"}, []),
        ({"purchases": 200, "customers": 20, "assets": 10}, []),
        ({"purchases": 201}, ["from 100 purchases, the served model from 201"]),
        (
            {"customers": 21, "assets": 11},
            ["from 10 customers, the served model from 21", "from 5 assets, the served model from 11"],
        ),
    ],
)
def test_exactly_half_is_enough_and_what_is_not_known_is_not_compared(
    champion: Mapping[str, Any] | None, shortfalls: list[str]
) -> None:
    assert find_shortfalls({"purchases": 100, "customers": 10, "assets": 5}, champion) == shortfalls


def test_what_was_learned_from_counts_before_the_figures_and_safety_before_both() -> None:
    gate: dict[str, Any] = {"champion": figures(0.1), "margins": Margins(0.01, 0.005), "shortfalls": ["from 1 asset"]}

    few = decide_promotion(figures(0.9), **gate, problems=[])
    unsafe = decide_promotion(figures(0.9), **gate, problems=["recommends an owned asset"])

    assert (few.promoted, few.reason) == (False, "learned too little: from 1 asset")
    assert unsafe.reason.startswith("unsafe: ")


def test_the_same_data_and_configuration_promote_nothing_and_the_reason_says_so() -> None:
    world = with_champion()

    outcome = world.run("v2")

    assert (outcome.kind, world.served()) == ("stored", "v1")
    assert outcome.reason == "nothing changed: v1 has the same data and configuration"
    assert world.store.offsets == COVERED  # its interactions are covered all the same


def test_a_training_that_changes_nothing_pushes_no_version_out() -> None:
    world = with_champion()
    before = world.artifacts.versions()

    assert world.run("v2").reason.startswith("nothing changed: ")

    assert world.artifacts.versions() == before
    assert world.store.rows["v2"].servable is False


def test_rows_in_another_order_are_the_same_data() -> None:
    world, shuffled = with_champion(), rows()
    world.store.training_rows = replace(
        shuffled,
        assets=shuffled.assets[::-1],
        customers=shuffled.customers[::-1],
        purchases=shuffled.purchases.iloc[::-1].astype({"isin": "category"}),
        close_prices=shuffled.close_prices.sample(frac=1.0, random_state=1),
    )

    assert world.run("v2").reason.startswith("nothing changed: ")


@pytest.mark.parametrize("changed", ["one price", "configuration", "an older row without a digest"])
def test_a_promotion_needs_one_change_of_data_or_configuration(changed: str) -> None:
    world = with_champion()
    if changed == "one price":
        world.store.training_rows = with_one_price_changed()
    elif changed == "configuration":
        world.plan = replace(world.plan, candidates=(replace(GOOD, seed=GOOD.seed + 1),))
    else:
        row = world.store.rows["v1"]
        assert row.result is not None
        watermark = {name: value for name, value in row.result.watermark.items() if name != "data_sha256"}
        world.store.rows["v1"] = replace(row, result=replace(row.result, watermark=watermark))

    outcome = world.run("v2")

    assert (outcome.kind, world.served()) == ("promoted", "v2"), outcome.reason


def test_a_served_model_that_no_worker_can_load_is_replaced_without_any_change() -> None:
    world = with_champion()
    world.artifacts.damaged.add("v1")
    world.registry.reconcile()

    assert world.run("v2").kind == "promoted"


def test_the_order_of_interactions_counts_and_so_do_one_row_twice_and_an_executed_order() -> None:
    interactions = pd.DataFrame(
        {"customer_id": ["C1", "C1"], "isin": ["A", "A"], "interaction_type": ["click", "dismiss"], "occurred_at": 1.0}
    )
    first = replace(rows(), interactions=interactions)
    turned = replace(first, interactions=interactions.iloc[::-1])
    twice = replace(first, purchases=pd.concat([first.purchases, first.purchases.iloc[:1]]))

    ordered = replace(first, recorded_purchases=first.purchases.iloc[:1])

    assert len({digest_rows(each) for each in (first, turned, twice, ordered)}) == 4


def pin(world: World, version: str, *, pinned: bool = True) -> None:
    world.registry.pin(version, pinned=pinned, command=build_command(len(world.store.commands) + 1))


def test_a_pinned_version_is_not_replaced_by_trainings_until_it_is_unpinned() -> None:
    world = with_champion()
    world.store.training_rows = with_one_price_changed()
    pin(world, "v1")

    for version in ("v2", "v3"):
        outcome = world.run(version)
        assert (outcome.kind, world.served()) == ("stored", "v1")
        assert outcome.reason.startswith("v1 is pinned; otherwise promoted: not worse than the champion: ")

    pin(world, "v1", pinned=False)
    assert (world.run("v4").kind, world.served()) == ("promoted", "v4")


def test_a_pin_that_arrives_while_a_training_runs_counts() -> None:
    world = with_champion()
    world.store.training_rows = with_one_price_changed()
    at_step(world, "checking", lambda: pin(world, "v1"))

    assert (world.run("v2").kind, world.served()) == ("stored", "v1")


def test_a_pin_of_a_version_that_is_not_served_stops_no_promotion() -> None:
    world = with_champion()
    world.store.training_rows = with_one_price_changed()
    world.run("v2")
    pin(world, "v1")
    world.store.training_rows = rows()

    assert (world.run("v3").kind, world.served()) == ("promoted", "v3")


def test_an_unsafe_challenger_is_unsafe_whatever_is_pinned() -> None:
    world = with_champion()
    pin(world, "v1")
    world.artifacts.damaged.add("v2")

    assert world.run("v2").reason.startswith("unsafe: ")


def test_a_pinned_version_that_no_worker_can_load_is_replaced() -> None:
    world = with_champion()
    pin(world, "v1")
    world.artifacts.damaged.add("v1")
    world.registry.reconcile()

    assert (world.run("v2").kind, world.served()) == ("promoted", "v2")


def test_an_interrupted_promotion_is_not_completed_over_a_version_that_was_pinned_since() -> None:
    world = with_champion()
    world.store.training_rows = with_one_price_changed()

    def crash() -> None:
        raise KeyError("power cut")

    world.store.after_finish = crash
    world.run("v2")
    assert world.store.rows["v2"].status == "promoted"
    pin(world, "v1")
    world.restart()
    world.registry.reconcile()

    row = world.store.rows["v2"]
    assert (row.status, row.reason, world.served()) == ("stored", "could not be promoted: v1 is pinned", "v1")


def test_a_pinned_version_stays_on_the_volume_and_leaves_room_for_the_others() -> None:
    world = with_champion()
    for number in range(2, 8):
        world.artifacts.save_model(build_model(version=f"v{number}"))
        world.store.rows[f"v{number}"] = replace(trained().store.rows["v1"], version=f"v{number}", active=False)
    for version in ("v2", "v3", "v4", "v5"):
        pin(world, version)
    world.registry.activate("v7")

    assert world.artifacts.versions() == [f"v{number}" for number in range(1, 8)]
    world.store.training_rows = with_one_price_changed()
    world.run("v8")

    assert {"v2", "v3", "v4", "v5"} < set(world.artifacts.versions())
    assert "v1" not in world.artifacts.versions()
    assert len(world.artifacts.versions()) == 4 + 3
    assert world.store.rows["v2"].servable is True
    assert world.store.rows["v1"].servable is False


def at_step(world: World, step: str, action: Callable[[], object]) -> None:
    """Do something when the training says that it comes to this step."""
    store_progress = world.store.store_progress

    def interfere(version: str, progress: str) -> None:
        store_progress(version, progress)
        if progress == step:
            action()

    world.store.store_progress = interfere  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("step", "through"),
    [("reading", "its row"), ("checking", "its row"), ("reading", "its order"), ("checking", "its order")],
)
def test_a_cancelled_training_ends_at_its_next_step_and_its_row_says_so(step: str, through: str) -> None:
    world = World(BAD)
    order = TrainingOrder("v1", "interactions: 3 new", COVERED)
    cancel = {
        "its row": lambda: world.store.cancel_trainings(command=build_command(1), reason="cancelled on request"),
        "its order": order.cancelled.set,
    }[through]
    at_step(world, step, cancel)

    outcome = world.job().run(order)

    row = world.store.rows["v1"]
    assert outcome.kind == "abandoned"
    assert (row.status, row.reason) == ("failed", "cancelled on request")
    assert row.progress == step
    assert world.served() is None
    assert world.store.offsets.keys().isdisjoint(COVERED)


def test_a_training_that_was_cancelled_before_it_began_does_not_begin() -> None:
    world = World()
    world.store.queue_training("v1", command=build_command(1), reason="please")
    world.store.cancel_trainings(command=build_command(2), reason="cancelled on request")

    assert world.run("v1").kind == "abandoned"
    assert world.store.rows["v1"].progress == "queued"


def test_a_failure_is_kept_by_its_class_without_what_a_database_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("A\x00B" + "x" * 9_000)

    world = World()
    monkeypatch.setattr("trainer.service.job.evaluate_candidates", broken)

    world.run("v1")

    reason = world.store.rows["v1"].reason or ""
    assert reason.startswith("ValueError: A\\x00Bxxx")
    assert len(reason) == 2_000


@pytest.mark.parametrize("error", [KeyError("bug"), DatabaseUnavailable(), MemoryError()])
def test_a_training_that_raises_in_spite_of_everything_has_an_outcome(error: Exception) -> None:
    def run(_: TrainingOrder) -> Outcome:
        raise error

    thread = TrainingThread(run)
    thread.start(TrainingOrder("v1", "test", {}))
    thread.join(10)

    outcome = thread.take_outcome()

    assert outcome is not None
    assert (outcome.kind, outcome.reason.partition(":")[0]) == ("failed", type(error).__name__)
    assert not thread.is_busy()
    assert threading.active_count() >= 1


def test_rows_that_were_left_out_are_one_warning_with_their_counts(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.store.training_rows = replace(rows(), ignored={"transactions": 1, "user_interactions": 3})

    world.run("v1")

    (line,) = [line for line in capsys.readouterr().out.splitlines() if "training.rows_ignored" in line]
    assert "transactions" in line
    assert "close_prices" not in line
