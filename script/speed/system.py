"""What the legs measure: servers, a database with data, topics, a model, and the service processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url

from script.local.kafka import LocalKafka
from script.local.owned_process import LocalServerError, free_port
from script.local.postgres import LocalPostgres, execute_statement
from script.local.service_processes import REPOSITORY, ServiceEnvironment, ServiceProcess
from shared.kafka.topics import create_topics
from shared.postgres.migrations.upgrade import upgrade_database

START_SECONDS = 60.0


@dataclass(frozen=True)
class BenchSystem:
    """A loaded system with a model; every leg starts the services that it measures."""

    environment: ServiceEnvironment
    data: Path
    folder: Path
    customers: tuple[str, ...]
    isins: tuple[str, ...]

    @property
    def database_url(self) -> str:
        return self.environment.database_url

    @contextmanager
    def service(
        self, name: str, *, until: str = "/health/ready", process_name: str = "", **more: str
    ) -> Iterator[ServiceProcess]:
        """Run one service until the end of the block; `more` are further environment variables.

        Several processes of a service at the same time need different names.
        """
        environment = replace(self.environment, more={**self.environment.more, **more})
        process = ServiceProcess(name, environment, folder=self.folder / "logs", name=process_name)
        process.start()
        try:
            process.wait_until_ready(lambda: process.answers(until), START_SECONDS)
            yield process
        finally:
            process.stop()

    @contextmanager
    def program(self, command: Sequence[str], *, port: int, **more: str) -> Iterator[str]:
        """Run a web server of the benchmark, and yield its URL once it answers."""
        log_path = self.folder / "logs" / f"{port}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                list(command), cwd=REPOSITORY, env={**self.environment.variables(), **more}, stdout=log, stderr=log
            )
            try:
                _wait_for_port(port, process, log_path)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(10)

    def prefixed(self, prefix: str) -> BenchSystem:
        """Return the same system with topics of its own, so that an earlier leg leaves nothing to consume."""
        create_topics(self.environment.bootstrap_servers, prefix=prefix)
        return replace(self, environment=replace(self.environment, topic_prefix=prefix))

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        with closing(psycopg2.connect(self.database_url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.05)
    raise LocalServerError(f"port {port} does not answer: {log_path.read_text(errors='replace')[-2000:]}")


@contextmanager
def bench_system(data: Path) -> Iterator[BenchSystem]:
    """Start broker and database, load the data and train one model; everything is removed at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        (folder / "logs").mkdir()
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        database_url = stack.enter_context(bench_database())
        environment = ServiceEnvironment(kafka.bootstrap_servers, database_url, folder / "models")
        environment.models_folder.mkdir()
        create_topics(environment.bootstrap_servers)
        run_python(["FAR-Trans/script.py", "--data", str(data)], environment.variables())
        run_python(["-m", "trainer", "--once"], environment.variables())
        system = BenchSystem(environment, data, folder, (), ())
        customers = system.query("SELECT DISTINCT customer_id FROM customer_information ORDER BY customer_id")
        isins = system.query("SELECT DISTINCT isin FROM asset_information ORDER BY isin")
        yield replace(system, customers=tuple(row[0] for row in customers), isins=tuple(row[0] for row in isins))


def run_python(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a program of the repository; raises LocalServerError with its output when it fails."""
    answer = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=dict(environment), capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise LocalServerError(f"{' '.join(arguments)} failed:\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}")


@contextmanager
def bench_database() -> Iterator[str]:
    """Yield the URL of a new database with all tables; it is dropped afterwards.

    It is on the server that DATABASE_URL names, else on a local one.
    """
    with ExitStack() as stack:
        server_url = os.environ.get("DATABASE_URL")
        if not server_url:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-postgres-"))
            server_url = stack.enter_context(LocalPostgres(folder)).url()
        name = f"bench_{os.getpid()}_{free_port()}"
        execute_statement(server_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        stack.callback(execute_statement, server_url, f"DROP DATABASE {name} WITH (FORCE)")
        url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
        upgrade_database(url)
        yield url
