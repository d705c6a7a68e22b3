"""The three services as processes of their own on this machine, as the demo and the e2e tests run them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from script.local.owned_process import LocalServerError, OwnedProcess, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = ("api", "worker", "trainer")
_PORT_VARIABLES = {"api": "API_PORT", "worker": "WORKER_HEALTH_PORT", "trainer": "TRAINER_HEALTH_PORT"}
_STOP_TIMEOUT_SECONDS = 20.0  # the services promise 15


class ServiceFailed(LocalServerError):
    """A service ended, or did not become ready; the message holds the end of its log."""


@dataclass(frozen=True)
class Surroundings:
    """What the services of one system have in common; `more` are further environment variables."""

    bootstrap_servers: str
    database_url: str
    models_folder: Path
    topic_prefix: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the caller's environment with these settings in it."""
        return {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "DATABASE_URL": self.database_url,
            "MODELS_DIR": str(self.models_folder),
            "TOPIC_PREFIX": self.topic_prefix,
            "API_HOST": "127.0.0.1",
            "API_METRICS_HOST": "127.0.0.1",
            "HEALTH_HOST": "127.0.0.1",
            # Several processes with NumPy on one machine: more threads would only get into each other's way.
            "OPENBLAS_NUM_THREADS": "2",
            "OMP_NUM_THREADS": "2",
            **self.more,
        }


class ServiceProcess:
    """`python -m SERVICE` with its log and pid file in one folder; it ends with the process that started it."""

    def __init__(
        self,
        service: str,
        surroundings: Surroundings,
        *,
        folder: Path,
        port: int | None = None,
        name: str | None = None,
    ) -> None:
        """With a name of its own there can be two of a service in one folder."""
        self.service = service
        self.name = name or service
        self.port = port or free_port()
        # Worker and trainer serve their metrics beside their health.
        self.metrics_port = free_port() if service == "api" else self.port
        ports = {_PORT_VARIABLES[service]: str(self.port)}
        if service == "api":
            ports["API_METRICS_PORT"] = str(self.metrics_port)
        self._environment = {**surroundings.environment(), **ports}
        mark = f"folder={folder}/{self.name}"
        # -X takes any word: it makes the command line this process's own, so that a stale pid is never mistaken.
        self._command = [sys.executable, "-X", mark, "-m", *self._module()]
        self._process = OwnedProcess(folder, name=self.name, markers=(mark, service), stop_signal=signal.SIGTERM)

    def _module(self) -> Sequence[str]:
        return [self.service]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    @property
    def exit_code(self) -> int | None:
        """How it ended after `terminate`, or by itself; None while it runs."""
        return self._process.exit_code

    @property
    def log_file(self) -> Path:
        return self._process.log_file

    def start(self) -> None:
        """Start it and return at once; what a killed owner left running in the folder is ended first."""
        self._process.claim()
        self._process.launch(self._command, environment=self._environment)

    def answers(self, path: str = "/health/ready") -> bool:
        """Return whether a GET of its own port gives 200 now."""
        try:
            return httpx.get(self.url + path, timeout=2.0, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        """End it cleanly, by SIGKILL if it does not; safe to repeat."""
        self._process.stop(_STOP_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._process.kill()

    def failure(self, what: str) -> ServiceFailed:
        """Return the error that says what happened, and how the log ends."""
        return ServiceFailed(f"{self.name} {what}; its log ({self.log_file}) ends:\n{self._process.last_words()}")


class Services:
    """The three of one system, started and stopped together."""

    def __init__(self, surroundings: Surroundings, *, folder: Path, api_port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        surroundings.models_folder.mkdir(parents=True, exist_ok=True)
        ports = {"api": api_port}
        self.all = {name: ServiceProcess(name, surroundings, folder=folder, port=ports.get(name)) for name in SERVICES}

    def __getitem__(self, name: str) -> ServiceProcess:
        return self.all[name]

    def start(self) -> None:
        """Start all three and return at once."""
        for service in self.all.values():
            service.start()

    def stop(self) -> None:
        """Stop all three at the same time."""
        threads = [threading.Thread(target=service.stop) for service in self.all.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def check(self, names: Sequence[str] = SERVICES) -> None:
        """Raise ServiceFailed when one of them has ended."""
        for name in names:
            if not self[name].is_running:
                raise self[name].failure("ended by itself")

    def wait(
        self, until: Callable[[], bool], *, what: str, blame: str, names: Sequence[str] = SERVICES, seconds: float = 30
    ) -> None:
        """Poll until it holds; raises ServiceFailed, with the log of `blame`, when the time is over."""
        deadline = time.monotonic() + seconds
        while not until():
            self.check(names)
            if time.monotonic() > deadline:
                raise self[blame].failure(f"did not get to this within {seconds:.0f} s: {what}")
            time.sleep(0.1)
