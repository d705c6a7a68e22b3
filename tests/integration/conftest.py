"""What several modules need: a worker with everything around it, and the trainer's store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shared.postgres.engine import build_engine
from tests.integration.trainer_process import REPOSITORY, System, load, postgres_store
from tests.integration.worker_process import WorkerWorld, worker_world
from tests.unit.trainer.service.trainer_fakes import FakeTrainerStore
from trainer.service.ports import TrainerStore


@pytest.fixture
def world(kafka_bootstrap_servers: str, database_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[WorkerWorld]:
    """Topics and a database of its own, and a first model."""
    with worker_world(
        bootstrap_servers=kafka_bootstrap_servers, database_url=database_url, topic_prefix=topic_prefix, folder=tmp_path
    ) as world:
        world.publish_model()
        yield world


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The trainer's connections to a database of its own."""
    engine = build_engine(database_url, application_name="trainer", pool_size=4)
    yield engine
    engine.dispose()


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest) -> TrainerStore:
    """The trainer's store, fake and real in turn."""
    if request.param == "fake":
        return FakeTrainerStore()
    return postgres_store(request.getfixturevalue("engine"))


@pytest.fixture(scope="session")
def reference_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small invented data set as CSV files."""
    folder = tmp_path_factory.mktemp("reference")
    command = [
        sys.executable,
        str(REPOSITORY / "FAR-Trans" / "synthesize.py"),
        "--scale",
        "0.01",
        "--output",
        str(folder),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)
    return folder


@pytest.fixture
def empty_system(
    kafka_bootstrap_servers: str, database_url: str, topic_prefix: str, tmp_path: Path
) -> Iterator[System]:
    """Broker, database and volume of one test, without any data."""
    system = System(kafka_bootstrap_servers, database_url, tmp_path, topic_prefix)
    yield system
    for trainer in system.trainers:
        trainer.stop()
        print(trainer.log_file.read_text())  # pytest shows it when the test failed


@pytest.fixture
def system(empty_system: System, reference_folder: Path) -> System:
    """The same with a small data set."""
    load(empty_system, reference_folder)
    return empty_system
