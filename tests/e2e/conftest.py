"""Synthetic data once per session, and one running system per test file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from script.local.service_processes import ServiceEnvironment
from tests.e2e.system import SCALE, System, run_python, running_system


@pytest.fixture(scope="session")
def synthetic_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small synthetic data set."""
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    run_python("FAR-Trans/synthesize.py", "--scale", SCALE, "--seed", "7", "--output", str(folder))
    return folder


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    """More environment variables for the services of a file; files override it."""
    return {}


@pytest.fixture(scope="module")
def system(
    kafka_bootstrap_servers: str,
    module_database_url: str,
    module_topic_prefix: str,
    synthetic_data: Path,
    service_settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """The three services on the session's broker and database, with topics and a database of their own."""
    folder = tmp_path_factory.mktemp("system")
    settings = {"CANDIDATE_ALGORITHMS": "ease", "TOPIC_PARTITIONS": "4", **service_settings}
    environment = ServiceEnvironment(
        kafka_bootstrap_servers, module_database_url, folder / "models", module_topic_prefix, settings
    )
    with running_system(environment, data=synthetic_data, folder=folder) as running:
        yield running
