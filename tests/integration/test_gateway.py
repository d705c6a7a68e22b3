"""The gateway as a process on a real broker and a real database: what it promises when they are there, and when not."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg2
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from sqlalchemy.engine import make_url

from script.local_kafka import LocalKafka
from script.owned_process import LocalServerError
from shared import events
from shared.adapters.kafka_producer import SyncKafkaEventPublisher, producer_config
from shared.adapters.kafka_topics import create_topics
from shared.errors import PublishFailed
from shared.events import InteractionRecorded, RecommendationRequested, RetrainRequested, decode
from tests.integration.gateway_process import GatewayProcess, Relay, gateway_process, unused_port
from tests.servers import temporary_folder

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

REQUEST = {"customer_id": "C1", "action": "request_recs"}
CLICK = {"customer_id": "C1", "isin": "GRS434003000", "type": "click"}
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture(scope="module")
def gateway(
    kafka_bootstrap_servers: str, module_topic_prefix: str, module_database_url: str
) -> Iterator[GatewayProcess]:
    """One gateway for the tests that only use it; its database knows customer C1 and one asset."""
    create_topics(kafka_bootstrap_servers, prefix=module_topic_prefix)
    execute(module_database_url, "INSERT INTO customer_information (customer_id, recorded_on) VALUES ('C1', now())")
    execute(
        module_database_url,
        "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES ('GRS434003000', 'Stock', now())",
    )
    with gateway_process(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=module_database_url,
        topic_prefix=module_topic_prefix,
    ) as gateway:
        gateway.wait_until_ready()
        yield gateway


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A broker that a test may stop, kill and freeze."""
    with temporary_folder("kafka") as folder:
        kafka = LocalKafka(folder)
        try:
            kafka.start()
        except LocalServerError as error:
            pytest.skip(str(error))
        create_topics(kafka.bootstrap_servers)
        yield kafka
        kafka.stop()


def execute(url: str, statement: str) -> None:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def read_topic(bootstrap_servers: str, topic: str) -> list[Message]:
    """Everything that is acknowledged on a topic now."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "reader", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=5).topics[topic].partitions
        ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in partitions}
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        messages: list[Message] = []
        deadline = time.monotonic() + 10
        while len(messages) < sum(ends.values()) and time.monotonic() < deadline:
            messages += [message for message in consumer.consume(100, timeout=0.2) if message.error() is None]
        return messages
    finally:
        consumer.close()


def post(gateway: GatewayProcess, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return gateway.http.post(path, json=body, headers=headers)


def test_an_answered_request_is_on_its_topic_with_the_id_of_the_answer(
    gateway: GatewayProcess, kafka_bootstrap_servers: str, module_topic_prefix: str
) -> None:
    answer = post(gateway, "/recommendations", {**REQUEST, "customer_id": "on-its-topic"})
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    found = [
        decode(events.RECOMMENDATIONS_REQUESTED, message.value())
        for message in read_topic(kafka_bootstrap_servers, module_topic_prefix + events.RECOMMENDATIONS_REQUESTED)
        if message.key() == b"on-its-topic"
    ]
    assert [str(event.event_id) for event in found] == [answer.headers["X-Request-ID"]]
    assert isinstance(found[0], RecommendationRequested)


def test_a_customer_has_the_same_partition_in_both_topics(
    gateway: GatewayProcess, kafka_bootstrap_servers: str, module_topic_prefix: str
) -> None:
    customers = [f"partition-{number}" for number in range(30)]
    for customer_id in customers:
        assert post(gateway, "/recommendations", {**REQUEST, "customer_id": customer_id}).status_code == 200
        assert post(gateway, "/user_interactions", {**CLICK, "customer_id": customer_id}).status_code == 200
    places = [
        {
            (message.key() or b"").decode(): message.partition()
            for message in read_topic(kafka_bootstrap_servers, module_topic_prefix + topic)
            if (message.key() or b"").startswith(b"partition-")
        }
        for topic in (events.RECOMMENDATIONS_REQUESTED, events.INTERACTIONS_RECORDED)
    ]
    assert places[0] == places[1]
    assert set(places[0]) == set(customers)
    assert len(set(places[0].values())) > 3


def test_fifty_posts_at_once_with_one_key_are_one_event(
    gateway: GatewayProcess, kafka_bootstrap_servers: str, module_topic_prefix: str
) -> None:
    body = {**CLICK, "customer_id": "fifty"}

    async def post_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=gateway.http.base_url, timeout=20) as http:
            posts = [
                http.post("/user_interactions", json=body, headers={"Idempotency-Key": "fifty"}) for _ in range(50)
            ]
            return await asyncio.gather(*posts)

    answers = asyncio.run(post_at_once())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 1
    found = [
        decode(events.INTERACTIONS_RECORDED, message.value())
        for message in read_topic(kafka_bootstrap_servers, module_topic_prefix + events.INTERACTIONS_RECORDED)
        if message.key() == b"fifty"
    ]
    assert len(found) == 1
    assert isinstance(found[0], InteractionRecorded)
    other = post(gateway, "/user_interactions", {**body, "type": "view"}, **{"Idempotency-Key": "fifty"})
    assert [error["field"] for error in other.json()["errors"]] == ["Idempotency-Key"]


def test_unknown_assets_and_customers_are_told_from_the_database(gateway: GatewayProcess) -> None:
    answer = post(gateway, "/user_interactions", {**CLICK, "isin": "XS0000000000"})
    assert [error["field"] for error in answer.json()["errors"]] == ["isin"]
    assert gateway.http.get("/recommendations/C1").json() == {"status": "ok", "recommendations": []}
    assert gateway.http.get("/recommendations/nobody").status_code == 404


def test_a_body_over_the_limit_is_refused_and_the_connection_closed(gateway: GatewayProcess) -> None:
    answer = gateway.http.post("/recommendations", content=b" " * 70_000)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_the_trainers_publisher_returns_after_the_acknowledgement(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    config = producer_config(kafka_bootstrap_servers, client_id="test")
    publisher = SyncKafkaEventPublisher(config, topic_prefix=topic_prefix)
    event = RetrainRequested(reason="test")
    publisher.publish(events.MODELS_COMMANDS, key="hybrid", event=event)
    [message] = read_topic(kafka_bootstrap_servers, topic_prefix + events.MODELS_COMMANDS)
    assert decode(events.MODELS_COMMANDS, message.value()) == event
    publisher.close()


def test_the_trainers_publisher_fails_in_time_without_a_broker() -> None:
    config = producer_config(f"127.0.0.1:{unused_port()}", client_id="test", delivery_timeout_seconds=1.0)
    started_at = time.monotonic()
    with pytest.raises(PublishFailed) as failure:
        SyncKafkaEventPublisher(config).publish(events.MODELS_COMMANDS, key="hybrid", event=RetrainRequested())
    assert failure.value.outcome_unknown
    assert time.monotonic() - started_at < 3.5


@pytest.mark.parametrize(
    ("settings", "at_most_seconds"), [({"delivery_timeout_seconds": 1.0}, 3.0), ({}, 12.0)], ids=["short", "default"]
)
def test_without_a_broker_a_post_is_503_in_time(settings: dict[str, float], at_most_seconds: float) -> None:
    with gateway_process(bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=NOWHERE, **settings) as gateway:
        assert gateway.http.get("/health/ready").status_code == 503
        started_at = time.monotonic()
        answer = post(gateway, "/recommendations", REQUEST)
        assert time.monotonic() - started_at < at_most_seconds
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Retry-After" in answer.headers
        assert answer.json()["outcome"] == "unknown"
        assert gateway.http.get("/health/live").status_code == 200


def test_without_a_database_reads_are_503_events_are_taken_and_it_recovers(
    kafka_bootstrap_servers: str, topic_prefix: str, database_url: str
) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    url, port = make_url(database_url), unused_port()
    with gateway_process(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False),
        topic_prefix=topic_prefix,
        catalogue_refresh_seconds=0.2,
    ) as gateway:
        gateway.wait_until_ready()
        assert gateway.http.get("/health/ready").json()["database"] is False
        started_at = time.monotonic()
        for path in ("/recommendations/C1", "/assets", "/models"):
            answer = gateway.http.get(path)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert time.monotonic() - started_at < 6
        assert post(gateway, "/recommendations", REQUEST).status_code == 200
        assert post(gateway, "/user_interactions", CLICK).status_code == 200  # nobody knows the catalogue yet

        relay = Relay(url.port or 5432, listen_port=port)
        gateway.wait_for("/models")
        time.sleep(0.5)
        assert post(gateway, "/user_interactions", CLICK).status_code == 422  # an empty catalogue
        relay.close()


def test_a_broker_that_was_killed_or_frozen_is_used_again_without_a_restart(own_kafka: LocalKafka) -> None:
    with gateway_process(
        bootstrap_servers=own_kafka.bootstrap_servers, database_url=NOWHERE, delivery_timeout_seconds=2.0
    ) as gateway:
        gateway.wait_until_ready()
        acknowledged = [request_id(post(gateway, "/recommendations", REQUEST))]

        own_kafka.kill()
        assert post(gateway, "/recommendations", REQUEST).status_code == 503
        wait_until_unready(gateway)
        own_kafka.start()
        gateway.wait_until_ready()
        acknowledged += [request_id(post(gateway, "/recommendations", REQUEST)) for _ in range(3)]

        os.kill(own_kafka.pid, signal.SIGSTOP)
        assert post(gateway, "/recommendations", REQUEST).status_code == 503
        os.kill(own_kafka.pid, signal.SIGCONT)
        acknowledged += [request_id(post_until_taken(gateway, "/recommendations", REQUEST)) for _ in range(3)]

        kept = [
            str(decode(events.RECOMMENDATIONS_REQUESTED, message.value()).event_id)
            for message in read_topic(own_kafka.bootstrap_servers, events.RECOMMENDATIONS_REQUESTED)
        ]
        assert set(acknowledged) <= set(kept)
        assert len(kept) == len(set(kept))


def test_on_sigterm_it_is_unready_first_then_ends_with_0(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    with gateway_process(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=NOWHERE,
        topic_prefix=topic_prefix,
        shutdown_drain_seconds=1.0,
    ) as gateway:
        gateway.wait_until_ready()
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        answer = gateway.http.get("/health/ready")
        assert (answer.status_code, answer.json()["shutting_down"]) == (503, True)
        assert post(gateway, "/recommendations", REQUEST).status_code == 200
        assert gateway.process.wait(10) == 0


def test_on_sigterm_open_requests_get_their_answer(own_kafka: LocalKafka) -> None:
    with gateway_process(
        bootstrap_servers=own_kafka.bootstrap_servers, database_url=NOWHERE, delivery_timeout_seconds=8.0
    ) as gateway:
        gateway.wait_until_ready()
        os.kill(own_kafka.pid, signal.SIGSTOP)
        answers: list[httpx.Response] = []
        posting = threading.Thread(target=lambda: answers.append(post(gateway, "/recommendations", REQUEST)))
        posting.start()
        time.sleep(0.5)
        started_at = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        assert gateway.process.poll() is None
        os.kill(own_kafka.pid, signal.SIGCONT)
        assert gateway.process.wait(15) == 0
        assert time.monotonic() - started_at < 15
        posting.join()
        assert answers[0].status_code == 200


def test_on_sigterm_without_broker_and_database_it_ends_with_0_in_time() -> None:
    with gateway_process(bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=NOWHERE) as gateway:
        answers: list[httpx.Response] = []
        posting = threading.Thread(target=lambda: answers.append(post(gateway, "/recommendations", REQUEST)))
        posting.start()
        time.sleep(0.5)
        started_at = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
        assert time.monotonic() - started_at < 15
        posting.join()
        assert answers[0].status_code == 503


def request_id(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Request-ID"]


def wait_until_unready(gateway: GatewayProcess) -> None:
    """The next health check finds it: they are two seconds apart and take two at most."""
    deadline = time.monotonic() + 8
    while gateway.http.get("/health/ready").status_code == 200:
        assert time.monotonic() < deadline, "still ready"
        time.sleep(0.1)


def post_until_taken(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> httpx.Response:
    for _ in range(5):
        answer = post(gateway, path, body)
        if answer.status_code == 200:
            break
    return answer
