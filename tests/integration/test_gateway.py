"""The gateway as a process on a real broker and a real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import psycopg2
import pytest

from shared import events
from shared.errors import PublishFailed
from shared.events import InteractionRecorded, RecommendationRequested, RetrainRequested, decode
from shared.kafka.client_settings import producer_settings
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.kafka.topics import create_topics
from tests.integration.gateway_process import GatewayProcess, gateway_process, post, read_topic, unused_port

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

REQUEST = {"customer_id": "C1", "action": "request_recs"}
CLICK = {"customer_id": "C1", "isin": "GRS434003000", "type": "click"}


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


def execute(url: str, statement: str) -> None:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


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
    config = producer_settings(kafka_bootstrap_servers, client_id="test")
    publisher = SyncKafkaEventPublisher(config, topic_prefix=topic_prefix)
    event = RetrainRequested(reason="test")
    publisher.publish(events.MODELS_COMMANDS, key="hybrid", event=event)
    [message] = read_topic(kafka_bootstrap_servers, topic_prefix + events.MODELS_COMMANDS)
    assert decode(events.MODELS_COMMANDS, message.value()) == event


def test_the_trainers_publisher_fails_in_time_without_a_broker() -> None:
    config = producer_settings(f"127.0.0.1:{unused_port()}", client_id="test", delivery_timeout_seconds=1.0)
    started_at = time.monotonic()
    with pytest.raises(PublishFailed) as failure:
        SyncKafkaEventPublisher(config).publish(events.MODELS_COMMANDS, key="hybrid", event=RetrainRequested())
    assert failure.value.outcome_unknown
    assert time.monotonic() - started_at < 3.5
