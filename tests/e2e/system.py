"""A whole system for the e2e tests: three real processes on a broker and a database, with synthetic data in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from script.api_client import ApiClient
from script.local.service_processes import REPOSITORY, ServiceEnvironment, Services

CUSTOMER_ID = "85583A768E48870A546D"
SCALE = "0.02"


@dataclass(frozen=True)
class System:
    """The running services, and ways to look at them from outside."""

    environment: ServiceEnvironment
    services: Services

    @property
    def url(self) -> str:
        return self.services["api"].url

    def client(self) -> ApiClient:
        return ApiClient(self.url)

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20.0, trust_env=False)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        connection = psycopg2.connect(self.environment.database_url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def execute(self, statement: str) -> None:
        """Change rows, as a test or an operator does."""
        connection = psycopg2.connect(self.environment.database_url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def customers(self, count: int) -> list[str]:
        """Return customers who own something, those who own least first."""
        rows = self.query(
            "SELECT customer_id FROM transactions WHERE customer_id <> %s GROUP BY customer_id"
            " ORDER BY count(*), customer_id LIMIT %s",
            CUSTOMER_ID,
            count,
        )
        return [row[0] for row in rows]

    def wait_until_served(self) -> str:
        """Return the active model's version once the worker answers with it."""
        with self.client() as api:
            self.services.wait(
                lambda: api.fetch("/models")["active"] is not None, what="a model", blame="trainer", seconds=120
            )
            served = api.ask(CUSTOMER_ID, "refresh_recs", wait_seconds=30)
        assert served.model_version is not None
        return served.model_version


@contextmanager
def running_system(environment: ServiceEnvironment, *, data: Path, folder: Path) -> Iterator[System]:
    """Migrate, load, start the three services, and wait until a first model is served; stop them at the end."""
    variables = environment.variables()
    run_python("-m", "shared.migrations", environment=variables)
    load = ["FAR-Trans/script.py", "--data", str(data), "--rejects", str(folder / "rejects.csv")]
    run_python(*load, environment=variables)
    services = Services(environment, folder=folder / "logs")
    try:
        services.start()
        services.wait(services["api"].answers, what="ready", blame="api")
        system = System(environment, services)
        system.wait_until_served()
        yield system
    finally:
        services.stop()


def run_python(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run a program of the repository that must succeed; return what it printed."""
    answer = start_python(*arguments, environment=environment)
    output, _ = answer.communicate(timeout=120)
    assert answer.returncode == 0, output
    return output


def start_python(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a program of the repository; its output, both streams, can be read."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=dict(os.environ) if environment is None else environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def metric(system: System, name: str, **labels: str) -> float:
    """Return one metric of the running worker or trainer, 0 when there is no such sample; `name` begins with which."""
    url = system.services[name.partition("_")[0]].metrics_url
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in httpx.get(url, timeout=10.0, trust_env=False, verify=False).text.splitlines():
        sample, _, value = line.rpartition(" ")
        if sample.partition("{")[0] == f"recommender_{name}" and all(label in sample for label in wanted):
            return float(value)
    return 0.0


def wait_until(holds: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll; fails the test when the time is over."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def change_data(system: System, customer_id: str) -> None:
    """Record a click and wait until it is stored: a training on unchanged data promotes nothing."""
    count = f"SELECT count(*) FROM user_interactions WHERE customer_id = '{customer_id}'"
    before = system.query(count)
    with system.client() as api:
        api.record_interaction(customer_id, api.fetch_assets()[0]["isin"])
    wait_until(lambda: system.query(count) != before, seconds=20, what="the click is stored")
