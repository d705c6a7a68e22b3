"""Named points: met once, by one process, and production code still has every place that they wrap."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts.publication import FileArtifacts
from tests.builders import build_model
from tests.chaos import failpoints as sabotage
from tests.chaos import guards
from tests.chaos.points import POINTS, ArmedPoints, pass_point


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the process would have sent to itself."""
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    return sent


@pytest.fixture
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is wrapped be as it was after the test."""
    monkeypatch.setattr(sabotage, "put", monkeypatch.setattr)
    monkeypatch.setattr(guards, "put", monkeypatch.setattr)


def test_an_armed_point_is_met_once(tmp_path: Path, signals: list[int]) -> None:
    points = ArmedPoints(tmp_path)
    points.arm("worker.before_commit", "kill")
    assert points.met_by("worker.before_commit") is None

    for _ in range(3):
        pass_point(tmp_path, "worker.before_commit")

    assert signals == [signal.SIGKILL]
    assert points.met_by("worker.before_commit") == os.getpid()


def test_a_point_that_is_not_armed_or_no_longer_is_passed(tmp_path: Path, signals: list[int]) -> None:
    points = ArmedPoints(tmp_path)
    points.arm("worker.before_commit", "stop")
    points.disarm("worker.before_commit")
    pass_point(tmp_path, "worker.before_commit")
    pass_point(tmp_path, "worker.after_commit")
    assert not signals


def test_only_points_that_exist_can_be_armed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no point"):
        ArmedPoints(tmp_path).arm("worker.nowhere", "kill")


@pytest.mark.usefixtures("unpatched")
def test_a_publication_passes_every_point_of_an_artifact_in_order(tmp_path: Path) -> None:
    met: list[str] = []
    sabotage.set_trainer_points(met.append)
    store = FileArtifacts(tmp_path / "models")
    model = build_model(assets=20)

    store.save_model(model)
    store.activate(model.version)

    wanted = [point for point in POINTS if point.startswith("artifact.") and point != "artifact.training_recorded"]
    assert list(dict.fromkeys(met)) == wanted


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize("place", [sabotage.set_worker_points, sabotage.set_api_points, *guards.TAKE_OUT.values()])
def test_what_is_wrapped_or_taken_out_exists(place: Any) -> None:
    place() if place in guards.TAKE_OUT.values() else place(lambda _: None)
