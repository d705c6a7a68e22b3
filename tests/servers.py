"""One broker and one database server for a test session: given by the environment, local processes, or containers."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg2

from script.local.kafka import LocalKafka, broker_is_ready, create_offsets_topic
from script.local.owned_process import LocalServerError, free_port
from script.local.postgres import LocalPostgres

KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18"
_IMAGES = (KAFKA_IMAGE, POSTGRES_IMAGE, "python:3.11-slim")
_CONTAINER_TIMEOUT_SECONDS = 60.0
Server = TypeVar("Server", LocalKafka, LocalPostgres)


class ServerUnavailable(Exception):
    """No server of the kind that was asked for; the message is the reason for skipping."""


@contextmanager
def kafka_server() -> Iterator[str]:
    """Bootstrap servers: KAFKA_BOOTSTRAP_SERVERS, or a broker that lives as long as this context."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
    elif _containers_wanted():
        with _kafka_container() as bootstrap_servers:
            yield bootstrap_servers
    else:
        with temporary_folder("kafka") as folder, _started(LocalKafka(folder)) as kafka:
            yield kafka.bootstrap_servers


@contextmanager
def postgres_server() -> Iterator[str]:
    """An administrator's URL: DATABASE_URL, or of a server that lives as long as this context."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
    elif _containers_wanted():
        with _postgres_container() as url:
            yield url
    else:
        with temporary_folder("postgres") as folder, _started(LocalPostgres(folder, durable=False)) as postgres:
            yield postgres.url("postgres")


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A data folder that PostgreSQL's system user can enter too (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix=f"far-trans-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def servers_required() -> bool:
    """In CI a missing server is a failure; elsewhere its tests are skipped."""
    return any(os.environ.get(name, "") not in ("", "0", "false") for name in ("CI", "REQUIRE_SERVERS"))


@functools.cache
def docker_problem() -> str | None:
    """Why tests marked `docker` cannot run here; None if they can."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        client = docker.from_env(timeout=10)
    except DockerException:
        return "no Docker engine answers"
    missing = []
    for image in _IMAGES:
        try:
            client.images.get(image)
        except ImageNotFound:
            missing.append(image)
    client.close()
    return f"images missing: {', '.join(missing)}" if missing else None


@contextmanager
def _started(server: Server) -> Iterator[Server]:
    try:
        server.start()
    except LocalServerError as error:
        raise ServerUnavailable(str(error)) from error
    try:
        yield server
    finally:
        server.stop()


def _containers_wanted() -> bool:
    wanted = os.environ.get("TEST_SERVERS", "local")
    if wanted not in ("local", "containers"):
        raise ValueError(f"TEST_SERVERS is {wanted!r}; it may be local or containers")
    if wanted == "containers" and (problem := docker_problem()):
        raise ServerUnavailable(problem)
    return wanted == "containers"


@contextmanager
def _kafka_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    container = DockerContainer(KAFKA_IMAGE, env=settings)
    container.ports = {f"{port}/tcp": ("127.0.0.1", port)}  # type: ignore[dict-item]  # docker takes pairs
    with container:
        bootstrap_servers = f"127.0.0.1:{port}"
        _wait(lambda: broker_is_ready(bootstrap_servers), KAFKA_IMAGE)
        create_offsets_topic(bootstrap_servers)
        yield bootstrap_servers


@contextmanager
def _postgres_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    port = free_port()
    # The published image takes no empty password; this one guards a loopback port for one session.
    container = DockerContainer(POSTGRES_IMAGE, env={"POSTGRES_PASSWORD": "session"})
    container.ports = {"5432/tcp": ("127.0.0.1", port)}  # type: ignore[dict-item]  # docker takes pairs
    with container:
        url = f"postgresql://postgres:session@127.0.0.1:{port}/postgres"
        _wait(lambda: _accepts_connections(url), POSTGRES_IMAGE)
        yield url


def _accepts_connections(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _wait(is_ready: Callable[[], bool], image: str) -> None:
    deadline = time.monotonic() + _CONTAINER_TIMEOUT_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"a container of {image} did not answer in {_CONTAINER_TIMEOUT_SECONDS:.0f} s")
        time.sleep(0.1)
