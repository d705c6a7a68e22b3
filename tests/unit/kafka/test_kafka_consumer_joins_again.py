"""A frozen broker: a client that gets no assignment again is replaced, and an error is not logged each time."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from shared.kafka import consumer as kafka_consumer
from tests.builders import written
from tests.unit.kafka.test_kafka_consumer import REQUESTS, Polled, Rig, ScriptedConsumer, Stored, poll, rig, topics

__all__ = ["rig", "topics"]  # the fixtures


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kafka_consumer, "time", clock)
    return clock


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[ScriptedConsumer]:
    """The clients that were closed; one that is closed gives its partitions back, as librdkafka does."""
    closed: list[ScriptedConsumer] = []

    def close(consumer: ScriptedConsumer) -> None:
        consumer.revoking()()
        closed.append(consumer)

    monkeypatch.setattr(ScriptedConsumer, "close", close, raising=False)
    return closed


def test_a_client_that_lost_its_partitions_and_gets_none_is_replaced(
    rig: Rig, clock: Clock, closed: list[ScriptedConsumer]
) -> None:
    consumer, forgotten = rig(Stored({REQUESTS: 5}))
    forgotten.script += [forgotten.granting(REQUESTS), None, forgotten.revoking()]
    poll(consumer), poll(consumer)
    clock.now += 19.0
    poll(consumer)
    assert rig.clients == [forgotten]

    clock.now += 2.0
    poll(consumer)
    [_, successor] = rig.clients
    successor.script += [successor.granting(REQUESTS), None, Polled(REQUESTS, 5)]
    poll(consumer)
    generation = consumer.generation
    forgotten.revoking()()  # late, from the thread that closes it
    assert consumer.generation == generation
    assert poll(consumer) == [5]


def test_a_member_without_partitions_and_one_that_has_some_stay(rig: Rig, clock: Clock) -> None:
    for partitions in ((), (REQUESTS,)):
        consumer, client = rig(Stored({REQUESTS: 5}))
        client.script += [client.granting(*partitions)]
        poll(consumer)
        clock.now += 1000.0
        poll(consumer)
        assert rig.clients[-1] is client


def test_an_error_whose_text_changes_is_one_log_line_and_another_error_is_another(rig: Rig) -> None:
    _, client = rig(Stored({}))
    with capture_logs() as logs:
        for number in range(5):
            client.config["error_cb"](KafkaError(KafkaError._TRANSPORT, f"{number} identical errors suppressed"))
        client.config["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))

    assert [line["error"] for line in written(logs)] == ["_TRANSPORT", "_ALL_BROKERS_DOWN"]
