"""docker compose up, for real: the README's requests, restarts, data that survives, two workers, clean stops."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from script.api_client import ApiClient
from script.local.owned_process import free_port
from tests.public_items import ITEM_KEYS, LATER_KEYS

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

REPOSITORY = Path(__file__).resolve().parents[2]
CUSTOMER = "85583A768E48870A546D"
SERVICES = ("api", "worker", "trainer")
UP = ("up", "-d", "--wait", "--wait-timeout", "180")
MODEL_WAIT_SECONDS = 120.0


class Compose:
    """The files of this repository as a compose project of its own."""

    def __init__(self, folder: Path) -> None:
        self.project = f"fartranstest{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self._env_file = folder / "env"
        self._folder = folder
        data = folder / "no-data"
        data.mkdir()
        settings = {
            "API_PORT": str(self.port),
            "DATA_DIR": str(data),
            "IMAGE": f"far-trans-recommender:{self.project}",
            "CANDIDATE_ALGORITHMS": "ease",
        }
        self._env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, timeout_seconds: float = 240.0) -> str:
        """Run docker compose and return what it printed; an exit code other than 0 fails the test with the output."""
        files = ["--env-file", str(self._env_file), "-f", str(REPOSITORY / "docker-compose.yml")]
        return _docker(["compose", "-p", self.project, *files, *arguments], timeout_seconds=timeout_seconds)

    def containers(self, service: str) -> list[str]:
        """Return the ids of this service's containers, stopped ones too."""
        return self.run("ps", "-aq", service).split()

    def remove(self) -> None:
        """Remove containers, volumes and the image of this project."""
        self.run("down", "-v", "--remove-orphans", "-t", "20")
        _docker(["image", "rm", f"far-trans-recommender:{self.project}"])


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Compose]:
    """A built and running system with the data that `up` itself puts into an empty database."""
    if shutil.which("docker") is None or not _has_compose():
        pytest.skip("docker has no compose plugin")
    project = Compose(tmp_path_factory.mktemp("compose"))
    try:
        project.run(*UP, "--build", timeout_seconds=400)
        yield project
    finally:
        if request.session.testsfailed:
            print(project.run("logs", "--tail", "60"))
        project.remove()


@pytest.fixture
def api(compose: Compose) -> Iterator[ApiClient]:
    """A client of the published port, with every service up."""
    compose.run(*UP)
    with ApiClient(compose.url) as client:
        yield client


def test_the_three_requests_of_the_readme_are_answered(compose: Compose, api: ApiClient) -> None:
    asked = httpx.post(f"{compose.url}/recommendations", json={"customer_id": CUSTOMER, "action": "request_recs"})
    assert (asked.status_code, asked.json()) == (200, {"status": "ok"})

    first = api.wait_for_list(CUSTOMER, asked.headers["X-Request-ID"], wait_seconds=MODEL_WAIT_SECONDS)
    assert len(first.items) == 10
    assert list(first.items[0]) == ITEM_KEYS + LATER_KEYS

    clicked = {"customer_id": CUSTOMER, "isin": first.items[-1]["isin"], "type": "click"}
    recorded = httpx.post(f"{compose.url}/user_interactions", json=clicked)
    assert (recorded.status_code, recorded.json()) == (200, {"status": "ok"})

    second = api.ask(CUSTOMER, "refresh_recs")
    assert _scores(second.items) != _scores(first.items)


def test_a_restarted_worker_answers_what_was_asked_meanwhile(compose: Compose, api: ApiClient) -> None:
    api.ask(CUSTOMER, "refresh_recs", wait_seconds=MODEL_WAIT_SECONDS)
    compose.run("stop", "worker")
    asked = api.request(CUSTOMER, "refresh_recs")
    compose.run("restart", "worker")

    assert len(api.wait_for_list(CUSTOMER, asked).items) == 10
    assert len(api.ask(CUSTOMER, "refresh_recs").items) == 10


def test_down_and_up_keeps_lists_models_and_topics(compose: Compose, api: ApiClient) -> None:
    before = api.ask(CUSTOMER, "refresh_recs", wait_seconds=MODEL_WAIT_SECONDS)
    models = _versions(api)
    customers = _customer_count(compose)
    compose.run("down", "-t", "20")
    assert compose.containers("api") == []
    compose.run(*UP)

    assert api.fetch_list(CUSTOMER) == before
    assert _versions(api) >= models
    assert _customer_count(compose) == customers
    assert "holds data already" in compose.run("logs", "first-data")
    assert api.ask(CUSTOMER, "refresh_recs").model_version in models


def test_two_workers_share_the_requests(compose: Compose, api: ApiClient) -> None:
    api.ask(CUSTOMER, "refresh_recs", wait_seconds=MODEL_WAIT_SECONDS)
    customers = _query(compose, "SELECT DISTINCT customer_id FROM customer_information ORDER BY 1 LIMIT 12").split()
    try:
        compose.run(*UP, "--scale", "worker=2", "--no-recreate")
        assert len(compose.containers("worker")) == 2
        _wait_for_shared_partitions(compose.containers("worker"))
        asked = {customer: api.request(customer, "refresh_recs") for customer in customers}
        for customer, request_id in asked.items():
            # How many names are suitable depends on the customer.
            assert api.wait_for_list(customer, request_id).items
    finally:
        compose.run(*UP, "--scale", "worker=1", "--no-recreate")


def test_the_load_service_replaces_the_data_and_never_doubles_it(compose: Compose, api: ApiClient) -> None:
    customers = _customer_count(compose)

    loaded = compose.run("run", "--rm", "-T", "load", "--max-rejects", "5%")
    assert "synthetic data at scale 0.02" in loaded
    assert _customer_count(compose) == customers > 0


@pytest.mark.usefixtures("api")
def test_only_the_api_is_published_and_on_loopback(compose: Compose) -> None:
    published = {
        (service, port, binding["HostIp"], binding["HostPort"])
        for service in (*SERVICES, "kafka", "postgres")
        for container in compose.containers(service)
        for port, bindings in _inspect(container)["HostConfig"]["PortBindings"].items()
        for binding in bindings
    }
    assert published == {("api", "8000/tcp", "127.0.0.1", str(compose.port))}


@pytest.mark.usefixtures("api")
def test_no_process_is_root_and_ours_have_no_capability_and_nothing_to_write(compose: Compose) -> None:
    for service in (*SERVICES, "kafka", "postgres"):
        assert compose.run("exec", "-T", service, "stat", "-c", "%u", "/proc/1").strip() != "0", service
    for service in SERVICES:
        assert "\nCapEff:\t0000000000000000\n" in compose.run("exec", "-T", service, "cat", "/proc/1/status"), service
        assert _cannot_write(compose, service, "/app"), service
        assert _cannot_write(compose, service, "/opt/venv"), service
    assert _cannot_write(compose, "worker", "$MODELS_DIR")


@pytest.mark.usefixtures("api")
def test_a_stop_ends_every_service_with_exit_code_0(compose: Compose) -> None:
    compose.run("stop", *SERVICES)

    for service in SERVICES:
        (container,) = compose.containers(service)
        state = _inspect(container)["State"]
        assert (service, state["ExitCode"], state["OOMKilled"]) == (service, 0, False)


def _docker(arguments: Sequence[str], *, timeout_seconds: float = 60.0) -> str:
    # Settings of the shell that runs the tests would win over the project's own file.
    environment = {
        name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith("DOCKER_")
    }
    finished = subprocess.run(
        ["docker", *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert finished.returncode == 0, f"docker {' '.join(arguments)}\n{finished.stdout[-6000:]}"
    return finished.stdout


def _has_compose() -> bool:
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def _inspect(container: str) -> dict[str, Any]:
    (description,) = json.loads(_docker(["inspect", container]))
    return cast(dict[str, Any], description)


def _cannot_write(compose: Compose, service: str, folder: str) -> bool:
    said = compose.run("exec", "-T", service, "sh", "-c", f"! touch {folder}/written 2>&1")
    return "Read-only file system" in said


def _wait_for_shared_partitions(workers: Sequence[str]) -> None:
    """Return once every worker has partitions and every partition has one worker."""
    deadline = time.monotonic() + 30
    while True:
        shares = [_assigned_partitions(worker) for worker in workers]
        if all(shares) and sorted(partition for share in shares for partition in share) == list(range(12)):
            return
        assert time.monotonic() < deadline, f"the workers have partitions {shares}"
        time.sleep(0.5)


def _assigned_partitions(worker: str) -> list[int]:
    """Return what this worker's newest assignment gave it; empty before the first one."""
    lines = [line for line in _docker(["logs", worker]).splitlines() if '"event": "consumer.assigned"' in line]
    partitions = json.loads(lines[-1])["partitions"] if lines else {}
    return cast(list[int], partitions.get("recommendations.requested.v1", []))


def _query(compose: Compose, statement: str) -> str:
    return compose.run("exec", "-T", "postgres", "psql", "-U", "recommender", "-tAc", statement)


def _customer_count(compose: Compose) -> int:
    return int(_query(compose, "SELECT count(*) FROM customer_information"))


def _versions(api: ApiClient) -> set[str]:
    return {model["version"] for model in api.fetch("/models")["models"]}


def _scores(items: Sequence[dict[str, object]]) -> list[tuple[object, object]]:
    return [(item["isin"], item["score"]) for item in items]
