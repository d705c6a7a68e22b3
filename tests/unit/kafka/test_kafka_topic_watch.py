"""Topics are looked at again and again, without waiting: another one of that name, and partitions that nobody reads."""

from __future__ import annotations

from contextlib import suppress

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, KafkaError

from shared.errors import OffsetOutOfRange, TopicReplaced
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS, RECOMMENDATIONS_REQUESTED
from shared.kafka.consumed_topics import UNASSIGNED_SECONDS, TopicWatch
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.metadata import Topic
from shared.ports import Message
from tests.fakes import FakeClock
from tests.unit.kafka.test_kafka_consumer import (
    CLICKS,
    REQUESTS,
    Polled,
    Rig,
    ScriptedConsumer,
    Stored,
    Topics,
    poll,
    rig,
    topics,
)

__all__ = ["rig", "topics"]  # the fixtures
INTERVAL_SECONDS = 30.0
RECREATED = Topic("another id", 2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watch(topics: Topics, clock: FakeClock) -> TopicWatch:
    return TopicWatch(topics, topics=topics.topics, interval_seconds=INTERVAL_SECONDS, clock=clock)


def look(watch: TopicWatch, clock: FakeClock, *, after_seconds: float = INTERVAL_SECONDS) -> str | None:
    """Let time pass, ask and take the answer."""
    clock.advance(after_seconds)
    watch.check()
    watch.check()
    return watch.problem


def test_topics_are_looked_at_once_in_an_interval_and_never_waited_for(
    watch: TopicWatch, topics: Topics, clock: FakeClock
) -> None:
    assert watch.check() is None
    assert topics.queries == 0
    clock.advance(INTERVAL_SECONDS)
    topics.slow = True
    for _ in range(5):
        assert watch.check() is None
    assert topics.queries == 1
    topics.slow = False
    assert watch.check() is not None
    assert watch.check() is None
    assert topics.queries == 1
    watch.query_now()
    watch.check()
    assert topics.queries == 2


def test_a_broker_that_does_not_answer_is_asked_again_and_changes_nothing(
    watch: TopicWatch, topics: Topics, clock: FakeClock
) -> None:
    topics.topics[REQUESTS[0]] = Topic("id", 4)
    problem = look(watch, clock)
    assert problem is not None
    topics.failing = True
    assert look(watch, clock) == problem
    topics.failing = False
    topics.topics[CLICKS[0]] = Topic("id", 4)
    assert look(watch, clock) is None


def test_customer_topics_with_different_numbers_of_partitions_are_a_problem(
    watch: TopicWatch, topics: Topics, clock: FakeClock
) -> None:
    assert look(watch, clock) is None
    topics.topics[REQUESTS[0]] = Topic("id", 4)
    assert look(watch, clock) == (
        "the customer topics differ in their number of partitions:"
        f" {{'{RECOMMENDATIONS_REQUESTED}': 4, '{INTERACTIONS_RECORDED}': 2}}"
    )


def test_a_topic_of_another_kind_may_have_its_own_number(topics: Topics, clock: FakeClock) -> None:
    topics.topics = {INTERACTIONS_RECORDED: Topic("id", 12), MODELS_COMMANDS: Topic("id", 1)}
    watch = TopicWatch(topics, topics=topics.topics, interval_seconds=INTERVAL_SECONDS, clock=clock)
    assert look(watch, clock) is None


def test_a_topic_that_is_gone_is_a_problem(watch: TopicWatch, topics: Topics, clock: FakeClock) -> None:
    del topics.topics[CLICKS[0]]
    assert look(watch, clock) == f"topics do not exist: {INTERACTIONS_RECORDED}"


def raise_partitions(topics: Topics, count: int) -> None:
    for name in topics.topics:
        topics.topics[name] = Topic(f"id of {name}", count)


def test_partitions_that_are_added_and_not_assigned_within_a_minute_are_a_problem(
    watch: TopicWatch, topics: Topics, clock: FakeClock
) -> None:
    watch.note_assignment(topics.topics)
    raise_partitions(topics, 3)
    assert look(watch, clock) is None
    assert look(watch, clock, after_seconds=UNASSIGNED_SECONDS - 1) is None
    assert look(watch, clock, after_seconds=INTERVAL_SECONDS) == (
        "partitions were added and are not assigned to any consumer:"
        f" {{'{INTERACTIONS_RECORDED}': [2], '{RECOMMENDATIONS_REQUESTED}': [2]}}"
    )
    watch.note_assignment(topics.topics)
    assert look(watch, clock) is None


def test_partitions_that_are_assigned_soon_are_none(watch: TopicWatch, topics: Topics, clock: FakeClock) -> None:
    for count in range(2, 8):
        watch.note_assignment(topics.topics)
        raise_partitions(topics, count)
        assert look(watch, clock) is None
    watch.note_assignment(topics.topics)
    assert look(watch, clock, after_seconds=10 * UNASSIGNED_SECONDS) is None


def test_before_the_first_assignment_nothing_is_missing(watch: TopicWatch, topics: Topics, clock: FakeClock) -> None:
    for _ in range(5):
        assert look(watch, clock) is None


def consuming(rig: Rig, stored: Stored, topics: Topics) -> tuple[KafkaEventConsumer, ScriptedConsumer]:
    """Return a consumer that reads one partition of each topic."""
    consumer, script = rig(stored)
    script.script += [script.granting(REQUESTS, CLICKS), None]
    poll(consumer)
    return consumer, script


def test_a_topic_that_was_recreated_is_told_once_and_the_other_one_goes_on(rig: Rig, topics: Topics) -> None:
    stored = Stored({REQUESTS: 5, CLICKS: 3})
    consumer, script = consuming(rig, stored, topics)
    noted = dict(stored.noted)
    assert noted == {REQUESTS: f"id of {REQUESTS[0]}", CLICKS: f"id of {CLICKS[0]}"}
    topics.topics[REQUESTS[0]] = RECREATED
    alarms = 0
    for offset in range(3, 8):
        script.script += [Polled(CLICKS, offset)]
        try:
            poll(consumer)
        except TopicReplaced:
            alarms += 1
    assert alarms == 1
    assert consumer.position(CLICKS) > 3
    assert consumer.out_of_range() == consumer.replaced() == {REQUESTS}
    assert stored.noted == noted  # what is stored from here on is of the old topic still
    assert script.assigned.keys() == {CLICKS}


def test_the_stored_id_of_another_topic_is_an_alarm_whatever_the_offset(rig: Rig, topics: Topics) -> None:
    consumer, script = rig(Stored({REQUESTS: 5, CLICKS: 3}, topic_id=f"id of {CLICKS[0]}"))
    script.script += [script.granting(REQUESTS, CLICKS), None]
    poll(consumer)
    with pytest.raises(TopicReplaced, match=r"recommendations\.requested\.v1\[0\]: the topic was recreated"):
        poll(consumer)
    assert script.assigned == {CLICKS: 3}
    assert consumer.replaced() == {REQUESTS}
    consumer.rewind()
    with pytest.raises(TopicReplaced):
        poll(consumer)
    consumer.seek(REQUESTS, 0)
    assert script.assigned == {CLICKS: 3, REQUESTS: 0}
    assert consumer.out_of_range() == frozenset()


def test_an_alarm_does_not_outlive_the_assignment(rig: Rig, topics: Topics) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}, topic_id="old"))
    script.script += [script.granting(REQUESTS), script.revoking(), None]
    poll(consumer)
    assert poll(consumer) == []
    assert consumer.out_of_range() == frozenset()


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, True),
        (KafkaError.UNKNOWN_TOPIC_ID, True),
        (KafkaError._AUTO_OFFSET_RESET, True),
        (KafkaError._TRANSPORT, False),
    ],
)
def test_an_error_that_another_topic_may_explain_lets_the_consumer_look_at_once(
    rig: Rig, topics: Topics, code: int, asks: bool
) -> None:
    consumer, script = rig(Stored({REQUESTS: 5, CLICKS: 3}), check_topics_seconds=1000.0)
    script.script += [script.granting(REQUESTS, CLICKS), None, Polled(CLICKS, 3, code)]
    poll(consumer)
    with suppress(OffsetOutOfRange):
        poll(consumer)
    assert topics.queries == 0
    poll(consumer)
    assert topics.queries == int(asks)


@pytest.mark.parametrize(
    ("time", "year"),
    [
        ((TIMESTAMP_LOG_APPEND_TIME, 1_700_000_000_000), 2023),
        ((TIMESTAMP_CREATE_TIME, 1_700_000_000_000), None),
        ((TIMESTAMP_NOT_AVAILABLE, 0), None),
        ((TIMESTAMP_LOG_APPEND_TIME, 2**62), None),
        ((TIMESTAMP_LOG_APPEND_TIME, -(2**62)), None),
    ],
)
def test_only_the_brokers_own_time_is_the_logs(rig: Rig, time: tuple[int, int], year: int | None) -> None:
    consumer, script = rig(Stored({REQUESTS: 5}))
    polled = Polled(REQUESTS, 5)
    polled.time = time
    script.script += [script.granting(REQUESTS), None, polled]
    poll(consumer)
    [message] = consumer.poll(max_messages=10, timeout_seconds=0.0)
    assert isinstance(message, Message)
    assert (message.logged_at.year if message.logged_at else None) == year


def test_a_member_without_partitions_sees_that_some_were_added_until_the_next_assignment(
    rig: Rig, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.consumed_topics.UNASSIGNED_SECONDS", 0.0)
    consumer, script = rig(Stored({}))
    script.script += [script.granting(), None]
    poll(consumer)
    assert consumer.problem() is None
    raise_partitions(topics, 3)
    for _ in range(3):
        poll(consumer)
    assert (consumer.problem() or "").startswith("partitions were added and are not assigned")
    script.script += [script.revoking(), script.granting(), None]
    for _ in range(4):
        poll(consumer)
    assert consumer.problem() is None
