"""The EventConsumer on a topic that was deleted and created again, or that belongs to another installation."""

from __future__ import annotations

from contextlib import closing

import pytest
from confluent_kafka import Producer

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.kafka.client_settings import ConsumerSettings, producer_settings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.topics import create_topics
from tests.integration.ports.broker_world import (
    CLICKS,
    REQUESTS,
    BrokerWorld,
    Offsets,
    joined,
    poll,
    values,
    wait_for_alarm,
)


def test_an_offset_of_a_topic_that_was_made_anew_is_an_alarm_and_nothing_is_skipped(broker: BrokerWorld) -> None:
    offsets = Offsets()
    first = joined(broker.start(offsets))
    offsets.topic_ids = dict(offsets.noted)
    assert offsets.topic_ids.keys() == {(topic, number) for topic, _ in (REQUESTS, CLICKS) for number in range(2)}
    offsets.stored = {REQUESTS: 2, CLICKS: 0}
    first.close()
    broker.replace_topic(RECOMMENDATIONS_REQUESTED)
    for number in range(5):
        broker.publish(REQUESTS, b"%d" % number)
    consumer = broker.start(offsets)
    wait_for_alarm(consumer)
    assert consumer.out_of_range() == consumer.replaced() == {REQUESTS}
    assert consumer.assignment() == {CLICKS, (CLICKS[0], 1), (REQUESTS[0], 1)}
    broker.publish(CLICKS, b"c")
    assert [message.value for message in poll(consumer, until=1)] == [b"c"]
    consumer.rewind()
    wait_for_alarm(consumer)
    # Whoever seeks has decided; from then on offsets are stored with the new id.
    assert offsets.noted[REQUESTS] == offsets.topic_ids[REQUESTS]
    [start] = consumer.fetch_low_watermarks([REQUESTS]).values()
    consumer.seek(REQUESTS, start)
    assert offsets.noted[REQUESTS] == offsets.noted[REQUESTS[0], 1] != offsets.topic_ids[REQUESTS]
    assert consumer.replaced() == frozenset()
    assert values(poll(consumer, until=5), REQUESTS) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_topic_that_is_made_anew_under_a_consumer_stands_still(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    consumer = joined(broker.start(offsets))
    poll(consumer, until=3)
    # As the loop stores them; the row of the other partition is not there yet.
    offsets.stored, offsets.topic_ids = {REQUESTS: 3}, {REQUESTS: offsets.noted[REQUESTS]}
    broker.replace_topic(RECOMMENDATIONS_REQUESTED)
    wait_for_alarm(consumer)
    assert REQUESTS in consumer.out_of_range()
    assert REQUESTS not in consumer.assignment()
    assert offsets.noted[REQUESTS] == offsets.topic_ids[REQUESTS]
    broker.publish(CLICKS, b"c")
    assert [message.value for message in poll(consumer, until=1)] == [b"c"]


def test_offsets_of_older_versions_are_taken_for_offsets_of_this_topic(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    offsets.stored[REQUESTS] = 1
    consumer = joined(broker.start(offsets))
    assert consumer.position(REQUESTS) == 1
    assert offsets.noted[REQUESTS] == offsets.noted[REQUESTS[0], 1]


@pytest.mark.kafka
def test_offsets_of_an_installation_with_another_prefix_are_an_alarm_and_nothing_is_skipped(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    """Both have the same consumer group and database, where offsets name topics without their prefix."""
    servers, offsets = kafka_bootstrap_servers, Offsets()

    def start(prefix: str) -> KafkaEventConsumer:
        create_topics(servers, prefix=prefix, partitions=2)
        return KafkaEventConsumer(
            ConsumerSettings(servers, topic_prefix + "group", prefix, session_timeout_seconds=6.0),
            topics=[RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED],
            offsets=offsets,
        )

    with closing(start(topic_prefix + "one.")) as one:
        joined(one)
    offsets.topic_ids, offsets.stored = dict(offsets.noted), {REQUESTS: 2, CLICKS: 0}
    with closing(start(topic_prefix + "two.")) as two:
        producer = Producer(producer_settings(servers, client_id="test"))
        for _ in range(5):
            producer.produce(topic_prefix + "two." + REQUESTS[0], b"x", partition=REQUESTS[1])
        producer.flush()
        wait_for_alarm(two)
        assert two.out_of_range() == two.replaced() == {REQUESTS, CLICKS}
        assert two.assignment() == {(REQUESTS[0], 1), (CLICKS[0], 1)}
