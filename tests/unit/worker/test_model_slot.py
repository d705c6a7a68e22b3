"""The slot keeps the last good model, whatever lies on the volume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from shared.errors import ArtifactInvalid
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend
from tests.builders import build_model
from tests.fakes import FakeArtifacts, FakeClock
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot

OLD, NEW = build_model(seed=1), build_model(seed=2)


class Slot:
    """A slot, its volume and its clock; `look` is what the loop does between batches."""

    def __init__(self) -> None:
        self.artifacts, self.clock, self.registry = FakeArtifacts(), FakeClock(), CollectorRegistry()
        self.slot = ModelSlot(
            self.artifacts,
            poll_seconds=1.0,
            metrics=WorkerMetrics(self.registry),
            clock=self.clock,
        )

    def look(self, *, seconds: float = 1.0) -> bool:
        self.clock.advance(seconds)
        return self.slot.refresh()

    def swaps(self, outcome: str) -> float:
        return self.registry.get_sample_value("recommender_worker_model_swaps_total", {"outcome": outcome}) or 0.0


@pytest.fixture
def serving() -> Slot:
    slot = Slot()
    slot.artifacts.publish(OLD)
    assert slot.look()
    return slot


def test_no_pointer_means_no_model() -> None:
    slot = Slot()
    assert not slot.look()
    assert slot.slot.model is None
    assert slot.swaps("failed") == 0


def test_a_new_pointer_swaps_the_model(serving: Slot) -> None:
    serving.artifacts.publish(NEW)
    assert serving.look()
    assert serving.slot.model is NEW
    assert serving.slot.sequence == 2
    assert serving.registry.get_sample_value("recommender_worker_model_sequence") == 2


def test_a_rollback_brings_the_old_version_back_under_a_higher_sequence(serving: Slot) -> None:
    serving.artifacts.publish(NEW)
    serving.look()
    serving.artifacts.activate(OLD.version)
    assert serving.look()
    assert serving.slot.model is OLD
    assert serving.slot.sequence == 3


def test_the_pointer_is_looked_at_no_more_often_than_told(serving: Slot) -> None:
    serving.artifacts.publish(NEW)
    serving.slot.refresh()
    assert serving.slot.model is OLD
    assert not serving.look(seconds=0.5)
    assert serving.look(seconds=0.5)


@pytest.mark.parametrize("sequence", [0, 1])
def test_a_sequence_that_does_not_grow_is_refused(serving: Slot, sequence: int) -> None:
    pointer = serving.artifacts.publish(NEW)
    serving.artifacts.pointer = replace(pointer, sequence=sequence)
    assert not serving.look()
    assert serving.slot.model is OLD
    assert serving.swaps("failed") == 1


def test_a_damaged_version_is_refused_logged_and_tried_again_with_pauses(serving: Slot, logged: list[Any]) -> None:
    serving.artifacts.damaged.add(NEW.version)
    serving.artifacts.publish(NEW)
    loads = serving.artifacts.loads
    for _ in range(120):
        serving.look()
    assert serving.slot.model is OLD
    tries = serving.artifacts.loads - loads
    assert 5 <= tries <= 9
    refusals = [line for line in logged if line["log_level"] == "error"]
    assert [line["event"] for line in refusals] == ["model.refused"] * tries
    # One kind for the log's RepetitionFilter, which writes it once in 10 s.
    assert {(line["version"], line["reason"]) for line in refusals} == {(NEW.version, refusals[0]["reason"])}
    serving.artifacts.damaged.clear()
    assert any(serving.look() for _ in range(61))
    assert serving.slot.model is NEW


def test_a_good_pointer_after_a_bad_one_is_followed_at_once(serving: Slot) -> None:
    serving.artifacts.damaged.add(NEW.version)
    serving.artifacts.publish(NEW)
    for _ in range(10):
        serving.look()
    serving.artifacts.publish(build_model(seed=3))
    assert serving.look()


def test_a_pointer_that_cannot_be_read_keeps_the_model(serving: Slot, logged: list[Any]) -> None:
    def unreadable() -> Any:
        raise ArtifactInvalid("CURRENT is not JSON")

    serving.artifacts.read_pointer = unreadable  # type: ignore[method-assign]
    for _ in range(5):
        assert not serving.look()
    assert serving.slot.model is OLD
    refusals = [line for line in logged if line["event"] == "model.refused"]
    assert {(line["version"], line["reason"]) for line in refusals} == {(None, "ArtifactInvalid: CURRENT is not JSON")}


def test_a_model_that_recommends_nothing_is_refused(serving: Slot) -> None:
    serving.artifacts.publish(build_model(seed=4, tradable=np.zeros(20, dtype=np.bool_)))
    assert not serving.look()
    assert serving.slot.model is OLD


def test_a_model_whose_scoring_fails_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def scorer(model: Model, histories: Any, **options: Any) -> Any:
        if model.version == NEW.version:
            raise IndexError("a bug that only this model shows")
        return recommend(model, histories, **options)

    monkeypatch.setattr("worker.model_slot.recommend", scorer)
    slot = Slot()
    slot.artifacts.publish(OLD)
    slot.look()
    slot.artifacts.publish(NEW)
    assert not slot.look()
    assert slot.slot.model is OLD


def test_a_model_that_scores_nan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def scorer(model: Model, histories: Any, **options: Any) -> Any:
        rankings = recommend(model, histories, **options)
        return [
            replace(ranking, assets=tuple(asset._replace(score=float("nan")) for asset in ranking.assets))
            for ranking in rankings
        ]

    monkeypatch.setattr("worker.model_slot.recommend", scorer)
    slot = Slot()
    slot.artifacts.publish(OLD)
    assert not slot.look()
    assert slot.slot.model is None
