"""One broker and one database server for all processes of a parallel test session (pytest-xdist).

The controller process owns the servers: it starts each one when the first worker process asks for it, and stops both
after the last worker process has ended. Controller and workers talk through files in one folder.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tests.servers import ServerUnavailable, kafka_server, postgres_server

_STARTS: Mapping[str, Callable[[], AbstractContextManager[str]]] = {
    "Kafka": kafka_server,
    "PostgreSQL": postgres_server,
}
_POLL_SECONDS = 0.1
_START_TIMEOUT_SECONDS = 240.0


class SharedServers:
    """The controller's side."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="far-trans-servers-"))
        self._running = ExitStack()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._serve, args=(name,), daemon=True) for name in _STARTS]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop what runs; safe to repeat."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._running.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serve(self, name: str) -> None:
        while not (self.folder / f"{name}.wanted").exists():
            if self._over.wait(_POLL_SECONDS):
                return
        try:
            self._answer(name, "address", self._running.enter_context(_STARTS[name]()))
        except Exception as error:  # the worker processes report it
            self._answer(name, "unavailable", str(error) if isinstance(error, ServerUnavailable) else repr(error))

    def _answer(self, name: str, kind: str, text: str) -> None:
        unfinished = self.folder / f"{name}.unfinished"
        unfinished.write_text(text)
        unfinished.rename(self.folder / f"{name}.{kind}")


def wait_for_address(folder: Path, name: str) -> str:
    """Return the address of a server that the controller starts; raises ServerUnavailable with its reason."""
    (folder / f"{name}.wanted").touch()
    address, unavailable = folder / f"{name}.address", folder / f"{name}.unavailable"
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while not address.exists():
        if unavailable.exists():
            raise ServerUnavailable(unavailable.read_text())
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"the controller of the session did not start {name} in time")
        time.sleep(_POLL_SECONDS)
    return address.read_text()
