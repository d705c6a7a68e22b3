"""Every command that README, docs, help texts and messages print, extracted, and run where this machine can.

A command of a page is run as it is printed, on a real broker and database with invented data and with a gateway, a
worker and a model: STAND_INS names what is put in place of an example value. What cannot be run here stands in
NOT_RUN_HERE with the test that does it, and only its target, options and services are checked. Commands of help texts
and messages are checked in that way too.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import Producer

from script.api_client import ApiClient
from script.local.service_processes import ServiceEnvironment, ServiceProcess, Services
from script.running_system import noted_demo
from shared.events import INTERACTIONS_RECORDED, InteractionRecorded, encode
from tests.e2e.system import System, run_python, wait_until
from tests.printed_commands import (
    PAGES,
    PROSE,
    REPOSITORY,
    all_help_texts,
    check_exists,
    commands_in,
    commands_of_page,
    messages,
)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(1200)]

README_CUSTOMER, README_ASSET = "6C0C752E66D5F0486C71", "LU0006344922"
COMPOSE = "tests/e2e/test_compose.py"
# What is not run here, by the beginning of the command: a test or a file that does run it.
NOT_RUN_HERE = {
    "docker compose": COMPOSE,
    "make benchmark": "tests/slow/trainer/benchmark/test_benchmark_commands.py",  # hours on the published data
    "make bench": "tests/integration/test_bench.py",
    "make growth": "tests/integration/test_growth.py",  # hours
    "make chaos": "tests/chaos/test_campaign.py",  # starts a broker of its own, and takes minutes
    "make demo": "tests/e2e/test_demo.py",  # starts a broker of its own
    "make lint": ".ci/run",
    "make types": ".ci/run",
    "make test": ".ci/run",  # it runs this test
    "make test-fast": ".ci/run",  # a part of the same
    "make lock": "tests/unit/test_locks.py",  # asks a package index
    "python FAR-Trans/download.py": "tests/unit/far_trans/test_download.py",  # from the publisher's server
    "python script/render_settings.py": "tests/unit/test_env_example.py",  # writes into the repository
    "python script/api_keys.py": "tests/unit/api/access/test_api_keys.py",  # writes into the repository
}
# Commands that rightly end with another exit code than 0, and what they say then.
REFUSED = {
    "make load": "is missing in",  # a fresh clone has no data in FAR-Trans/
    'make load LOAD_OPTIONS="--max-rejects 5%"': "is missing in",
    "python script/offsets.py set": "Missing option",  # the page only names it
    "python script/offsets.py set --group worker --topic recommendations.requested.v1 --partition 3 --to earliest": (
        "nothing was changed; --yes does it"
    ),
}
SERVED = ("api", "worker", "trainer")  # `python -m NAME` runs until a signal
ADDRESSES = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "TOPIC_PREFIX")
NEEDS_ADDRESSES = (
    *("-m shared.migrations", "-m trainer", "make migrate"),
    *("script/offsets.py", "script/dead_letters.py", "script/erase_customer.py"),
)


def all_commands() -> list[tuple[str, str]]:
    """Return a page and a command for each command that a page prints."""
    found: dict[str, str] = {}
    for page in PAGES:
        for command in commands_of_page(page):
            found.setdefault(command, page)
    return sorted((page, command) for command, page in found.items())


COMMANDS = all_commands()


def why_not_run(command: str) -> str | None:
    """Return the file that runs this command instead, None when it is run here."""
    files = (file for name, file in NOT_RUN_HERE.items() if f"{command} ".startswith(f"{name} "))
    return next(files, None)


@dataclass
class Printed:
    """A running system that the printed commands work on."""

    system: System
    data: Path
    folder: Path
    model_version: str
    _letters: int = field(default=0, init=False)

    def stand_ins(self, command: str) -> dict[str, str]:
        """Return what takes the place of example values, by regular expression; makes what must be there first."""
        group = self.system.environment.more["WORKER_CONSUMER_GROUP"]
        known: dict[str, Callable[[], str]] = {
            r"http://127\.0\.0\.1:8000": lambda: self.system.url,
            r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": self._request,
            r"\bVERSION\b": lambda: self.model_version,
            r"(?<=--output )DIR\b": lambda: str(self.folder / "synthesized"),
            r"\bDIR\b": lambda: str(self.data),
            r"\bTABLE \.\.\.": lambda: "close_prices",
            r"--scale 1\b": lambda: "--scale 0.01",  # a hundredth of the time
            r"(?<=--output )letter\.json\b": lambda: str(self.folder / f"exported-{self._letters}.json"),
            r"(?<=--value )letter\.json\b": self._value,
            r"(?<= )17\b": self._letter,
            r"(?<= )18\b": self._letter,
            r"(?<=erase_customer\.py )CUSTOMER\b": self._customer,
            r"--group worker\b": lambda: f"--group {self._stopped_group(group)}",
        }
        return {pattern: make() for pattern, make in known.items() if re.search(pattern, command)}

    def prepare(self, command: str) -> None:
        """Do what a reader of the page has done before."""
        if "--undo" in command:
            self.run("python FAR-Trans/script.py --data DIR --append")

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder of the repository."""
        replaced = re.sub(r"\[([^\]]*)\]", r"\1", command) if command.startswith("python ") else command
        for pattern, stand_in in self.stand_ins(replaced).items():
            replaced = re.sub(pattern, stand_in.replace("\\", "\\\\"), replaced)
        arguments = shlex.split(replaced)
        if arguments[0] == "python":
            arguments[0] = sys.executable
        if arguments[0] == "curl":
            arguments[1:1] = ["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]
        return subprocess.run(
            arguments, cwd=REPOSITORY, env=self.variables(command), capture_output=True, text=True, check=False
        )

    def variables(self, command: str) -> dict[str, str]:
        """Return the environment: addresses only where a page says that they are needed, else the demo is found."""
        variables = self.system.environment.variables()
        if not any(name in command for name in NEEDS_ADDRESSES):
            for name in ADDRESSES:
                variables.pop(name, None)
        return {**variables, "DEMO_STATE_DIR": str(self.folder)}

    def _request(self) -> str:
        body = {"customer_id": README_CUSTOMER, "action": "refresh_recs"}
        with self.system.http() as http:
            return str(http.post("/recommendations", json=body).headers["X-Request-ID"])

    def _letter(self) -> str:
        """Return the number of a new dead letter whose cause is gone."""
        self._letters += 1
        event = InteractionRecorded(customer_id=README_CUSTOMER, isin=f"XX{self._letters:010d}", type="click")
        environment = self.system.environment
        producer = Producer({"bootstrap.servers": environment.bootstrap_servers})
        producer.produce(environment.topic_prefix + INTERACTIONS_RECORDED, encode(event), README_CUSTOMER)
        producer.flush(20)
        newest = "SELECT max(dead_letter_id) FROM dead_letters HAVING count(*) >= %s"
        wait_until(lambda: bool(self.system.query(newest, self._letters)), seconds=30, what="a dead letter")
        self.system.execute(
            "INSERT INTO asset_information (isin, asset_name, asset_category, recorded_on)"
            f" VALUES ('{event.isin}', 'New', 'Stock', '2022-01-01')"
        )
        return str(self.system.query(newest, self._letters)[0][0])

    def _customer(self) -> str:
        """Return the id of a customer of whom the bank knows something."""
        self.system.execute(
            "INSERT INTO customer_information (customer_id, recorded_on) VALUES ('to-be-erased', '2022-01-01')"
        )
        return "to-be-erased"

    def _value(self) -> str:
        file = self.folder / "letter.json"
        file.write_bytes(encode(InteractionRecorded(customer_id=README_CUSTOMER, isin=README_ASSET, type="click")))
        return str(file)

    def _stopped_group(self, running: str) -> str:
        """Return a group without a consumer that has stored an offset of each partition."""
        stopped = f"{running}-stopped"
        self.system.execute(
            "INSERT INTO consumer_offsets SELECT (jsonb_populate_record(o, jsonb_build_object("
            f"'consumer_group', '{stopped}', 'partition', n, 'next_offset', 0))).*"
            f" FROM consumer_offsets o, generate_series(0, 3) n WHERE consumer_group = '{running}'"
            " ON CONFLICT DO NOTHING"
        )
        return stopped


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small invented data set in which the customer and the asset of the README exist."""
    folder = tmp_path_factory.mktemp("printed") / "data"
    run_python("FAR-Trans/synthesize.py", "--scale", "0.01", "--output", str(folder))
    rows = {
        "customer_information.csv": f"{README_CUSTOMER},Mass,Income,CAP_LT30K,2018-01-02,2018-01-02",
        "asset_information.csv": f"{README_ASSET},Money Market Fund,,MTF,,,,,2018-01-02",
        "close_prices.csv": f"{README_ASSET},2022-11-28,818.67",
    }
    for name, row in rows.items():
        with (folder / name).open("a", newline="") as file:
            csv.writer(file).writerow(row.split(","))
    return folder


@pytest.fixture(scope="module")
def printed(
    kafka_bootstrap_servers: str,
    module_database_url: str,
    module_topic_prefix: str,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Printed]:
    """Gateway and worker as processes, and a model; no trainer, so that `python -m trainer --once` can run."""
    folder = tmp_path_factory.mktemp("system")
    settings = {
        "CANDIDATE_ALGORITHMS": "popularity",
        "TOPIC_PARTITIONS": "4",
        "WORKER_CONSUMER_GROUP": f"{module_topic_prefix}worker",
    }
    environment = ServiceEnvironment(
        kafka_bootstrap_servers, module_database_url, folder / "models", module_topic_prefix, settings
    )
    variables = environment.variables()
    run_python("-m", "shared.migrations", environment=variables)
    run_python("FAR-Trans/script.py", "--data", str(data), environment=variables)
    services = Services(environment, folder=folder / "logs")
    run_python("-m", "trainer", "--once", environment=variables)
    with ExitStack() as stack:
        stack.callback(services.stop)
        for name in ("api", "worker"):
            services[name].start()
        wait_until(lambda: all(services[name].answers() for name in ("api", "worker")), seconds=60, what="the services")
        stack.enter_context(noted_demo(folder, api_url=services["api"].url, database_url=environment.database_url))
        with ApiClient(services["api"].url) as api:
            served = api.ask(README_CUSTOMER, "refresh_recs", wait_seconds=30)
        assert served.model_version is not None
        yield Printed(System(environment, services), data, folder, served.model_version)


@pytest.mark.parametrize(
    ("page", "command"),
    [pair for pair in COMMANDS if why_not_run(pair[1]) is None],
    ids=lambda value: value[:100],
)
def test_a_printed_command_runs(printed: Printed, page: str, command: str) -> None:
    if command in {f"python -m {name}" for name in SERVED}:
        check_service(printed, command.rpartition(" ")[2])
        return
    printed.prepare(command)

    done = printed.run(command)

    output = done.stdout + done.stderr
    if command in REFUSED:
        assert done.returncode != 0
        assert REFUSED[command] in output
    else:
        assert done.returncode == 0, f"{page}: {command}\n{output}"
    if command.startswith("curl"):
        assert done.stdout.rpartition("\n")[2] in {"200", "202"}, output


def check_service(printed: Printed, name: str) -> None:
    """Start one more of the service, on ports of its own, until it is ready."""
    folder = printed.folder / f"one more {name}"
    service = ServiceProcess(name, printed.system.environment, folder=folder)
    folder.mkdir()
    service.start()
    try:
        wait_until(service.answers, seconds=60, what=f"python -m {name} is ready")
    finally:
        service.stop()


@pytest.mark.parametrize("module", [*SERVED, "shared.migrations"])
def test_a_module_without_its_settings_names_them_in_one_line(module: str) -> None:
    known = {name: value for name, value in os.environ.items() if name not in ADDRESSES}

    done = subprocess.run(
        [sys.executable, "-m", module], cwd=REPOSITORY, env=known, capture_output=True, text=True, check=False
    )

    (line,) = done.stderr.splitlines()
    assert line.startswith("KAFKA_BOOTSTRAP_SERVERS: Field required; DATABASE_URL: Field required")
    assert done.returncode == 1


def test_the_generator_of_the_readme_says_what_its_clicks_changed(printed: Printed) -> None:
    done = printed.run("python script/generate_interactions.py 85583A768E48870A546D Technology 10")

    assert "10 of 10 interactions (click) of customer 85583A768E48870A546D were sent" in done.stdout, done.stderr
    assert f"The API is that of the running demo: {printed.system.url}" in done.stderr


@pytest.mark.parametrize(
    ("page", "command"),
    [pair for pair in COMMANDS if why_not_run(pair[1]) is not None],
    ids=lambda value: value[:100],
)
def test_a_command_that_is_not_run_here_exists_and_another_test_runs_it(page: str, command: str) -> None:
    check_exists(command)

    assert (REPOSITORY / str(why_not_run(command))).is_file(), page


def test_no_table_names_a_command_that_no_page_prints() -> None:
    commands = [command for _, command in COMMANDS]

    assert {command for command in REFUSED if command not in commands} == set()
    assert {name for name in NOT_RUN_HERE if not any(each.startswith(name) for each in commands)} == set()


def test_the_commands_in_messages_exist() -> None:
    found = [(path, command) for path, text in messages() for command in commands_in(text)]

    assert len(found) > 20
    for path, command in found:
        check(command, where=path)
    makefile = (REPOSITORY / "Makefile").read_text()
    assert [word for word in PROSE if f"\n{word}:" in makefile] == []


def test_the_commands_in_help_texts_exist() -> None:
    found = [(name, command) for name, text in all_help_texts().items() for command in commands_in(text)]

    assert len(found) >= 8
    for name, command in found:
        check(command, where=f"the help text of {name}")


def check(command: str, *, where: str) -> None:
    try:
        check_exists(command)
    except AssertionError as error:
        raise AssertionError(f"{where} prints `{command}`: {error}") from error


def test_the_readme_prints_the_commands_that_a_new_user_types() -> None:
    printed = set(commands_of_page("README.md"))

    assert printed >= {
        "docker compose up --build -d",
        "python script/generate_interactions.py 85583A768E48870A546D Technology 10",
        "python FAR-Trans/download.py",
        "make demo",
        "make test",
    }


@pytest.mark.parametrize(
    "command",
    [
        "make no-such-target",
        "make load NO_SUCH_VARIABLE=1",
        "python script/no_such_script.py",
        "python script/offsets.py list --no-such-option",
        "python -m no_such_module",
        "docker compose frobnicate",
        "docker compose logs no-such-service",
    ],
)
def test_a_command_that_does_not_exist_would_be_found(command: str) -> None:
    with pytest.raises(AssertionError):
        check_exists(command)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("run python FAR-Trans/script.py --data DIR, then", ["python FAR-Trans/script.py --data DIR"]),
        ("a help text breaks python FAR-\nTrans/script.py", ["python FAR"]),
        ("Start one (make demo, or docker compose up --build -d).", ["make demo", "docker compose up --build -d"]),
        ('make load LOAD_OPTIONS="--max-rejects 5%"', ['make load LOAD_OPTIONS="--max-rejects 5%"']),
        ("Figures make progress", []),
    ],
)
def test_commands_are_found_in_sentences(text: str, commands: list[str]) -> None:
    assert list(commands_in(text)) == commands
