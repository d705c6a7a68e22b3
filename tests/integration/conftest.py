"""A worker's surroundings, for the tests that run one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.worker_process import WorkerWorld, worker_world


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
