"""The three services as separate processes on this machine, as the demo and the e2e tests run them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from script.local.owned_process import LocalServerError, OwnedProcess, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = ("api", "worker", "trainer")
_PORT_VARIABLES = {"api": "API_PORT", "worker": "WORKER_HEALTH_PORT", "trainer": "TRAINER_HEALTH_PORT"}
_STOP_TIMEOUT_SECONDS = 20.0  # the services promise 15


@dataclass(frozen=True)
class ServiceEnvironment:
    """What the services of one system have in common; `more` are further environment variables."""

    bootstrap_servers: str
    database_url: str
    models_folder: Path
    topic_prefix: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """Return the environment of this process with these settings in it."""
        return {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "DATABASE_URL": self.database_url,
            "DATABASE_PASSWORD_FILE": "",  # the URL has the password
            "MODELS_DIR": str(self.models_folder),
            "TOPIC_PREFIX": self.topic_prefix,
            "API_HOST": "127.0.0.1",
            "API_METRICS_HOST": "127.0.0.1",
            "HEALTH_HOST": "127.0.0.1",
            # Several processes with NumPy share the machine: more threads would only compete.
            "OPENBLAS_NUM_THREADS": "2",
            "OMP_NUM_THREADS": "2",
            **self.more,
        }


class ServiceProcess(OwnedProcess):
    """`python -m SERVICE` with its log and pid file in one folder; it ends with the process that started it."""

    def __init__(
        self, service: str, environment: ServiceEnvironment, *, folder: Path, port: int | None = None, name: str = ""
    ) -> None:
        """Several processes of a service in one folder need different names."""
        self.service, name = service, name or service
        # -X takes any word: it makes the command line unique, so that a stale pid is never mistaken.
        self._mark = f"folder={folder}/{name}"
        markers = (self._mark, service)
        super().__init__(folder, name=name, markers=markers, stop_timeout_seconds=_STOP_TIMEOUT_SECONDS)
        self.port = port or free_port()
        # Worker and trainer serve metrics and health on one port.
        self.metrics_port = free_port() if service == "api" else self.port
        self._variables = {**environment.variables(), _PORT_VARIABLES[service]: str(self.port)}
        if service == "api":
            self._variables["API_METRICS_PORT"] = str(self.metrics_port)

    def _module(self) -> Sequence[str]:
        return [self.service]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def start(self) -> None:
        """Start it and return at once; a process that a killed owner left running in the folder is ended first."""
        self.begin_start()
        self.claim()
        self.launch([sys.executable, "-X", self._mark, "-m", *self._module()], environment=self._variables)

    def answers(self, path: str = "/health/ready") -> bool:
        """Return whether a GET of its own port answers 200 now."""
        try:
            return httpx.get(self.url + path, timeout=2.0, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        os.kill(self.pid, signal.SIGTERM)

    def failure(self, what: str) -> LocalServerError:
        """Return the error that says what happened, with the end of the log."""
        return LocalServerError(f"{self.name} {what}; its log ({self.log_file}) ends:\n{self.log_tail()}")


class Services:
    """The three services of one system, started and stopped together."""

    def __init__(self, environment: ServiceEnvironment, *, folder: Path, api_port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        environment.models_folder.mkdir(parents=True, exist_ok=True)
        ports = {"api": api_port}
        self.all = {name: ServiceProcess(name, environment, folder=folder, port=ports.get(name)) for name in SERVICES}

    def __getitem__(self, name: str) -> ServiceProcess:
        return self.all[name]

    def start(self) -> None:
        """Start all three and return at once."""
        for service in self.all.values():
            service.start()

    def stop(self) -> None:
        """Stop all three at the same time."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(ServiceProcess.stop, self.all.values()))

    def check(self) -> None:
        """Raise LocalServerError when one of them has ended."""
        for service in self.all.values():
            if not service.is_running:
                raise service.failure("ended by itself")

    def wait(self, until: Callable[[], bool], *, what: str, blame: str, seconds: float = 30) -> None:
        """Poll until the condition holds; raises LocalServerError, with the log of `blame`, when the time is over."""
        deadline = time.monotonic() + seconds
        while not until():
            self.check()
            if time.monotonic() > deadline:
                raise self[blame].failure(f"did not get to this within {seconds:.0f} s: {what}")
            time.sleep(0.1)
