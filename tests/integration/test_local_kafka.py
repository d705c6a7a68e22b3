"""The local broker is a real one: it keeps its data over restarts and crashes, its own and its owner's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from script.local.kafka import LocalKafka, new_cluster_id
from script.local.owned_process import DataFolderInUse, LocalServerError, command_line
from tests.servers import servers_required, temporary_folder

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalKafka]:
    """A broker of this file's own, to be stopped and killed."""
    with temporary_folder("kafka") as folder:
        kafka = LocalKafka(folder)
        try:
            kafka.start()
        except LocalServerError as error:
            if servers_required():
                raise
            pytest.skip(f"no Kafka: {error}")
        yield kafka
        kafka.stop()


def test_record_comes_back_as_it_was_produced(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}records"
    produce(kafka_bootstrap_servers, topic, [b"first", b"second"])
    assert consume(kafka_bootstrap_servers, topic, count=2) == [b"first", b"second"]


def test_topic_is_never_created_by_asking_for_it(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}never-created"
    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers, "message.timeout.ms": 1_000})
    failed: list[bool] = []
    producer.produce(topic, b"x", on_delivery=lambda error, _: failed.append(error is not None))
    producer.flush(10.0)
    assert failed == [True]
    assert topic not in AdminClient({"bootstrap.servers": kafka_bootstrap_servers}).list_topics(timeout=5.0).topics


def test_offsets_topic_is_there_before_the_first_consumer(broker: LocalKafka) -> None:
    topics = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=5.0).topics
    assert len(topics["__consumer_offsets"].partitions) == 1


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("broker.session.timeout.ms", "3000", "a killed broker is back in 5 s; by default it waits 9 s for itself"),
        ("group.initial.rebalance.delay.ms", "0", "the first group has its partitions at once; by default after 3 s"),
        ("auto.create.topics.enable", "false", "a misspelt topic is an error"),
        ("message.max.bytes", "1048588", "as in production"),
    ],
)
def test_broker_runs_with_the_setting(broker: LocalKafka, name: str, value: str, why: str) -> None:
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    assert admin.describe_configs([resource])[resource].result(10.0)[name].value == value, why


def test_cluster_ids_are_22_characters_and_never_look_like_an_option() -> None:
    # One in 64 would.
    ids = {new_cluster_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    assert all(len(cluster_id) == 22 and not cluster_id.startswith("-") for cluster_id in ids)


def test_data_and_port_stay_over_a_restart(broker: LocalKafka) -> None:
    produce(broker.bootstrap_servers, "over-a-restart", [b"kept"])
    address, former_pid = broker.bootstrap_servers, broker.pid
    broker.restart()
    assert broker.bootstrap_servers == address
    assert broker.pid != former_pid
    assert consume(broker.bootstrap_servers, "over-a-restart", count=1) == [b"kept"]


def test_killed_broker_comes_back_with_its_data(broker: LocalKafka) -> None:
    produce(broker.bootstrap_servers, "over-a-crash", [b"kept"])
    address = broker.bootstrap_servers
    broker.kill()
    assert not broker.is_running
    broker.start()
    assert broker.bootstrap_servers == address
    assert consume(broker.bootstrap_servers, "over-a-crash", count=1) == [b"kept"]


def test_second_broker_on_the_same_folder_is_refused(broker: LocalKafka) -> None:
    folder = broker.folder
    with pytest.raises(DataFolderInUse, match=f"process {os.getpid()}"):
        LocalKafka(folder).start()
    assert broker.is_running


def test_port_that_is_taken_is_a_clear_message(broker: LocalKafka) -> None:
    port = int(broker.bootstrap_servers.rsplit(":", 1)[1])
    with temporary_folder("kafka") as folder, pytest.raises(LocalServerError, match=f"port {port} .* taken"):
        LocalKafka(folder, port).start()


def test_broker_that_cannot_start_says_what_its_log_says(
    broker: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = LocalKafka(tmp_path)
    monkeypatch.setattr(kafka, "_format", lambda: None)
    with pytest.raises(LocalServerError, match=r"(?s)ended by itself.*meta\.properties"):
        kafka.start()
    assert not kafka.is_running


def test_broker_that_is_stopped_while_it_starts_is_not_launched_afterwards(
    broker: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a demo does on SIGTERM, while another thread still prepares the folder."""
    kafka, preparing, stopped = LocalKafka(tmp_path), threading.Event(), threading.Event()

    def prepare() -> None:
        preparing.set()
        assert stopped.wait(20.0)

    monkeypatch.setattr(kafka, "_format", prepare)
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(kafka.start)
        assert preparing.wait(20.0)
        kafka.stop()
        stopped.set()
        with pytest.raises(LocalServerError, match="stopped while it started"):
            start.result(20.0)
    assert not kafka.is_running
    assert not (tmp_path / "kafka.pid").exists()


def test_command_keeps_a_broker_until_sigterm_and_a_killed_command_leaves_a_usable_folder() -> None:
    with temporary_folder("kafka") as folder:
        killed, address = run_command(folder)
        produce(address, "by-hand", [b"kept"])
        broker_pid = int((folder / "kafka.pid").read_text())
        killed.kill()
        killed.wait()
        again, address = run_command(folder)
        assert command_line(broker_pid) == []
        assert consume(address, "by-hand", count=1) == [b"kept"]
        again.send_signal(signal.SIGTERM)
        assert again.wait(20.0) == 0
        assert not (folder / "kafka.pid").exists()


def run_command(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """`local_kafka.py run`, and the address that it printed."""
    command = [sys.executable, "-m", "script.local.kafka", "run", "--data-dir", str(folder)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name, _, address = process.stdout.readline().strip().partition("=")
    assert name == "KAFKA_BOOTSTRAP_SERVERS"
    return process, address


def produce(bootstrap_servers: str, topic: str, values: list[bytes]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10.0)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    errors: list[KafkaError] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error) if error else None)
    assert producer.flush(10.0) == 0
    assert errors == []


def consume(bootstrap_servers: str, topic: str, *, count: int) -> list[bytes]:
    """As a member of a new group, from the beginning."""
    settings = {"bootstrap.servers": bootstrap_servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + 20.0
    try:
        while len(values) < count and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            values.append(message.value() or b"")
    finally:
        consumer.close()
    return values
