"""`make demo` as a user sees it: answers, a second one beside it, kill -9, SIGTERM, and real data if they are there."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from script.local.owned_process import command_line
from script.local.service_processes import REPOSITORY
from tests.e2e.system import start_python, wait_until
from tests.far_trans_files import SOUND_ROWS, write_folder
from tests.servers import temporary_folder

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(1200)]

START_SECONDS = 600.0  # on a loaded machine; the demo bounds its own waits
END_SECONDS = 120.0
REAL_DATA = Path(os.environ.get("FAR_TRANS_DATA") or REPOSITORY.parent / "shared" / "FAR-Trans")


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """One state folder for all demos of this file."""
    with state_folder("demo") as folder:
        yield folder


@contextmanager
def state_folder(name: str) -> Iterator[Path]:
    with temporary_folder(name) as folder:
        folder.chmod(0o711)  # as root: for the user of the database server, whose folder lies inside
        yield folder


@contextmanager
def running_demo(state: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A demo that is killed at the end, however the test went."""
    environment = {**os.environ, "DEMO_STATE_DIR": str(state)}
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "TOPIC_PREFIX"):
        environment.pop(name, None)
    demo = start_python("script/demo.py", *arguments, environment=environment)
    try:
        yield demo
    finally:
        demo.kill()
        demo.communicate()


def finish(demo: subprocess.Popen[str], *, seconds: float = START_SECONDS) -> str:
    """Return the whole output of a demo that ends by itself."""
    output, _ = demo.communicate(timeout=seconds)
    return output


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """Return the output up to the line with this text; the demo bounds its own waits."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def server_pids(state: Path) -> list[int]:
    """The five processes that a demo keeps; PostgreSQL's own pid file is not one of its."""
    return [int(path.read_text()) for path in state.rglob("*.pid") if path.name != "postmaster.pid"]


def are_gone(pids: list[int]) -> bool:
    return not any(any(command_line(pid)) for pid in pids)


def rows_of_the_list(output: str) -> list[str]:
    """The ISINs of the printed table, by rank."""
    rows = re.findall(r"^\| +(\d+) \| +([A-Z0-9]{12}) +\| +(\S.*?) +\|", output, flags=re.MULTILINE)
    assert [int(rank) for rank, _, _ in rows] == list(range(1, 11)), output
    return [isin for _, isin, _ in rows]


def customer_of(output: str) -> str:
    """The customer whose list is shown."""
    found = re.search(r"assets for customer ([0-9A-F]{20})", output)
    assert found is not None, output
    return found[1]


def test_the_demo_answers_stays_up_and_survives_a_kill(state: Path) -> None:
    with running_demo(state) as demo:
        output = read_until(demo, "Ctrl-C stops everything")
        customer_id = customer_of(output)
        url = re.search(r"^ +API +(http://127\.0\.0\.1:\d+)", output, flags=re.MULTILINE)
        assert url is not None
        assert len(httpx.get(f"{url[1]}/recommendations/{customer_id}").json()["recommendations"]) == 10
        rows_of_the_list(output)

        with running_demo(state, "--once") as second:
            complaint = finish(second, seconds=END_SECONDS)
        assert second.returncode == 2
        assert url[1] in complaint

        pids = server_pids(state)
        assert len(pids) == 5
        demo.send_signal(signal.SIGKILL)
    wait_until(lambda: are_gone(pids), seconds=END_SECONDS, what="what a killed demo started has ended")


def test_the_next_demo_answers_at_once_and_leaves_nothing_running(state: Path) -> None:
    with running_demo(state, "--once") as first:
        finish(first)
    with running_demo(state, "--once") as demo:
        output = finish(demo)

    assert demo.returncode == 0, output
    assert "was loaded earlier" in output
    rows_of_the_list(output)
    assert output.count("$ curl") == 3
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", output)
    assert server_pids(state) == []


def test_a_demo_ends_cleanly_on_sigterm_while_it_starts(state: Path) -> None:
    with running_demo(state) as demo:
        read_until(demo, "Postgres is up")
        pids = server_pids(state)
        demo.send_signal(signal.SIGTERM)
        output = finish(demo, seconds=END_SECONDS)

    assert demo.returncode == 130, output
    assert pids
    assert are_gone(pids)
    assert server_pids(state) == []


def test_a_demo_ends_cleanly_on_ctrl_c_while_it_is_up(state: Path) -> None:
    with running_demo(state) as demo:
        read_until(demo, "Ctrl-C stops everything")
        pids = server_pids(state)
        demo.send_signal(signal.SIGINT)
        output = finish(demo, seconds=END_SECONDS)

    assert demo.returncode == 0, output
    assert len(pids) == 5
    assert are_gone(pids)
    assert server_pids(state) == []


def test_a_service_that_ends_by_itself_ends_the_demo_with_the_end_of_its_log(state: Path) -> None:
    with running_demo(state) as demo:
        read_until(demo, "Ctrl-C stops everything")
        [pid_file] = state.rglob("worker.pid")
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        output = finish(demo, seconds=END_SECONDS)

    assert demo.returncode == 1
    assert "worker ended by itself" in output
    assert "consumer.assigned" in output
    assert server_pids(state) == []


def test_a_folder_without_data_is_refused(state: Path, tmp_path: Path) -> None:
    with running_demo(state, "--data", str(tmp_path)) as demo:
        output = finish(demo, seconds=END_SECONDS)

    assert demo.returncode == 2
    assert "customer_information.csv" in output


def test_data_that_the_loader_refuses_end_the_demo_with_the_reason_and_an_option_accepts_them(tmp_path: Path) -> None:
    rows = {**SOUND_ROWS, "close_prices": "GRS1,2018-01-02,3.5\nGRS1,1/3/18,3.5"}
    data = str(write_folder(tmp_path / "data", rows))
    with state_folder("demo-refused") as state:
        with running_demo(state, "--once", "--data", data) as demo:
            output = finish(demo)
        assert demo.returncode == 2, output
        assert "line 3: timestamp is not a date like 2018-01-02" in output
        assert "--max-rejects 50%" in output
        assert server_pids(state) == []

        with running_demo(state, "--data", data, "--max-rejects", "50%") as demo:
            assert "some rows were rejected" in read_until(demo, "loaded the files in")


def test_real_data_give_ten_named_assets_that_the_customer_does_not_own() -> None:
    if not (REAL_DATA / "transactions.csv").is_file():
        pytest.skip(f"no real data in {REAL_DATA} (set FAR_TRANS_DATA)")
    with state_folder("demo-real") as state, running_demo(state, "--once", "--data", str(REAL_DATA)) as demo:
        output = finish(demo)
    assert demo.returncode == 0, output
    isins, customer_id = rows_of_the_list(output), customer_of(output)
    with (REAL_DATA / "transactions.csv").open(newline="") as file:
        owned = {
            row["ISIN"]
            for row in csv.DictReader(file)
            if row["customerID"] == customer_id and row["transactionType"] == "Buy"
        }
    assert owned
    assert len(set(isins)) == 10
    assert not owned & set(isins)
