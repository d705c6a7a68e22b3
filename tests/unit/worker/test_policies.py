"""The worker serves by its policy: prices of the model's date decide, and lists of another policy answer nothing."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.recommender.policy.rules import Policy
from shared.recommender.types import RiskLevel
from tests.builders import build_customer
from tests.fakes import FakeClock
from tests.unit.recommender.policy.policies import BASE, MISSING, policy_with
from tests.unit.worker.world import World
from worker.catalogue import MARKET_SECONDS, Catalogue
from worker.ports import Decision
from worker.settings import WorkerSettings


def serve(world: World, policy: Policy | None) -> None:
    """Restart the worker with this policy."""
    world.start(policy=policy)
    if world.model.version not in world.artifacts.models:
        world.publish_model()


def answer(world: World, **fields: str) -> Decision:
    """Return the decision of a request of customer C1."""
    event = world.ask("C1", **fields)
    world.settle()
    return world.decision(event)


def test_classes_follow_prices_known_at_the_date_of_the_model() -> None:
    world = World()
    world.store.tables.customers["C1"] = build_customer("C1", RiskLevel.BALANCED)
    model = world.model
    isins = [isin for isin, tradable in zip(model.id_map.isins, model.tradable, strict=True) if tradable]
    for isin in isins[:3]:
        for days in (5, 10):
            world.price(isin, priced_on=model.as_of - timedelta(days=days))
    world.price(isins[3], priced_on=model.as_of)
    for days in (1, 2):  # after the date of the model: not known at it
        world.price(isins[4], priced_on=model.as_of + timedelta(days=days))
    world.settle()
    serve(world, policy_with(BASE + MISSING))
    assert {item.isin for item in answer(world).answer.items} == set(isins[:3])


def test_a_customer_for_whom_nothing_is_suitable_gets_an_empty_list_that_says_so() -> None:
    world = World()
    world.store.tables.customers["C1"] = build_customer("C1", None)
    serve(world, policy_with(not_available='"nothing"'))
    given = answer(world).answer
    assert (len(given.items), given.basis) == (0, "nothing_suitable")


def test_a_list_of_another_policy_answers_no_request() -> None:
    world = World()
    policy = policy_with()
    serve(world, policy)
    first, second = (answer(world, action="request_recs") for _ in range(2))
    assert [first.answered_from, second.answered_from] == ["scored", "stored"]
    serve(world, policy_with(version="4"))
    third = answer(world, action="request_recs")
    assert third.answered_from == "scored"
    assert first.answer.policy_digest == policy.digest[:16] != third.answer.policy_digest


def test_prices_of_the_policy_are_read_again_a_minute_after_new_ones() -> None:
    clock, world = FakeClock(), World()
    catalogue = Catalogue(world.store, policy=policy_with(), clock=clock)
    as_of = date(2022, 11, 29)

    def views() -> None:
        for _ in range(3):
            clock.advance(1.0)
            catalogue.refresh()
            catalogue.view(world.model.id_map, as_of=as_of)

    views()
    assert world.store.market_reads == 1
    world.price(world.model.id_map.isins[0], priced_on=as_of)
    world.settle()
    views()
    assert world.store.market_reads == 1
    clock.advance(MARKET_SECONDS)
    views()
    assert world.store.market_reads == 2


def test_a_setting_that_names_no_policy_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(BASE + "[unknown]\n")
    needed = {"kafka_bootstrap_servers": "k:9092", "database_url": "postgresql://d", "models_dir": "m"}
    for value, reason in ((broken, "unknown is no key"), (tmp_path / "none.toml", "cannot be read")):
        monkeypatch.setenv("POLICY_FILE", str(value))
        with pytest.raises(ValidationError, match=reason):
            WorkerSettings(**needed)  # type: ignore[arg-type]
    monkeypatch.setenv("POLICY_FILE", "cautious")
    assert WorkerSettings(**needed).policy().name == "cautious"  # type: ignore[arg-type]
    monkeypatch.delenv("POLICY_FILE")
    assert WorkerSettings(**needed).policy().name == "default"  # type: ignore[arg-type]
