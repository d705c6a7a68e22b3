"""Servers, databases and topic names for the tests that need them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import make_url

from script.local.postgres import execute_statement
from tests.scheduling import pytest_xdist_make_scheduler  # noqa: F401  (a hook)
from tests.servers import ServerUnavailable, docker_problem, kafka_server, postgres_server, servers_required
from tests.shared_servers import SharedServers, wait_for_address

# `make test` runs with --hypothesis-profile=thorough. A loaded machine is no finding: no deadline.
settings.register_profile("fast", max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("fast"), max_examples=150)
settings.load_profile("fast")
_SHARED_SERVERS = pytest.StashKey[SharedServers]()
# The campaigns start first, in one process: they take longest. Tests without servers run beside them, since a campaign
# measures how fast a system recovers.
_ORDER = ("chaos", "slow", "unit", "contract", "e2e", "integration")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a parallel session: order the tests. tests/scheduling.py says which of them share a process."""
    if _workerinput(config) is not None:
        items.sort(key=lambda item: _ORDER.index(_folder(item)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the controller: tell each worker process where to ask for servers."""
    stash = node.config.stash
    if _SHARED_SERVERS not in stash:
        stash[_SHARED_SERVERS] = SharedServers()
    node.workerinput["servers_folder"] = str(stash[_SHARED_SERVERS].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """In the controller: stop the servers once all worker processes have ended."""
    if (servers := config.stash.get(_SHARED_SERVERS, None)) is not None:
        servers.stop()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `docker` run where an engine answers and has the images, `lightfm` where that could be built."""
    if item.get_closest_marker("lightfm") and find_spec("lightfm") is None:
        pytest.skip("LightFM is not installed: nothing could compile it when the environment was set up")
    if item.get_closest_marker("docker") and (problem := docker_problem()):
        pytest.skip(problem)


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(pytestconfig: pytest.Config) -> Iterator[str]:
    """The session's broker, started when the first test asks for it."""
    yield from _served("Kafka", pytestconfig, kafka_server())


@pytest.fixture(scope="session")
def postgres_admin_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """The session's database server, as somebody who may create databases."""
    yield from _served("PostgreSQL", pytestconfig, postgres_server())


@pytest.fixture
def topic_prefix() -> str:
    """For topics that no other test sees."""
    return _unique_prefix()


@pytest.fixture(scope="module")
def module_topic_prefix() -> str:
    """For topics that only the tests of one file see."""
    return _unique_prefix()


@pytest.fixture
def database_url(postgres_admin_url: str, migrated_template: str) -> Iterator[str]:
    """A database of this test's own, with all tables and no rows."""
    with _database(postgres_admin_url, template=migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(postgres_admin_url: str, migrated_template: str) -> Iterator[str]:
    """A database of this file's own, with all tables."""
    with _database(postgres_admin_url, template=migrated_template) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_admin_url: str) -> Iterator[str]:
    """A database of this test's own, without any table."""
    with _database(postgres_admin_url) as url:
        yield url


@pytest.fixture(scope="module")
def module_empty_database_url(postgres_admin_url: str) -> Iterator[str]:
    """A database of this file's own, without any table."""
    with _database(postgres_admin_url) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(postgres_admin_url: str) -> Iterator[str]:
    """The name of a database with all tables: migrated once, copied for each test."""
    from shared.postgres.migrations.upgrade import upgrade_database

    with _database(postgres_admin_url) as url:
        upgrade_database(url)
        yield make_url(url).database or ""


def _served(name: str, config: pytest.Config, server: AbstractContextManager[str]) -> Iterator[str]:
    workerinput = _workerinput(config)
    try:
        if workerinput is not None:
            server = nullcontext(wait_for_address(Path(workerinput["servers_folder"]), name))
        address = server.__enter__()
    except ServerUnavailable as error:
        reason = f"no {name}: {error}"
        if servers_required():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    yield address
    server.__exit__(None, None, None)


def _workerinput(config: pytest.Config) -> dict[str, str] | None:
    """What the controller told this worker process; None in a session of one process."""
    return getattr(config, "workerinput", None)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


@contextmanager
def _database(admin_url: str, *, template: str = "template0") -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    execute_statement(admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield make_url(admin_url).set(database=name).render_as_string(hide_password=False)
    finally:
        execute_statement(admin_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _unique_prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}."
