"""One service with failpoints in it, as a process that a campaign may end in any way."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from script.local.owned_process import LocalServerError
from script.local.service_processes import ServiceEnvironment, ServiceProcess


class FaultyService(ServiceProcess):
    """`python -m tests.chaos.instrumented_service SERVICE`: a service with failpoints in it."""

    def __init__(
        self,
        service: str,
        environment: ServiceEnvironment,
        *,
        folder: Path,
        failpoints: Path,
        without: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        self._options = ["--failpoints", str(failpoints), *(word for guard in without for word in ("--without", guard))]
        super().__init__(service, environment, folder=folder, name=name or "")

    def _module(self) -> Sequence[str]:
        return ["tests.chaos.instrumented_service", self.service, *self._options]

    def stop(self) -> None:
        """SIGTERM, also when it is frozen, and SIGKILL when it does not heed that; safe to repeat."""
        self.resume()
        super().stop()

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT; safe to repeat."""
        with contextlib.suppress(LocalServerError, ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def get(self, path: str, *, timeout_seconds: float = 2.0) -> tuple[int, str]:
        """Return status and body of a GET of its own port; status 0 when nothing answers."""
        try:
            answer = httpx.get(self.url + path, timeout=timeout_seconds, trust_env=False, verify=False)
        except httpx.TransportError as error:
            return 0, repr(error)
        return answer.status_code, answer.text

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
