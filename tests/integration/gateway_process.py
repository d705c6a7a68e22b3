"""The gateway as a process of its own, what it left on a topic, and a TCP relay that can fall silent."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer, Message, TopicPartition


@dataclass
class GatewayProcess:
    """A running `python -m api`."""

    process: subprocess.Popen[bytes]
    http: httpx.Client
    metrics_url: str
    log_file: Path

    @property
    def port(self) -> int:
        """The public port."""
        return int(self.http.base_url.port or 0)

    def metrics(self) -> str:
        """What its own port for metrics answers."""
        return httpx.get(self.metrics_url, timeout=5.0, trust_env=False).raise_for_status().text

    def log_lines(self) -> list[str]:
        """What it logged until now."""
        return self.log_file.read_text(errors="replace").splitlines()

    def wait_until_ready(self, *, timeout_seconds: float = 60.0) -> None:
        """Return as soon as /health/ready says so."""
        self.wait_for("/health/ready", timeout_seconds=timeout_seconds)

    def wait_for(self, path: str, *, timeout_seconds: float = 60.0) -> None:
        """Return as soon as `path` answers 200."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if self.http.get(path).status_code == 200:
                    return
            assert self.process.poll() is None, "the gateway ended"
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer 200 in {timeout_seconds} s")


@contextmanager
def gateway_process(
    *, bootstrap_servers: str, database_url: str, open_files: float | None = None, **settings: object
) -> Iterator[GatewayProcess]:
    """Start a gateway on free ports; `settings` are environment variables in lower case, `open_files` its `ulimit`."""
    port, metrics_port = unused_port(), unused_port()
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "DATABASE_URL": database_url,
        "API_PORT": str(port),
        "API_METRICS_PORT": str(metrics_port),
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "api"]
    if open_files is not None:
        command = ["sh", "-c", f'ulimit -n {int(open_files)} && exec "$@"', "sh", *command]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20.0, trust_env=False) as http:
                gateway = GatewayProcess(process, http, f"http://127.0.0.1:{metrics_port}/metrics", Path(log.name))
                gateway.wait_for("/health/live")
                yield gateway
        finally:
            process.kill()
            process.wait()


def unused_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Relay:
    """Passes TCP on to another port; `silent` keeps connections open and passes nothing, `cut` closes them."""

    def __init__(self, port: int, *, listen_port: int = 0) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", listen_port))
        self.port: int = self._listener.getsockname()[1]
        self.silent = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection, as a restart of the server does."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                while self.silent.is_set():
                    time.sleep(0.01)
                target.sendall(received)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def post(gateway: GatewayProcess, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return gateway.http.post(path, json=body, headers=headers)


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
