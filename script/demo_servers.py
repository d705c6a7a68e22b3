"""What has to be there before the services can start: Kafka, Postgres, a data set, tables, topics, loaded data."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from script.demo_state import REPOSITORY, SYNTHETIC_SEED, DataSet, DemoRefused
from script.local.kafka import LocalKafka
from script.local.owned_process import LocalServerError, die_with_parent
from script.local.postgres import LocalPostgres
from script.local.service_processes import Surroundings

_SERVERS_TIMEOUT_SECONDS = 300.0  # the first time Kafka's jars are fetched
_STEP_TIMEOUT_SECONDS = 900.0  # the whole published data set on a slow disk
_LOADED_WITH_REJECTS, _LOAD_REFUSED = 1, 2

Report = Callable[[str], None]


class StepFailed(LocalServerError):
    """A step of the start-up failed; the message holds the end of its log."""


@dataclass(frozen=True)
class External:
    """Servers that run already, as the environment names them; None: the demo starts its own."""

    bootstrap_servers: str | None
    database_url: str | None

    @classmethod
    def from_environment(cls) -> External:
        return cls(os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or None, os.environ.get("DATABASE_URL") or None)

    def addresses(self) -> tuple[str, ...]:
        """Return those that are set."""
        return tuple(address for address in (self.bootstrap_servers, self.database_url) if address)


@dataclass
class Ground:
    """Where Kafka and Postgres are, once `prepare` has returned."""

    data: DataSet
    external: External
    report: Report
    load_options: Sequence[str] = ()
    kafka: LocalKafka | None = field(init=False, default=None)
    postgres: LocalPostgres | None = field(init=False, default=None)

    def prepare(self, stack: ExitStack) -> Surroundings:
        """Start what is missing, all at once, then migrate and load; `stack` stops it.

        Raises LocalServerError; DemoRefused where the loader refuses the data.
        """
        self.data.state.mkdir(parents=True, exist_ok=True)
        tasks: dict[str, Callable[[], object]] = {}
        if self.external.database_url is None:
            self.postgres = LocalPostgres(self.data.state / "postgres")
            stack.callback(self.postgres.stop)
            tasks["Postgres is up"] = self.postgres.start
        if self.external.bootstrap_servers is None:
            self.kafka = LocalKafka(self.data.state / "kafka")
            stack.callback(self.kafka.stop)
            tasks["Kafka is up"] = self.kafka.start
        if not self.data.is_there:
            tasks[f"generated {self.data.label}"] = self._generate
        do_together(tasks, report=self.report, seconds=_SERVERS_TIMEOUT_SECONDS)
        surroundings = self._surroundings()
        self._migrate_and_load(surroundings)
        return surroundings

    def check(self) -> None:
        """Raise StepFailed when one of the demo's own servers has ended."""
        for name, server in (("Kafka", self.kafka), ("Postgres", self.postgres)):
            if server is not None and not server.is_running:
                raise StepFailed(f"{name} ended by itself; its log is in {self.data.state / name.lower()}")

    def _surroundings(self) -> Surroundings:
        bootstrap_servers = self.kafka.bootstrap_servers if self.kafka else self.external.bootstrap_servers
        database_url = self.postgres.url() if self.postgres else self.external.database_url
        assert bootstrap_servers is not None
        assert database_url is not None
        prefix = os.environ.get("TOPIC_PREFIX", "")
        return Surroundings(bootstrap_servers, database_url, self.data.state / "models", prefix)

    def _generate(self) -> None:
        unfinished = self.data.folder.with_name("unfinished-" + self.data.folder.name)
        shutil.rmtree(unfinished, ignore_errors=True)
        scale, seed = f"{self.data.scale:g}", str(SYNTHETIC_SEED)
        arguments = ["FAR-Trans/synthesize.py", "--scale", scale, "--seed", seed, "--output", str(unfinished)]
        run_step("synthesize", arguments, folder=self.data.state / "logs")
        unfinished.rename(self.data.folder)

    def _migrate_and_load(self, surroundings: Surroundings) -> None:
        logs, environment = self.data.state / "logs", surroundings.environment()
        run_step("migrate", ["-m", "shared.migrations"], folder=logs, environment=environment)
        self.report("tables and topics are there")
        # A database that is not the demo's own may hold anything by now.
        if self.data.is_loaded and self.external.database_url is None:
            self.report(f"{self.data.label} was loaded earlier")
            return
        rejects_file = logs / "rejected_rows.csv"
        arguments = ["FAR-Trans/script.py", "--data", str(self.data.folder), "--rejects", str(rejects_file)]
        arguments += self.load_options
        codes = (0, _LOADED_WITH_REJECTS, _LOAD_REFUSED)
        code = run_step("load", arguments, folder=logs, environment=environment, accepted=codes)
        if code == _LOAD_REFUSED:
            raise DemoRefused(
                f"{self.data.label} cannot be loaded; {_tail(logs / 'load.log')}\n"
                'With make, options of the loader go into LOAD_OPTIONS="...".'
            )
        self.data.mark_loaded()
        rejects = f" (some rows were rejected: see {rejects_file})" if code else ""
        self.report(f"loaded {self.data.label}{rejects}")


def do_together(tasks: Mapping[str, Callable[[], object]], *, report: Report, seconds: float) -> None:
    """Run all tasks at the same time and report each as it is done; raises the first failure, or StepFailed.

    The threads do not keep the process alive: after a failure the caller just ends.
    """
    results: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()

    def run(name: str, task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            results.put((name, error))
        else:
            results.put((name, None))

    for name, task in tasks.items():
        threading.Thread(target=run, args=(name, task), name=name, daemon=True).start()
    deadline, open_tasks = time.monotonic() + seconds, set(tasks)
    while open_tasks:
        try:
            name, error = results.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise StepFailed(f"not done within {seconds:.0f} s: {', '.join(sorted(open_tasks))}") from None
        if error is not None:
            raise error
        open_tasks.discard(name)
        report(name)


def run_step(
    name: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    accepted: tuple[int, ...] = (0,),
) -> int:
    """Run a Python program of this repository to its end, its output in `folder`; return its exit code.

    Raises StepFailed, with the end of the output, when it fails or does not end in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / f"{name}.log"
    with log_file.open("wb") as log:
        try:
            answer = subprocess.run(
                [sys.executable, *arguments],
                cwd=REPOSITORY,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_STEP_TIMEOUT_SECONDS,
                check=False,
                preexec_fn=lambda: die_with_parent(signal.SIGTERM),
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{name} did not end in time; {_tail(log_file)}") from None
    if answer.returncode not in accepted:
        raise StepFailed(f"{name} failed with exit code {answer.returncode}; {_tail(log_file)}")
    return answer.returncode


def _tail(log_file: Path, line_count: int = 15) -> str:
    lines = log_file.read_text(errors="replace").splitlines()[-line_count:]
    return f"its log ({log_file}) ends:\n" + "\n".join(lines)
