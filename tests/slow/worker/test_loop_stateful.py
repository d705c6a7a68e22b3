"""The loop against a model: random interleavings of good and bad messages, failures at every port, and rebalances.

Every good message has its effect exactly once and in order, every bad one is a dead letter, and the loop never idles
while work waits. `STATEFUL_EXAMPLES` sets how many examples are run (`make stateful EXAMPLES=50000`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from shared.errors import BrokerUnavailable, DatabaseUnavailable, StaleOffsets
from shared.events import (
    CUSTOMER_TOPICS,
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    TRANSACTIONS_RECORDED,
    TransactionRecorded,
    content_digest,
    decode,
)
from shared.ports import Message, Partition
from shared.recommender.model import Model
from shared.recommender.pipeline import TopAssets
from shared.recommender.types import Contributions, Customer, CustomerHistory, RiskLevel
from tests.builders import build_model, build_top_assets
from tests.fakes import LateExecutor
from tests.unit.worker.world import World
from worker.ports import Decision

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "2000"))
GOOD = ("C0", "C1", "C2", "C3")
NOT_SCORED, NOT_STORED = ("C5", "C6"), ("C7",)  # scoring, or storing, fails like a bug for these customers
MODELS = [build_model(seed=seed, assets=6) for seed in (1, 2, 3)]
ISINS = MODELS[0].id_map.isins
# A bug is retried three times, then its batch is narrowed down; a batch may have to be made once more in between.
MOST_STEPS_WITHOUT_COMMIT = 12
PORTS = (  # of a transaction, but the first and the last
    "begin",
    "lock_offsets",
    "store_offsets",
    "fetch_load_marker",
    "fetch_histories",
    "fetch_fresh_lists",
    "insert_interactions",
    "insert_transactions",
    "insert_decisions",
    "insert_dead_letters",
    "savepoint",
    "fetch_asset_displays",  # of the store: the catalogue asks for an asset that it does not know
)
OTHER_PORTS = ("fetch_snapshots", "fetch_high_watermarks", "poll", "commit", "read_pointer")


class Failures:
    """What fails next: an error of a class at the n-th call of a port."""

    def __init__(self) -> None:
        self.armed: dict[str, list[Exception]] = defaultdict(list)

    def meet(self, port: str) -> None:
        """Raise what is armed for this port."""
        if self.armed[port]:
            raise self.armed[port].pop()

    def wrap(self, owner: Any, port: str) -> None:
        """Let each call of the owner's method meet what is armed first."""
        method = getattr(owner, port)

        def call(*arguments: Any, **options: Any) -> Any:
            self.meet(port)
            return method(*arguments, **options)

        setattr(owner, port, call)

    def disarm(self) -> None:
        """Let nothing fail any more."""
        self.armed.clear()


class FaultyWorld(World):
    """A worker on fakes of which every port may fail, with a scorer that is cheap and has a bug for some customers."""

    def __init__(self) -> None:
        self.failures = Failures()
        self.seen: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.seen_bought: dict[str, list[set[str]]] = defaultdict(list)
        self.used: dict[str, CustomerHistory] = {}  # of each customer, in their last list
        self.stale: list[CustomerHistory] = []  # that a list rests on, and the database knew better
        super().__init__(batch_size=5)
        self.scorer = self._rank
        self.store.broken_for = set(NOT_STORED)
        begin = self.store.begin

        def faulty_begin() -> Any:
            self.failures.meet("begin")
            return FaultyTransaction(begin(), self)

        self.store.begin = faulty_begin  # type: ignore[method-assign]
        for port in ("fetch_snapshots", "fetch_asset_displays"):
            self.failures.wrap(self.store, port)
        self.failures.wrap(self.artifacts, "read_pointer")

    def start(self, *, batch_size: int = 5, **consumer: Any) -> None:
        """Start a worker whose consumer may fail, and whose other thread may be late."""
        self.executor = LateExecutor()
        super().start(batch_size=batch_size, **consumer)
        for port in ("fetch_high_watermarks", "poll", "commit"):
            self.failures.wrap(self.consumer, port)

    def _rank(self, _: Model, histories: Sequence[CustomerHistory], **__: Any) -> TopAssets:
        if any(history.customer.customer_id in NOT_SCORED for history in histories):
            raise ZeroDivisionError("a bug in scoring")
        self.used |= {history.customer.customer_id: history for history in histories}
        for history in histories:
            isins = tuple(interaction.isin for interaction in history.interactions)
            self.seen[history.customer.customer_id].append(isins)
            self.seen_bought[history.customer.customer_id].append({*history.owned, *history.formerly_held})
        top, _silent = build_top_assets([[Contributions(0.5, 0.0, 0.0)]] * len(histories))
        return top


class FaultyTransaction:
    """A transaction whose methods may fail, as a context manager; it notes lists that rest on stale histories."""

    def __init__(self, context: Any, world: FaultyWorld) -> None:
        self._context, self._world = context, world

    def __enter__(self) -> Any:
        transaction = self._context.__enter__()
        fetch_histories, insert_decisions = transaction.fetch_histories, transaction.insert_decisions
        snapshot = self._world.store.tables.reference_snapshot

        def insert(decisions: Sequence[Decision], *, reference_snapshot: str) -> Any:
            new = insert_decisions(decisions, reference_snapshot=reference_snapshot)
            listed = {one.customer_id for one in decisions if one.answered_from == "scored" and one.request_id in new}
            for customer_id, history in fetch_histories(listed).items():
                # A list of older files says so.
                if history != self._world.used[customer_id] and reference_snapshot == snapshot:
                    self._world.stale.append(history)
            return new

        transaction.insert_decisions = insert
        for port in PORTS[1:-1]:
            self._world.failures.wrap(transaction, port)
        return transaction

    def __exit__(self, *details: Any) -> Any:
        return self._context.__exit__(*details)


class LoopMachine(RuleBasedStateMachine):
    """What was acknowledged, and what must become of it."""

    def __init__(self) -> None:
        super().__init__()
        self._logs = capture_logs()
        self._logs.__enter__()
        self.world = FaultyWorld()
        self.clicks: dict[UUID, Message] = {}
        self.orders: dict[UUID, Message] = {}
        # With how many clicks of the customer, and purchases of which assets, came before.
        self.requests: dict[UUID, tuple[Message, int, set[str]]] = {}
        self.bad: dict[tuple[Partition, int], str] = {}  # place -> class of the dead letter
        self.bugs_pass = False
        self.frozen: tuple[Any, Any] | None = None  # the loop and the consumer of a worker that was replaced
        self.spurious_since_commit = (0, 0)

    def teardown(self) -> None:
        self._everything_has_its_effect()
        self._logs.__exit__(None, None, None)

    @initialize(has_model=st.booleans(), bugs_pass=st.booleans())
    def begin(self, has_model: bool, bugs_pass: bool) -> None:
        """An example has bugs of messages, or bugs that pass: the loop cannot tell them apart."""
        self.bugs_pass = bugs_pass
        if has_model:
            self.world.publish_model(MODELS[0])
        self.world.step(2, seconds=1.0)

    # --- messages ---

    @rule(customer_id=st.sampled_from(GOOD), isin=st.sampled_from(ISINS))
    def good_click(self, customer_id: str, isin: str) -> None:
        event_id = uuid4()
        self.clicks[event_id] = self.world.click(customer_id, isin, event_id=event_id)

    @rule(customer_id=st.sampled_from(GOOD), action=st.sampled_from(["request_recs", "refresh_recs"]))
    def good_request(self, customer_id: str, action: str) -> None:
        before = sum(1 for message in self.clicks.values() if message.key == customer_id.encode())
        bought = {order.isin for order in self._orders_of(customer_id) if order.type == "Buy"}
        event = self.world.ask(customer_id, action)
        self.requests[event.event_id] = (self._last(RECOMMENDATIONS_REQUESTED, customer_id), before, bought)

    @rule(
        customer_id=st.sampled_from(GOOD),
        isin=st.sampled_from(ISINS),
        kind=st.sampled_from(["Buy", "Buy", "Sell"]),
        units=st.sampled_from([1.0, 2.0]),
    )
    def good_order(self, customer_id: str, isin: str, kind: str, units: float) -> None:
        event_id = uuid4()
        self.orders[event_id] = self.world.order(customer_id, isin, event_id=event_id, type=kind, units=units)

    @rule(customer_id=st.sampled_from(GOOD), risk_level=st.sampled_from(["Conservative", "Aggressive"]))
    def profile(self, customer_id: str, risk_level: str) -> None:
        self.world.change_customer(customer_id, risk_level=risk_level)

    @rule(customer_id=st.sampled_from(GOOD), isins=st.sets(st.sampled_from(ISINS), max_size=2), level=st.integers(1, 4))
    def a_load(self, customer_id: str, isins: set[str], level: int) -> None:
        customer = Customer(customer_id, RiskLevel(level))
        self.world.load(owned={customer_id: isins}, customers={customer_id: customer})

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), other_id=st.booleans())
    def the_same_order_again(self, data: st.DataObject, other_id: bool) -> None:
        message = data.draw(st.sampled_from(list(self.orders.values())))
        event = self._order(message)
        self.world.broker.publish(
            TRANSACTIONS_RECORDED, event.model_copy(update={"event_id": uuid4()} if other_id else {})
        )

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def another_order_under_the_same_id(self, data: st.DataObject) -> None:
        event = self._order(data.draw(st.sampled_from(list(self.orders.values()))))
        self.world.broker.publish(TRANSACTIONS_RECORDED, event.model_copy(update={"total_value": 1.0}))
        self._note_bad(TRANSACTIONS_RECORDED, event.customer_id, "EventIdReused")

    @precondition(lambda self: not self.bugs_pass)
    @rule(customer_id=st.sampled_from(NOT_SCORED + NOT_STORED))
    def request_with_a_bug(self, customer_id: str) -> None:
        self.world.ask(customer_id)
        self._note_bad(RECOMMENDATIONS_REQUESTED, customer_id, "ZeroDivisionError|ValueError")

    @precondition(lambda self: not self.bugs_pass)
    @rule(customer_id=st.sampled_from(NOT_STORED), isin=st.sampled_from(ISINS))
    def order_with_a_bug(self, customer_id: str, isin: str) -> None:
        self.world.order(customer_id, isin)
        self._note_bad(TRANSACTIONS_RECORDED, customer_id, "ValueError")

    @precondition(lambda self: not self.bugs_pass)
    @rule(customer_id=st.sampled_from(NOT_STORED), isin=st.sampled_from(ISINS))
    def click_with_a_bug(self, customer_id: str, isin: str) -> None:
        self.world.click(customer_id, isin)
        self._note_bad(INTERACTIONS_RECORDED, customer_id, "ValueError")

    @rule(
        topic=st.sampled_from(CUSTOMER_TOPICS),
        number=st.integers(0, 1),
        value=st.sampled_from([None, b"", b"{", b"[1]", b"\xff", b'{"customer_id": "C1"}']),
    )
    def poison(self, topic: str, number: int, value: bytes | None) -> None:
        message = self.world.broker.append(topic, number, key=b"C1", value=value)
        self.bad[(topic, number), message.offset] = "ContractViolation"

    @rule(customer_id=st.sampled_from(GOOD))
    def click_on_an_unknown_asset(self, customer_id: str) -> None:
        self.world.click(customer_id, "XX0000000000")
        self._note_bad(INTERACTIONS_RECORDED, customer_id, "UnknownAsset")

    @rule(customer_id=st.sampled_from(GOOD))
    def order_of_an_unknown_asset(self, customer_id: str) -> None:
        self.world.order(customer_id, "XX0000000000")
        self._note_bad(TRANSACTIONS_RECORDED, customer_id, "UnknownAsset")

    @precondition(lambda self: self.clicks)
    @rule(data=st.data())
    def the_same_click_again(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(list(self.clicks.values())))
        self.world.broker.append(message.topic, message.partition, key=message.key, value=message.value)

    @rule(topic=st.sampled_from(CUSTOMER_TOPICS), number=st.integers(0, 1))
    def a_gap_in_the_log(self, topic: str, number: int) -> None:
        self.world.broker.skip((topic, number))

    # --- faults ---

    @rule(
        port=st.sampled_from([*PORTS, *OTHER_PORTS]),
        kind=st.sampled_from([DatabaseUnavailable, BrokerUnavailable, StaleOffsets]),
        count=st.integers(1, 5),
    )
    def a_port_fails_for_a_while(self, port: str, kind: type[Exception], count: int) -> None:
        self.world.failures.armed[port] += [kind() for _ in range(count)]

    @rule(port=st.sampled_from(OTHER_PORTS), kind=st.sampled_from([KeyError, MemoryError, OSError]))
    def a_port_outside_of_the_batch_has_a_bug(self, port: str, kind: type[Exception]) -> None:
        self.world.failures.armed[port].append(kind("a bug"))

    @precondition(lambda self: self.bugs_pass)
    @rule(port=st.sampled_from(PORTS), kind=st.sampled_from([KeyError, RecursionError, TypeError]))
    def a_bug_that_passes(self, port: str, kind: type[Exception]) -> None:
        """At most three times until the next commit: then it costs no message anything."""
        commits, count = self.spurious_since_commit
        count = count if commits == self.world.loop.commits else 0
        if count < 3:
            self.world.failures.armed[port].append(kind("passes"))
            self.spurious_since_commit = (self.world.loop.commits, count + 1)

    @rule()
    def the_answer_to_a_commit_is_lost(self) -> None:
        self.world.store.lose_next_commit_answer = True

    @rule(partitions=st.sets(st.integers(0, 1)), halves=st.booleans())
    def rebalance(self, partitions: set[int], halves: bool) -> None:
        topics = CUSTOMER_TOPICS[:1] if halves else CUSTOMER_TOPICS
        self.world.consumer.assign({(topic, number) for topic in topics for number in partitions})

    @rule(topic=st.sampled_from(CUSTOMER_TOPICS), number=st.integers(0, 1))
    def a_partition_is_late(self, topic: str, number: int) -> None:
        self.world.broker.delayed ^= {(topic, number)}

    @rule()
    def the_worker_is_killed(self) -> None:
        self.world.start()
        self.spurious_since_commit = (0, 3)

    @precondition(lambda self: not self.bugs_pass)
    @rule()
    def the_worker_is_frozen_and_replaced(self) -> None:
        self.frozen = self.world.loop, self.world.consumer
        self.world.start()

    @precondition(lambda self: self.frozen)
    @rule(count=st.integers(1, 4), seconds=st.sampled_from([0.0, 0.3, 40.0]))
    def the_frozen_worker_goes_on(self, count: int, seconds: float) -> None:
        """It does not know that it was replaced."""
        assert self.frozen is not None
        current = self.world.loop, self.world.consumer
        self.world.loop, self.world.consumer = self.frozen
        self.world.step(count, seconds=seconds)
        self.world.loop, self.world.consumer = current

    @rule()
    def the_other_thread_is_quick(self) -> None:
        assert self.world.executor is not None
        self.world.executor.run()

    @rule(model=st.sampled_from(MODELS), damaged=st.booleans())
    def a_model_is_published(self, model: Model, damaged: bool) -> None:
        if damaged:
            self.world.artifacts.damaged.add(model.version)
        else:
            self.world.artifacts.damaged.discard(model.version)
        self._publish(model)

    def _publish(self, model: Model) -> None:
        artifacts = self.world.artifacts
        if model.version in artifacts.models:
            artifacts.activate(model.version, keep=9)
            self.world.clock.advance(1.0)
        else:
            self.world.publish_model(model)

    @rule(count=st.integers(1, 6), seconds=st.sampled_from([0.0, 0.3, 40.0]))
    def steps(self, count: int, seconds: float) -> None:
        self.world.step(count, seconds=seconds)

    # --- what must hold ---

    @invariant()
    def nothing_good_is_a_dead_letter(self) -> None:
        for place, (_, reason) in self.world.store.tables.dead_letters.items():
            assert place in self.bad, reason
            assert reason.partition(":")[0] in self.bad[place].split("|")

    @invariant()
    def no_list_rests_on_a_history_that_the_database_knew_better(self) -> None:
        assert not self.world.stale

    @invariant()
    def effects_are_in_the_order_of_the_log(self) -> None:
        last: dict[tuple[str, str], int] = defaultdict(lambda: -1)
        for decision in self.world.store.tables.decisions.values():
            assert decision.event_offset > last["request", decision.customer_id]
            last["request", decision.customer_id] = decision.event_offset
        for message, event, _ in self.world.store.tables.interactions.values():
            assert message.offset > last["click", event.customer_id]
            last["click", event.customer_id] = message.offset
        for message, order in self.world.store.tables.transactions.values():
            assert message.offset > last["order", order.customer_id]
            last["order", order.customer_id] = message.offset

    def _everything_has_its_effect(self) -> None:
        """With every fault gone, all that waits is worked off without an idle step."""
        world = self.world
        world.failures.disarm()
        world.store.lose_next_commit_answer = False
        world.broker.delayed.clear()
        world.artifacts.damaged.clear()
        self._publish(MODELS[0])
        world.consumer.assign(world.broker.logs)
        world.step(2, seconds=61.0)
        idle = 0
        while not self._is_done():
            commits = world.loop.commits
            world.step(seconds=61.0)
            idle = idle + 1 if world.loop.commits == commits else 0
            assert idle <= MOST_STEPS_WITHOUT_COMMIT, "the loop idles while work waits"
        tables = world.store.tables
        assert tables.interactions.keys() == self.clicks.keys()
        assert tables.decisions.keys() == self.requests.keys()
        contents = [content_digest(order) for _, order in tables.transactions.values()]
        assert sorted(contents) == sorted(content_digest(self._order(message)) for message in self.orders.values())
        assert tables.dead_letters.keys() == self.bad.keys()
        assert world.loop.unready_reason() is None
        self.effects_are_in_the_order_of_the_log()
        self._every_request_saw_the_clicks_and_orders_before_it()

    def _is_done(self) -> bool:
        """Whether every message of the log is covered by a stored offset."""
        offsets = self.world.store.tables.offsets
        return all(
            offsets.get(partition, 0) > log[-1].offset for partition, log in self.world.broker.logs.items() if log
        )

    def _every_request_saw_the_clicks_and_orders_before_it(self) -> None:
        """A customer's scored histories only grow, and the last one has every write before the last scored request."""
        scored: dict[str, tuple[int, set[str]]] = {}
        for event_id, (message, clicks, bought) in self.requests.items():
            if self.world.store.tables.decisions[event_id].answered_from == "scored":
                scored[(message.key or b"").decode()] = clicks, bought
        for customer_id, (clicks, bought) in scored.items():
            assert max(len(isins) for isins in self.world.seen[customer_id]) >= clicks
            assert any(bought <= seen for seen in self.world.seen_bought[customer_id])

    def _order(self, message: Message) -> TransactionRecorded:
        event = decode(message.topic, message.value)
        assert isinstance(event, TransactionRecorded)
        return event

    def _orders_of(self, customer_id: str) -> list[TransactionRecorded]:
        every = (self._order(message) for message in self.orders.values())
        return [order for order in every if order.customer_id == customer_id]

    def _note_bad(self, topic: str, customer_id: str, kinds: str) -> None:
        message = self._last(topic, customer_id)
        self.bad[(topic, message.partition), message.offset] = kinds

    def _last(self, topic: str, customer_id: str) -> Message:
        return self.world.broker.logs[topic, self.world.broker.partition_of(customer_id)][-1]


LoopMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEveryMessageHasItsEffectOnceWhateverFails = LoopMachine.TestCase
