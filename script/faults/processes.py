"""One service with named points in it, as a process that a campaign may end in any way."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from script.owned_process import LocalServerError, OwnedProcess, free_port
from script.service_processes import Surroundings

_PORT_VARIABLES = {"api": "API_PORT", "worker": "WORKER_HEALTH_PORT", "trainer": "TRAINER_HEALTH_PORT"}
_STOP_TIMEOUT_SECONDS = 20.0


class FaultyService:
    """`python -m script.faults.sabotage SERVICE` under a name of its own, so that there can be two workers."""

    def __init__(
        self,
        service: str,
        surroundings: Surroundings,
        *,
        folder: Path,
        points: Path,
        without: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        self.service = service
        self.name = name or service
        self.port = free_port()
        self._environment = {**surroundings.environment(), _PORT_VARIABLES[service]: str(self.port)}
        mark = f"folder={folder}/{self.name}"
        self._command = [sys.executable, "-X", mark, "-m", "script.faults.sabotage", service, "--points", str(points)]
        for guard in without:
            self._command += ["--without", guard]
        self._process = OwnedProcess(folder, name=self.name, markers=(mark, service), stop_signal=signal.SIGTERM)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    @property
    def log_file(self) -> Path:
        return self._process.log_file

    def start(self) -> None:
        """Start it and return at once."""
        self._process.claim()
        self._process.launch(self._command, environment=self._environment)

    def kill(self) -> None:
        """SIGKILL, also when it is frozen; safe to repeat."""
        self._process.kill()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when it does not heed that; safe to repeat."""
        self.resume()
        self._process.stop(_STOP_TIMEOUT_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT; safe to repeat."""
        with contextlib.suppress(LocalServerError, ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def get(self, path: str, *, timeout_seconds: float = 2.0) -> tuple[int, str]:
        """Return status and body of a GET of its own port; status 0 when nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_seconds)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()

    def is_ready(self) -> bool:
        return self.get("/health/ready")[0] == 200

    def resident_megabytes(self) -> float:
        """Return the memory that the process holds now; 0 when it does not run."""
        with contextlib.suppress(OSError, LocalServerError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def log_end(self) -> int:
        """Return how long the log is now: what is written later starts there."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def logged_since(self, position: int, text: str) -> int:
        """Return how often a text was logged since then."""
        if not self.log_file.exists():
            return 0
        with self.log_file.open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace").count(text)


def wait_until(holds: Callable[[], bool], *, seconds: float, pause_seconds: float = 0.05) -> bool:
    """Poll; return whether it held before the time was over."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_seconds)
    return True
