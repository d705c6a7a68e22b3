"""Failpoints: obeyed once, by one process, and reached by the code that they name.

The worker's are reached in every campaign, the trainer's in `tests/e2e/test_hot_swap_faults.py`; both check it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts.publication import FileArtifacts
from shared.events import RECOMMENDATIONS_REQUESTED, RecommendationRequested
from shared.kafka.producer import KafkaEventPublisher
from tests.builders import build_model
from tests.chaos.failpoints import CAMPAIGN, FAILPOINTS, ArmedFailpoints, ReachedFailpoints, set_failpoints

PUBLICATION = [
    "artifact.not_begun",
    "artifact.leftovers_removed",
    "artifact.file_written",
    "artifact.manifest_written",
    "artifact.temporary_written",
    "artifact.version_renamed",
    "artifact.version_published",
    "artifact.pointer_written",
    "artifact.pointer_replaced",
    "artifact.pointer_published",
    "artifact.version_half_removed",
    "artifact.versions_pruned",
]


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the process would have sent to itself."""
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    return sent


def test_an_armed_failpoint_is_obeyed_once(tmp_path: Path, signals: list[int]) -> None:
    armed, reached = ArmedFailpoints(tmp_path), ReachedFailpoints(tmp_path)
    armed.arm("worker.before_commit", "kill")
    assert armed.met_by("worker.before_commit") is None

    for _ in range(3):
        reached.reach("worker.before_commit")

    assert signals == [signal.SIGKILL]
    assert armed.met_by("worker.before_commit") == os.getpid()


def test_a_failpoint_that_is_not_armed_or_no_longer_is_passed(tmp_path: Path, signals: list[int]) -> None:
    armed, reached = ArmedFailpoints(tmp_path), ReachedFailpoints(tmp_path)
    armed.arm("worker.before_commit", "stop")
    armed.disarm("worker.before_commit")
    reached.reach("worker.before_commit")
    reached.reach("worker.after_commit")
    assert not signals
    assert armed.reached() == ["worker.after_commit", "worker.before_commit"]


def test_only_failpoints_that_exist_can_be_armed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        ArmedFailpoints(tmp_path).arm("worker.nowhere", "kill")


def test_a_publication_reaches_every_failpoint_of_an_artifact_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []
    store, model = FileArtifacts(tmp_path / "models"), build_model(assets=20)
    for version in ("20250101T000000Z-00000001", "20250101T000000Z-00000002"):
        store.save_model(replace(model, version=version))
        store.activate(version)
    set_failpoints(PUBLICATION, reached.append, put=monkeypatch.setattr)

    store.save_model(model)
    store.activate(model.version, keep=2)

    assert reached == PUBLICATION


def test_a_call_reaches_the_failpoints_before_and_after_the_brokers_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached: list[str] = []
    own = [name for name in CAMPAIGN if FAILPOINTS[name].service == "api"]
    set_failpoints(own, reached.append, put=monkeypatch.setattr)
    event = RecommendationRequested(customer_id="C1", action="refresh_recs")

    def make_producer(_: object, *, logger: object) -> AcknowledgingProducer:
        return AcknowledgingProducer(reached.append)

    async def publish() -> None:
        publisher = KafkaEventPublisher({"delivery.timeout.ms": 1000}, make_producer=make_producer)
        await publisher.start()
        await publisher.publish(RECOMMENDATIONS_REQUESTED, key="C1", event=event)
        await publisher.close(timeout_seconds=1.0)

    asyncio.run(publish())
    assert reached == ["api.before_publish", "acknowledged", "api.after_acknowledgement"]


class AcknowledgingProducer:
    """A Kafka producer whose broker has every message at the next poll."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._reports: list[Callable[..., None]] = []

    def produce(self, *_: object, on_delivery: Callable[..., None]) -> None:
        self._reports.append(on_delivery)

    def poll(self, _: float) -> None:
        while self._reports:
            self._note("acknowledged")
            self._reports.pop(0)(None, None)

    def __len__(self) -> int:
        return len(self._reports)


@pytest.mark.parametrize("name", FAILPOINTS)
def test_a_failpoint_wraps_a_function_that_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner: Any = FAILPOINTS[name].owner
    original = getattr(owner, FAILPOINTS[name].function)
    set_failpoints([name], lambda _: None, put=monkeypatch.setattr)

    assert getattr(owner, FAILPOINTS[name].function).__wrapped__ is original
    assert not FAILPOINTS[name].function.startswith("_")
