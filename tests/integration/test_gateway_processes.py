"""Several gateway processes behind one port: who serves, who replaces whom, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest

from script.local.owned_process import port_is_free
from shared import events
from shared.events import decode
from shared.kafka.topics import create_topics
from tests.integration.gateway_process import GatewayProcess, gateway_process, post, read_topic, unused_port
from tests.integration.test_gateway import execute
from tests.integration.test_waiting import KEY, answer, decide, sessions
from tests.integration.worker_process import WorkerWorld
from worker.store import PostgresWorkerStore

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
REQUEST = {"customer_id": "C1", "action": "request_recs"}
POSTS = 'http_requests_total{method="POST",route="/recommendations",status="200"}'


@contextmanager
def two_processes(bootstrap_servers: str, database_url: str = NOWHERE, **settings: Any) -> Iterator[GatewayProcess]:
    """Two ready processes."""
    with gateway_process(
        bootstrap_servers=bootstrap_servers, database_url=database_url, api_processes=2, **settings
    ) as gateway:
        wait_until(lambda: both_listen(gateway), "both listen")
        yield gateway


@pytest.fixture(autouse=True)
def metrics_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the gateways keep the values of their metrics; a killed parent leaves some."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def topics(kafka_bootstrap_servers: str, module_topic_prefix: str) -> str:
    create_topics(kafka_bootstrap_servers, prefix=module_topic_prefix)
    return module_topic_prefix


def wait_until(condition: Any, what: str, *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def children(gateway: GatewayProcess) -> list[psutil.Process]:
    return list(psutil.Process(gateway.process.pid).children())


def connections(process: psutil.Process) -> Sequence[Any]:
    try:
        return list(process.net_connections("tcp"))
    except psutil.NoSuchProcess:
        return []


def is_listening(process: psutil.Process) -> bool:
    """Whether the process listens on the public port beside that of its metrics."""
    return [one.status for one in connections(process)].count(psutil.CONN_LISTEN) == 2


def both_listen(gateway: GatewayProcess) -> bool:
    return len(children(gateway)) == 2 and all(map(is_listening, children(gateway)))


def has_connection(process: psutil.Process, client_port: int) -> bool:
    return any(one.raddr and one.raddr.port == client_port for one in connections(process))


def client_of(gateway: GatewayProcess, process: psutil.Process, path: str = "/health/live") -> httpx.Client:
    """A client whose one connection is to this process; every answer to `path` until then must be 200."""
    for _ in range(200):
        client = httpx.Client(base_url=gateway.http.base_url, timeout=30.0, trust_env=False)
        answer = client.get(path)
        assert answer.status_code == 200
        client_port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        if has_connection(process, client_port):
            return client
        client.close()
    raise AssertionError("no connection came to this process")


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def logged(gateway: GatewayProcess, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, gateway.log_lines()) if line["event"] == event]


def sample(gateway: GatewayProcess, name: str) -> float:
    """The value of one series, as any process answers; 0 without it."""
    lines = [line for line in gateway.metrics().splitlines() if line.startswith(f"recommender_gateway_{name} ")]
    return float(lines[0].split()[-1]) if lines else 0.0


def test_every_process_serves_and_one_scrape_has_the_sums(
    kafka_bootstrap_servers: str, topics: str, database_url: str
) -> None:
    execute(database_url, "INSERT INTO customer_information (customer_id, recorded_on) VALUES ('C1', now())")
    with two_processes(kafka_bootstrap_servers, database_url, topic_prefix=topics) as gateway, ExitStack() as stack:
        wait_until(lambda: sample(gateway, "processes") == 2, "both are counted")
        for process in children(gateway):
            client = stack.enter_context(closing(client_of(gateway, process, "/health/ready")))
            assert client.post("/recommendations", json=REQUEST).status_code == 200
            assert client.get("/recommendations/C1").json()["recommendations"] == []
        seconds = 'http_request_seconds_count{method="POST",route="/recommendations"}'
        for series in (POSTS, seconds):  # each process answers some of ten scrapes
            wait_until(lambda series=series: {sample(gateway, series) for _ in range(10)} == {2}, "all have the sum")
        wait_until(lambda: sample(gateway, "open_connections") >= 2, "the connections are counted")
        assert sorted(line["process"] for line in logged(gateway, "gateway.started")) == [0, 1]
        assert psutil.Process(gateway.process.pid).num_threads() == 1  # it forks


def test_counters_go_on_and_gauges_do_not_when_a_process_is_replaced(
    kafka_bootstrap_servers: str, topics: str, metrics_folders: Path
) -> None:
    with two_processes(kafka_bootstrap_servers, topic_prefix=topics) as gateway:
        seen: list[float] = []
        files: set[Path] = set()
        for count in (1, 2, 3, 4):  # each time it is away for longer
            process = children(gateway)[-1]
            with closing(client_of(gateway, process)) as client:
                assert client.post("/recommendations", json=REQUEST).status_code == 200
            wait_until(lambda count=count: sample(gateway, POSTS) == count, "it is counted", seconds=30)
            process.kill()
            wait_until(lambda process=process: process not in children(gateway), "it ends")
            if count == 4:
                wait_until(lambda: sample(gateway, "processes") == 1, "one is away", seconds=30)
            while not both_listen(gateway):
                seen.append(sample(gateway, POSTS))
            wait_until(lambda: sample(gateway, "processes") == 2, "the replacement is counted", seconds=30)
            files.update(metrics_folders.glob("*/*.db"))
        assert seen == sorted(seen)
        assert sample(gateway, POSTS) == 4
        # A process has the files of the one before it: each name ends with the index.
        assert {path.stem.rpartition("_")[2] for path in files} == {"0", "1"}


def test_clients_wait_for_lists_and_follow_them_on_every_process(
    kafka_bootstrap_servers: str, topics: str, database_url: str
) -> None:
    with (
        two_processes(kafka_bootstrap_servers, database_url, topic_prefix=topics, request_id_key=KEY) as gateway,
        ThreadPoolExecutor() as pool,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(closing(client_of(gateway, one))) for one in children(gateway) for _ in range(2)]
        posted = clients[0].post("/recommendations", json=REQUEST)
        request_id = UUID(posted.headers["X-Request-ID"])  # with a signature that both processes know
        path = f"/recommendations/C1?request_id={request_id}&wait=20"
        waiting = [pool.submit(client.get, path) for client in clients[::2]]
        following = [pool.submit(first_event, client, "/recommendations/C1/events") for client in clients[1::2]]
        wait_until(lambda: sessions(database_url, "gateway-listener") == 2, "each listens")
        with closing(PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")) as store:
            answer(store, decide(request_id, "C1"))
        assert [one.result(20).headers["X-Request-ID"] for one in waiting] == [str(request_id)] * 2
        assert [one.result(20) for one in following] == [f"id: {request_id}"] * 2


def first_event(client: httpx.Client, path: str) -> str:
    """The line with the id of the first list."""
    with client.stream("GET", path) as stream:
        return next(line for line in stream.iter_lines() if line.startswith("id:"))


def test_on_sigterm_every_process_is_unready_drains_and_ends(
    kafka_bootstrap_servers: str, topics: str, metrics_folders: Path
) -> None:
    with two_processes(
        kafka_bootstrap_servers, topic_prefix=topics, shutdown_drain_seconds=10.0, shutdown_timeout_seconds=20.0
    ) as gateway:
        processes = children(gateway)
        assert len(list(metrics_folders.iterdir())) == 1
        clients = [client_of(gateway, process) for process in processes]
        started_at = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        for client in clients:
            wait_until(
                lambda client=client: client.get("/health/ready").status_code == 503, "it is unready", seconds=30
            )
        for client in clients:
            assert client.post("/recommendations", json=REQUEST).status_code == 200
        assert gateway.process.wait(40) == 0
        assert time.monotonic() - started_at < 40
        assert alive(processes) == []
        assert len(logged(gateway, "gateway.stopped")) == 2
        assert logged(gateway, "process.ended") == []
        assert list(metrics_folders.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_answers_every_request_that_it_published(
    kafka_bootstrap_servers: str, topic_prefix: str, number: signal.Signals
) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    answered: list[str] = []

    def post_until_closed(client: httpx.Client) -> None:
        with closing(client), suppress(httpx.TransportError):
            while True:
                answer = client.post("/recommendations", json=REQUEST)
                assert answer.status_code == 200
                answered.append(answer.headers["X-Request-ID"])

    with two_processes(kafka_bootstrap_servers, topic_prefix=topic_prefix) as gateway, ThreadPoolExecutor(8) as pool:
        clients = [client_of(gateway, process) for process in children(gateway) for _ in range(4)]
        posting = [pool.submit(post_until_closed, client) for client in clients]
        wait_until(lambda: len(answered) > 50, "there is load")
        gateway.process.send_signal(number)
        assert gateway.process.wait(40) == 0
        for one in posting:
            one.result(20)
        assert logged(gateway, "process.killed") == []
    messages = read_topic(kafka_bootstrap_servers, topic_prefix + events.RECOMMENDATIONS_REQUESTED)
    published = [str(decode(events.RECOMMENDATIONS_REQUESTED, message.value()).event_id) for message in messages]
    assert sorted(published) == sorted(answered)


def test_a_signal_right_after_the_start_ends_the_gateway_with_0(kafka_bootstrap_servers: str, topics: str) -> None:
    environment = {**os.environ, **environment_of(kafka_bootstrap_servers, topic_prefix=topics, api_processes=2)}
    with subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        while "processes.starting" not in (line := process.stderr.readline()):
            lines.append(line)
        wait_until(lambda: len(psutil.Process(process.pid).children()) == 2, "they are forked")
        process.terminate()
        lines += process.stderr.readlines()
        assert process.wait(40) == 0
    assert [line for line in lines if '"level": "error"' in line] == []


def test_a_process_that_does_not_stop_is_killed_in_time(kafka_bootstrap_servers: str, topics: str) -> None:
    with two_processes(kafka_bootstrap_servers, topic_prefix=topics, shutdown_timeout_seconds=10.0) as gateway:
        processes = children(gateway)
        processes[0].suspend()
        started_at = time.monotonic()
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(40) == 1
        assert time.monotonic() - started_at < 30  # the suspended process would never end
        wait_until(lambda: alive(processes) == [], "it is killed", seconds=30)
        assert [line["pid"] for line in logged(gateway, "process.killed")] == [processes[0].pid]


def test_when_the_parent_is_killed_no_process_serves_any_longer(kafka_bootstrap_servers: str, topics: str) -> None:
    with two_processes(kafka_bootstrap_servers, topic_prefix=topics) as gateway:
        processes = children(gateway)
        processes[0].suspend()
        gateway.process.kill()
        gateway.process.wait()
        wait_until(lambda: alive(processes) == [], "they end", seconds=30)
        # The last thread of a process closes its sockets.
        wait_until(lambda: port_is_free(gateway.port), "the port is free", seconds=30)


def test_a_killed_process_takes_no_other_with_it_and_is_replaced(kafka_bootstrap_servers: str, topics: str) -> None:
    with two_processes(kafka_bootstrap_servers, topic_prefix=topics) as gateway:
        killed, other = children(gateway)
        statuses: list[int] = []
        is_over = threading.Event()

        def post_until_over(client: httpx.Client) -> None:
            while not is_over.is_set():
                statuses.append(client.post("/recommendations", json=REQUEST).status_code)

        with closing(client_of(gateway, other)) as client:
            posting = threading.Thread(target=post_until_over, args=(client,))
            posting.start()
            killed.kill()
            wait_until(lambda: killed not in children(gateway) and both_listen(gateway), "another takes its place")
            is_over.set()
            posting.join()
        assert set(statuses) == {200}
        [replacement] = [process for process in children(gateway) if process != other]
        with closing(client_of(gateway, replacement, "/health/ready")) as client:  # no answer of it was 503
            assert client.post("/recommendations", json=REQUEST).status_code == 200
        [line] = logged(gateway, "process.ended")
        assert (line["pid"], line["exit_code"], line["level"]) == (killed.pid, -signal.SIGKILL, "error")


@pytest.mark.parametrize(
    ("taken", "event"), [("api_port", "port.not_available"), ("api_metrics_port", "metrics.not_served")]
)
def test_when_a_port_is_in_use_the_gateway_ends_with_one_line(taken: str, event: str) -> None:
    # As another gateway of several processes listens: Linux would let this one join it.
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        ended = run_to_end(**{"api_processes": 2, taken: port})
    [error] = [line for line in map(json.loads, ended.stderr.splitlines()) if line["level"] == "error"]
    assert (ended.returncode, error["event"], error["port"]) == (1, event, port)


def test_wrong_settings_end_the_gateway_with_one_line_before_a_process_starts() -> None:
    ended = run_to_end(api_processes="many")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "API_PROCESSES" in ended.stderr


def run_to_end(**settings: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **environment_of(f"127.0.0.1:{unused_port()}", **settings)}
    command = [sys.executable, "-m", "api"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def environment_of(bootstrap_servers: str, **settings: object) -> dict[str, str]:
    given = {"api_port": unused_port(), "api_metrics_port": 0, "database_url": NOWHERE, **settings}
    return {name.upper(): str(value) for name, value in {"kafka_bootstrap_servers": bootstrap_servers, **given}.items()}


def test_a_key_has_one_effect_on_all_processes_and_no_second_body(world: WorkerWorld) -> None:
    click = {"customer_id": "C1", "isin": world.model.id_map.isins[0], "type": "click"}
    view = {**click, "type": "view"}
    with two_processes(world.bootstrap_servers, world.database_url, topic_prefix=world.topic_prefix) as gateway:
        with ExitStack() as stack:
            first, second = (stack.enter_context(closing(client_of(gateway, process))) for process in children(gateway))

            def post_click(client: httpx.Client, key: str, body: dict[str, str]) -> httpx.Response:
                return client.post("/user_interactions", json=body, headers={"Idempotency-Key": key})

            same = [post_click(client, "same", click) for client in (first, second, first)]
            assert {answer.status_code for answer in same} == {200}
            assert len({answer.headers["X-Request-ID"] for answer in same}) == 1
            assert post_click(first, "same", view).status_code == 422  # this process knows the key
            # Nobody can tell yet that the key was used: the worker refuses the second body.
            assert [post_click(first, "other", click).status_code, post_click(second, "other", view).status_code] == [
                200,
                200,
            ]
            world.start()
            world.wait(lambda: world.count("dead_letters") == 1, "the second body is a dead letter")
            world.wait(lambda: world.count("user_interactions") == 2, "each key had one effect")
        for process in children(gateway):
            with closing(client_of(gateway, process)) as client:
                assert post_click(client, "third", click).status_code == 200
        assert world.rows("SELECT DISTINCT split_part(reason, ':', 1) FROM dead_letters") == [("IdempotencyKeyReused",)]
        world.wait(lambda: world.count("user_interactions") == 3, "the third key has one effect")
        with gateway_process(
            bootstrap_servers=world.bootstrap_servers, database_url=world.database_url, topic_prefix=world.topic_prefix
        ) as later:
            key = {"Idempotency-Key": "other"}
            assert post(later, "/user_interactions", view, **key).status_code == 422  # from the database
