"""The trainer's loop against a model, under any interleaving of messages, failures, rebalances, kills and trainings.

Every good command has its effect exactly once and in the order of the log. Every other message is a dead letter with
the class of its error. One training waits at most beside one that runs. Nothing ends the loop, nothing waits for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client import REGISTRY
from sqlalchemy.exc import DataError
from structlog.testing import capture_logs

from shared.errors import BrokerUnavailable, ContractViolation, DatabaseUnavailable, StaleOffsets
from shared.events import (
    INTERACTIONS_RECORDED,
    MODELS_COMMANDS,
    Event,
    ModelActivated,
    ModelPinned,
    ModelUnpinned,
    RetrainCancelled,
    RetrainRequested,
    decode,
)
from shared.ports import Message
from tests.builders import build_model
from tests.unit.trainer.service.loop_fakes import command
from tests.unit.trainer.service.trainer_fakes import FakeRow
from tests.unit.trainer.service.trainer_world import World
from trainer.service.commands import new_version
from trainer.service.leadership import Dependencies, reconcile
from trainer.service.model_registry import RegistryBusy
from trainer.service.ports import Outcome

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "200"))
COMMANDS = (MODELS_COMMANDS, 0)
BUGS = (ValueError, KeyError, RecursionError, MemoryError, lambda: DataError("INSERT", {}, Exception("\x00")))
TRANSIENT = (DatabaseUnavailable, BrokerUnavailable, RegistryBusy, StaleOffsets)
ERRORS = st.sampled_from([*BUGS, *TRANSIENT])
UNREADABLE = st.sampled_from([b"", b"[]", b"\xff", b"{}", b'{"event_type": "RetrainRequested", "reason": "\\u0000"}'])
MOST_STEPS = 400  # of 5 s each, until nothing waits


def is_interaction(message: Message) -> bool:
    """Return whether a message keeps the contract of its topic."""
    with suppress(ContractViolation):
        decode(message.topic, message.value, logged_at=message.logged_at)
        return True
    return False


class Faults:
    """Failures of the next calls of ports, and commands that always fail."""

    def __init__(self) -> None:
        self.next: list[tuple[Exception, bool]] = []
        self.poisoned: set[UUID] = set()

    def wrap(self, port: Any) -> Any:
        return FaultyPort(port, self)

    def call(self, operation: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        asked = named.get("command")
        if asked is not None and asked.event_id in self.poisoned:
            raise KeyError("poison \x00")
        error, afterwards = self.next.pop(0) if self.next else (None, False)
        if error is not None and not afterwards:
            raise error
        answer = operation(*arguments, **named)
        if error is not None and getattr(operation, "__name__", "") not in {"poll", "take_outcome"}:
            raise error  # it was done, and the answer was lost
        return answer


class FaultyPort:
    """A port whose calls may fail."""

    def __init__(self, port: Any, faults: Faults) -> None:
        self._port = port
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not callable(value) or name in {"commit", "start"}:  # the one never raises, the other begins nothing twice
            return value
        return lambda *arguments, **named: self._faults.call(value, arguments, named)


class TrainerMachine(RuleBasedStateMachine):
    """What happens to one trainer, and what must become of it."""

    @initialize()
    def begin(self) -> None:
        self.faults = Faults()
        self.world = World(wrap=self.faults.wrap)
        for number in (2, 3):
            self.world.artifacts.save_model(build_model(version=f"v{number}"))
            row = FakeRow(f"v{number}", "x", status="stored", progress="done", sequence=0)
            self.world.store.rows[row.version] = row
        self.sent: dict[UUID, Event] = {}
        self.effects: list[UUID] = []
        self.letters: dict[int, str] = {}
        self.served = "v1"
        self.pinned: set[str] = set()

    # --- messages ---

    def send(self, event: Event, *, poisoned: bool = False) -> None:
        offset = command(self.world.broker, event).offset
        if poisoned:
            self.faults.poisoned.add(event.event_id)
        if event.event_id in self.faults.poisoned:
            self.letters[offset] = "KeyError"
        elif event.event_id not in self.sent:
            self.sent[event.event_id] = event
            self.effects.append(event.event_id)
            if isinstance(event, ModelActivated) and event.version in self.world.artifacts.models:
                self.served = event.version
            if isinstance(event, ModelPinned) and event.version in self.world.artifacts.models:
                self.pinned.add(event.version)
            if isinstance(event, ModelUnpinned):
                self.pinned.discard(event.version)
        elif event.model_dump(exclude={"occurred_at"}) != self.sent[event.event_id].model_dump(exclude={"occurred_at"}):
            self.letters[offset] = "EventIdReused"

    @rule(reason=st.sampled_from(["a", "b"]), poisoned=st.booleans())
    def request(self, reason: str, poisoned: bool) -> None:
        self.send(RetrainRequested(reason=reason), poisoned=poisoned)

    @rule(poisoned=st.booleans())
    def cancel(self, poisoned: bool) -> None:
        self.send(RetrainCancelled(), poisoned=poisoned)

    @rule(version=st.sampled_from(["v1", "v2", "v3", "gone"]))
    def activate(self, version: str) -> None:
        self.send(ModelActivated(version=version))

    @rule(version=st.sampled_from(["v1", "v2", "v3", "gone"]), pinned=st.booleans(), poisoned=st.booleans())
    def pin(self, version: str, pinned: bool, poisoned: bool) -> None:
        self.send(ModelPinned(version=version) if pinned else ModelUnpinned(version=version), poisoned=poisoned)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), changed=st.booleans())
    def repeat(self, data: st.DataObject, changed: bool) -> None:
        event = self.sent[data.draw(st.sampled_from(sorted(self.sent)))]
        other = RetrainRequested(event_id=event.event_id, reason="something else")
        self.send(other if changed else event)

    @rule(value=UNREADABLE)
    def nonsense(self, value: bytes) -> None:
        self.letters[self.world.broker.append(*COMMANDS, key=b"hybrid", value=value).offset] = "ContractViolation"

    @rule(count=st.integers(1, 4))
    def click(self, count: int) -> None:
        self.world.click(count, stored=False)

    @rule(value=UNREADABLE)
    def nonsense_of_a_customer(self, value: bytes) -> None:
        self.world.broker.append(INTERACTIONS_RECORDED, 0, key=b"C", value=value)

    # --- failures ---

    @precondition(lambda self: self.settled())
    @rule(errors=st.lists(ERRORS, min_size=1, max_size=3), afterwards=st.booleans())
    def the_next_calls_fail(self, errors: list[Callable[[], Exception]], afterwards: bool) -> None:
        """Three at most while a message is tried: the fourth bug in a row would make it a dead letter, rightly."""
        self.faults.next = [(make(), afterwards) for make in errors]

    @rule(count=st.integers(1, 30), error=st.sampled_from(TRANSIENT[:3]), afterwards=st.booleans())
    def a_server_is_away(self, count: int, error: Callable[[], Exception], afterwards: bool) -> None:
        if not self.faults.next:
            self.faults.next = [(error(), afterwards)] * count

    @rule(refuses=st.booleans())
    def the_broker_takes_no_announcement(self, refuses: bool) -> None:
        self.world.announcements.broken = refuses

    @rule()
    def rebalance(self) -> None:
        self.world.consumer.assign(self.world.broker.logs.keys())

    @rule(killed=st.booleans())
    def another_process_leads(self, killed: bool) -> None:
        for _ in range(100):
            try:
                self.lead(killed=killed)
            except (*TRANSIENT, ValueError, KeyError, RecursionError, MemoryError, DataError):
                continue
            return
        raise AssertionError("no process ever leads")

    def lead(self, *, killed: bool) -> None:
        world = self.world
        store, artifacts = self.faults.wrap(world.store), self.faults.wrap(world.artifacts)
        if not killed:
            store.abandon_trainings(reason="stopped", retry_version=new_version(), counts=False)
        dependencies = Dependencies(None, store, artifacts, world.registry, lambda: world.consumer)  # type: ignore[arg-type]
        reconcile(dependencies)
        world.restart()

    # --- trainings, and time ---

    @precondition(lambda self: self.world.training.is_busy() and self.world.training.outcome is None)
    @rule()
    def the_training_begins(self) -> None:
        order = self.world.training.orders[-1]
        try:
            self.world.store.start_training(order.version, triggered_by=order.triggered_by)
            self.snapshot = self.world.store.fetch_training_rows()
        except StaleOffsets:
            self.world.training.outcome = Outcome("abandoned", "its row ended", 1.0)

    @precondition(lambda self: self.world.training.is_busy() and self.world.store.running())
    @rule(kind=st.sampled_from(["promoted", "stored", "failed"]))
    def the_training_ends(self, kind: str) -> None:
        if self.world.store.rows[self.world.training.orders[-1].version].status != "training":
            self.world.training.outcome = Outcome("abandoned", "its row ended", 1.0)
        else:
            self.world.end_training(kind, self.snapshot)

    @rule(count=st.integers(1, 3))
    def the_worker_stores_interactions(self, count: int) -> None:
        offsets, ends = self.world.store.worker_offsets, self.world.broker.ends
        for partition in ends.keys() - {COMMANDS}:
            offsets[partition] = min(ends[partition], offsets.get(partition, 0) + count)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 60.0]))
    def step(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        try:
            with capture_logs():
                self.world.loop.step()
        except (ValueError, KeyError, RecursionError, MemoryError, DataError):
            self.another_process_leads(killed=False)  # a bug of the consumer: only another one can go on

    # --- what must hold ---

    def settled(self) -> bool:
        done = self.world.store.offsets.get(COMMANDS, 0) == self.world.broker.ends[COMMANDS]
        return done and not self.faults.next and self.waiting() == 0

    def waiting(self) -> int:
        backlog = self.world.loop.backlog()
        assert backlog is not None
        return backlog.waiting

    def uncovered(self) -> int:
        """Return how many interactions are behind the trainer's stored offsets, by looking into the log."""
        return sum(
            is_interaction(message) and message.offset >= self.world.store.offsets.get(partition, 0)
            for partition, log in self.world.broker.logs.items()
            if partition != COMMANDS
            for message in log
        )

    @invariant()
    def one_training_waits_at_most_beside_one_that_runs(self) -> None:
        assert len(self.world.store.waiting()) <= 1
        assert len(self.world.store.running()) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.faults.next = []
        for _ in range(MOST_STEPS):
            self.step(5.0)
            if self.world.training.is_busy():
                self.the_training_begins()
                if self.world.training.outcome is None:
                    self.the_training_ends("failed")
            elif self.settled() and not self.world.store.waiting():
                break
        assert self.settled()
        assert not self.world.store.waiting()
        assert self.world.store.effects == self.effects
        letters = {
            o: r.partition(":")[0] for (topic, _, o), r in self.world.store.letters.items() if topic == COMMANDS[0]
        }
        assert letters == self.letters
        assert self.world.artifacts.pointer is not None
        assert self.world.artifacts.pointer.version == self.served
        assert {version for version, row in self.world.store.rows.items() if row.pinned} == self.pinned
        self.step(0.1)
        assert REGISTRY.get_sample_value("recommender_trainer_interactions_since_last") == self.uncovered()
        self.every_interaction_is_covered_once_the_worker_has_stored_it()

    def every_interaction_is_covered_once_the_worker_has_stored_it(self) -> None:
        self.world.worker_catches_up()
        for _ in range(MOST_STEPS):
            if not self.uncovered():
                break
            self.step(60.0)
            if self.world.training.is_busy():
                self.the_training_begins()
                self.the_training_ends("promoted")
        assert not self.uncovered()


TestTrainerMachine = TrainerMachine.TestCase
TestTrainerMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
