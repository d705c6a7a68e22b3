"""Topics that change under workers: made anew, or with more partitions than before."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from shared.events import CUSTOMER_TOPICS, RECOMMENDATIONS_REQUESTED, RecommendationRequested
from shared.kafka.client_settings import producer_settings
from tests.integration.test_offsets import command
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture
def admin(world: WorkerWorld) -> AdminClient:
    return AdminClient({"bootstrap.servers": world.bootstrap_servers})


def make_anew(admin: AdminClient, name: str, *, partitions: int) -> None:
    """Delete a topic and make another one of that name."""
    before = str(admin.describe_topics(TopicCollection([name]))[name].result(10.0).topic_id)
    admin.delete_topics([name])[name].result(10.0)
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        with suppress(KafkaException):  # it is still being deleted
            admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)])[name].result(10.0)
        with suppress(KafkaException):  # the broker does not know it yet
            if str(admin.describe_topics(TopicCollection([name]))[name].result(10.0).topic_id) != before:
                return
        time.sleep(0.1)
    pytest.fail(f"{name} was not made anew")


def ask_all(world: WorkerWorld, customers: list[str], *, new_client: bool = True) -> list[RecommendationRequested]:
    """Publish a request of each customer with a producer that knows the topics as they are now."""
    if new_client:
        config = producer_settings(world.bootstrap_servers, client_id="test")
        world.producer = Producer({**config, "linger.ms": 0})
    return [world.ask(customer) for customer in customers]


def events_of(world: WorkerWorld) -> dict[int, int]:
    """Return how many requests each partition had that were decided."""
    rows = world.rows('SELECT "partition", count(*) FROM decisions GROUP BY 1')
    return {int(number): int(count) for number, count in rows}


def test_nothing_of_a_topic_that_was_made_anew_is_skipped(world: WorkerWorld, admin: AdminClient) -> None:
    worker = world.start()
    world.answers(ask_all(world, [f"C{number}" for number in range(30)]))
    assert len(events_of(world)) == world.partitions
    assert worker.terminate()[0] == 0
    make_anew(admin, world.topic_prefix + RECOMMENDATIONS_REQUESTED, partitions=world.partitions)
    # More than there were: every stored offset lies inside the new log.
    asked = ask_all(world, [f"C{number}" for number in range(90)])

    code, said = command(world, "list")
    assert code == 1
    assert said.count("another topic (made anew)") == world.partitions

    worker = world.start(ready=False)
    world.wait(lambda: worker.metric("offset_out_of_range") == world.partitions, "the alarm is raised")
    assert not worker.is_ready()
    assert world.count("decisions") == 30
    click = world.click("C1", world.model.id_map.isins[0])
    world.wait(lambda: world.count("user_interactions") == 1, f"the other topic goes on: {click}")
    assert worker.terminate()[0] == 0

    for number in range(world.partitions):
        place = ("--group", world.group, "--topic", RECOMMENDATIONS_REQUESTED, "--partition", number)
        code, said = command(world, "set", *place, "--to", "earliest")
        assert code == 1
        assert "the topic was recreated" in said
        code, said = command(world, "set", *place, "--to", "earliest", "--yes")
        assert code == 0, said
    assert command(world, "list")[0] == 0
    world.start()
    world.answers(asked)


def test_partitions_that_are_added_while_a_worker_runs_are_read_within_a_minute(
    world: WorkerWorld, admin: AdminClient
) -> None:
    worker = world.start()
    world.answers(ask_all(world, ["C1"]))
    count = 2 * world.partitions
    names = [world.topic_prefix + topic for topic in CUSTOMER_TOPICS]
    for future in admin.create_partitions([NewPartitions(name, count) for name in names]).values():
        future.result(10.0)

    asked = ask_all(world, [f"C{number}" for number in range(60)])

    world.answers(asked)
    assert sorted(events_of(world)) == list(range(count))
    assert worker.is_ready()
    assert worker.metric("topic_problem") == 0
