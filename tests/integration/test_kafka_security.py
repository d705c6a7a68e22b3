"""Kafka with TLS, passwords and client certificates, on a broker of its own with certificates made here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from script.local.kafka import LocalKafka
from script.local.kafka_security import BrokerSecurity
from script.local.owned_process import LocalServerError
from shared.errors import BrokerUnavailable, PublishFailed
from shared.events import INTERACTIONS_RECORDED, InteractionRecorded
from shared.kafka.client_settings import ConsumerSettings, producer_settings
from shared.kafka.connection import BrokerAdmin, Brokers, KafkaConnection
from shared.kafka.metadata import KafkaMetadata, fetch_cluster_id
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.kafka.topics import TopicsUnusable, create_topics, fetch_max_message_bytes
from tests.certificates import keystore, make_authority
from tests.integration.gateway_process import gateway_process, post
from tests.integration.worker_process import WorkerWorld, worker_world
from tests.servers import servers_required, temporary_folder

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

USER, PASSWORD = "recommender", "kafka-geheim-7194"
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SecureBroker:
    """A running broker, how its user connects, and what a client without rights may try."""

    kafka: LocalKafka
    connection: KafkaConnection
    other_ca: Path
    certificate: tuple[Path, Path]

    def settings(self, **changes: str) -> dict[str, Any]:
        """Return the environment of a service, names in lower case."""
        return {
            "kafka_bootstrap_servers": self.connection.bootstrap_servers,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": USER,
            "kafka_sasl_password": PASSWORD,
            "kafka_ssl_ca_file": str(self.connection.ca_file),
            **changes,
        }


@pytest.fixture(scope="module")
def broker() -> Iterator[SecureBroker]:
    """A broker that trusts certificates of one authority, with one user."""
    with temporary_folder("secure-kafka") as folder:
        authority, other = make_authority(folder, "authority"), make_authority(folder, "other")
        store = keystore(*authority.sign("broker", host="localhost"))
        security = BrokerSecurity(store, authority.certificate, {USER: PASSWORD})
        kafka = LocalKafka(folder / "data", security=security)
        try:
            kafka.start()
        except LocalServerError as error:
            (pytest.fail if servers_required() else pytest.skip)(f"no Kafka: {error}")
        try:
            allow_everything(kafka, f"User:{USER}", "User:CN=client")
            connection = KafkaConnection(
                kafka.secure_servers,
                security_protocol="SASL_SSL",
                sasl_username=USER,
                sasl_password=PASSWORD,
                ca_file=authority.certificate,
            )
            yield SecureBroker(kafka, connection, other.certificate, authority.sign("client", host="client"))
        finally:
            kafka.stop()


def allow_everything(kafka: LocalKafka, *principals: str) -> None:
    """Give the users all rights on all topics, groups and the cluster."""
    places = [(ResourceType.TOPIC, "*"), (ResourceType.GROUP, "*"), (ResourceType.BROKER, "kafka-cluster")]
    rules = [
        AclBinding(*place, ResourcePatternType.LITERAL, who, "*", AclOperation.ALL, AclPermissionType.ALLOW)
        for who in principals
        for place in places
    ]
    admin = BrokerAdmin(kafka.bootstrap_servers)  # a client that is garbage-collected answers nothing
    for future in admin.create_acls(rules).values():
        future.result(30)


@pytest.fixture
def refused(request: pytest.FixtureRequest, broker: SecureBroker) -> Brokers:
    """The connection of a client that the broker refuses, or that refuses the broker."""
    right = broker.connection
    port = right.bootstrap_servers.partition(":")[2]
    wrong: dict[str, Brokers] = {
        "password": replace(right, sasl_password="wrong"),
        "user": replace(right, sasl_username="nobody"),
        "authority": replace(right, ca_file=broker.other_ca),
        "no authority": replace(right, ca_file=None),
        "host name": replace(right, bootstrap_servers=f"127.0.0.1:{port}"),
        "plaintext": right.bootstrap_servers,
        "no password": KafkaConnection(right.bootstrap_servers, security_protocol="SSL", ca_file=right.ca_file),
        "no certificate": KafkaConnection(
            broker.kafka.certificate_servers, security_protocol="SSL", ca_file=right.ca_file
        ),
    }
    return wrong[request.param]


CAUSES = {
    "password": "Authentication failed",
    "user": "Authentication failed",
    "authority": "certificate",
    "no authority": "certificate",
    "host name": "certificate",
    "plaintext": "KAFKA_SECURITY_PROTOCOL=PLAINTEXT must be that of the listener|Disconnected",
    "no password": "KAFKA_SECURITY_PROTOCOL=SSL must be that of the listener|Disconnected",
    "no certificate": "SSL|ssl|certificate|Disconnected|disconnected",
}


@pytest.mark.parametrize(("refused", "cause"), CAUSES.items(), ids=CAUSES, indirect=["refused"])
def test_a_client_without_the_right_credentials_is_refused_with_the_cause(refused: Brokers, cause: str) -> None:
    with pytest.raises(BrokerUnavailable, match=cause) as raised:
        fetch_cluster_id(refused, timeout_seconds=3.0)
    assert PASSWORD not in str(raised.value) + repr(refused)

    publisher = SyncKafkaEventPublisher(producer_settings(refused, client_id="test", delivery_timeout_seconds=1.0))
    event = InteractionRecorded(customer_id="C", isin="GRS000000000", type="click")
    with pytest.raises(PublishFailed):
        publisher.publish(INTERACTIONS_RECORDED, key="C", event=event)


def test_the_migrations_end_with_the_cause(broker: SecureBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.kafka.topics.ADMIN_TIMEOUT_SECONDS", 3.0)
    with pytest.raises(TopicsUnusable, match="Authentication failed"):
        create_topics(replace(broker.connection, sasl_password="wrong"), prefix="refused.")


def test_every_client_works_with_the_right_credentials(broker: SecureBroker, topic_prefix: str) -> None:
    create_topics(broker.connection, prefix=topic_prefix, partitions=2)
    topic = topic_prefix + INTERACTIONS_RECORDED

    publisher = SyncKafkaEventPublisher(
        producer_settings(broker.connection, client_id="test"), topic_prefix=topic_prefix
    )
    event = InteractionRecorded(customer_id="C", isin="GRS000000000", type="click")
    publisher.publish(INTERACTIONS_RECORDED, key="C", event=event)
    settings = ConsumerSettings(broker.connection, f"{topic_prefix}group").librdkafka()
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.partition.eof": False})
    consumer.subscribe([topic])
    with closing(consumer):
        message = next(message for _ in range(120) if (message := consumer.poll(0.5)) and not message.error())
    assert event.event_id.hex in (message.value() or b"").decode().replace("-", "")
    assert (
        sum(
            KafkaMetadata(broker.connection, prefix=topic_prefix)
            .fetch_latest([(INTERACTIONS_RECORDED, 0), (INTERACTIONS_RECORDED, 1)])
            .values()
        )
        == 1
    )
    assert fetch_max_message_bytes(broker.connection, topic) == 131_072


def test_a_client_certificate_opens_the_listener_that_asks_for_one(broker: SecureBroker, topic_prefix: str) -> None:
    certificate, key = broker.certificate
    connection = KafkaConnection(
        broker.kafka.certificate_servers,
        security_protocol="SSL",
        ca_file=broker.connection.ca_file,
        certificate_file=certificate,
        key_file=key,
    )
    assert create_topics(connection, prefix=topic_prefix, partitions=1)


def test_services_answer_a_request_over_tls(broker: SecureBroker, world: WorkerWorld, tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    settings = broker.settings(kafka_sasl_password="", kafka_sasl_password_file=str(password_file))
    address = {**settings, "database_url": world.database_url, "topic_prefix": world.topic_prefix}
    names = {name.upper(): value for name, value in address.items()}
    migrated = run("-m", "shared.migrations", **names)
    assert migrated.returncode == 0, migrated.stderr
    worker = world.start(**settings, ready=False)
    servers = settings.pop("kafka_bootstrap_servers")
    with gateway_process(
        bootstrap_servers=servers, database_url=world.database_url, topic_prefix=world.topic_prefix, **settings
    ) as gateway:
        gateway.wait_until_ready()
        world.wait(worker.is_ready, "the worker is ready")
        asked = post(gateway, "/recommendations", {"customer_id": "C", "action": "request_recs"})
        assert asked.status_code == 200
        world.wait(lambda: world.count("decisions") == 1, "the request is decided")
        listed = run(REPOSITORY / "script/offsets.py", "list", **names)
        assert listed.returncode == 0, listed.stderr
        erased = run(REPOSITORY / "script/erase_customer.py", "C", "--json", **names)  # 0: its event is kept
        assert erased.returncode == 0, erased.stderr
        shown = [*gateway.log_lines(), *map(json.dumps, worker.log_lines())]
    for text in (*shown, *(printed for one in (migrated, listed, erased) for printed in (one.stdout, one.stderr))):
        assert PASSWORD not in text


def test_a_service_with_a_wrong_password_says_so_and_sends_nothing_in_plain_text(
    broker: SecureBroker, world: WorkerWorld
) -> None:
    wrong = "wrong-geheim-5530"
    port = int(broker.connection.bootstrap_servers.partition(":")[2])
    with closing(Recorder(port)) as recorder:
        settings = broker.settings(kafka_sasl_password=wrong, kafka_bootstrap_servers=f"localhost:{recorder.port}")
        worker = world.start(**settings, ready=False)

        def refusals() -> list[str]:
            lines = [line for line in worker.log_lines() if line["event"] == "broker.unavailable"]
            return [line["error"] for line in lines if "Authentication failed" in line["error"]]

        world.wait(refusals, "the worker says why it does not reach the broker")
        assert not worker.is_ready()
        assert worker.terminate()[0] == 0
        names = {name.upper(): value for name, value in settings.items()}
        listed = run(REPOSITORY / "script/offsets.py", "list", DATABASE_URL=world.database_url, **names)
    assert (listed.returncode, "Authentication failed" in listed.stderr) == (3, True), listed.stderr
    assert wrong not in listed.stderr + worker.log_file.read_text()
    # Every connection starts as TLS (a handshake record, version 3.x), and no name or password is readable in it.
    assert recorder.connections
    for sent in recorder.connections:
        assert not sent or bytes(sent[:2]) == b"\x16\x03"
        assert USER.encode() not in sent
        assert wrong.encode() not in sent


class Recorder:
    """Passes TCP on to a port and keeps what each client sends."""

    def __init__(self, port: int) -> None:
        self.connections: list[bytearray] = []
        self._target = ("localhost", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self.connections.append(bytearray())
                for source, target, kept in ((client, server, self.connections[-1]), (server, client, None)):
                    threading.Thread(target=self._pass_on, args=(source, target, kept), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
        with suppress(OSError):
            while received := source.recv(65536):
                if kept is not None:
                    kept += received
                target.sendall(received)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def world(broker: SecureBroker, database_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[WorkerWorld]:
    """The world of a worker on this broker; the test itself uses its plaintext listener."""
    servers = broker.kafka.bootstrap_servers
    with worker_world(
        bootstrap_servers=servers, database_url=database_url, topic_prefix=topic_prefix, folder=tmp_path
    ) as world:
        world.publish_model()
        yield world


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the project with these settings."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
