"""What several modules need: a worker with everything around it, and the trainer's store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shared.adapters.postgres_trainer import PostgresTrainerStore, build_engine
from tests.integration.worker_process import WorkerWorld, worker_world
from tests.unit.trainer.trainer_fakes import FakeTrainerStore
from trainer.ports import TrainerStore


@pytest.fixture
def world(kafka_bootstrap_servers: str, database_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[WorkerWorld]:
    """Topics and a database of its own, and a first model."""
    with worker_world(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=database_url,
        topic_prefix=topic_prefix,
        folder=tmp_path,
    ) as world:
        world.publish_model()
        yield world


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The trainer's connections to a database of its own."""
    engine = build_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest) -> TrainerStore:
    """The trainer's store, fake and real in turn."""
    if request.param == "fake":
        return FakeTrainerStore()
    return PostgresTrainerStore(request.getfixturevalue("engine"), cluster_id="cluster", consumer_group="trainer")
