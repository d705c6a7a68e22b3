"""What the local broker and the local database share: start, stop, restart, and a command that keeps them up."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from script.local.owned_process import LocalServerError, OwnedProcess, free_port, port_is_free
from script.terminal import say

START_TIMEOUT_SECONDS = 60.0
LOCAL_FOLDER = Path(__file__).parents[2] / ".local"


class LocalServer(OwnedProcess, ABC):
    """A server with its data in one folder: `start`, `stop`, `kill` (as a crash), `restart`; a context manager."""

    wanted_port: int | None = None
    _port: int | None = None

    @property
    def port(self) -> int:
        """Raises LocalServerError before the first start."""
        if self._port is None:
            raise LocalServerError(f"the local {self.name} was never started")
        return self._port

    def choose_port(self, last: int | None = None) -> int:
        """Set and return the port: the wanted one, else the last one if it is free, else any free one."""
        if self.wanted_port is None:
            self._port = free_port(self._port or last)
        elif port_is_free(self.wanted_port):
            self._port = self.wanted_port
        else:
            raise LocalServerError(f"port {self.wanted_port} on 127.0.0.1 is taken by another program")
        return self._port

    def start(self) -> Self:
        """Return when the server serves; raises LocalServerError with the end of its log when it does not."""
        if self.is_running:
            return self
        self.begin_start()
        self.fetch_program()
        self.claim()
        try:
            self.prepare_and_launch()
        except BaseException:
            self.stop()
            raise
        return self

    def restart(self) -> None:
        """Stop the server and start it with the same data and the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fetch_program(self) -> None:
        """Fetch what the server consists of, before the data folder is touched."""

    @abstractmethod
    def prepare_and_launch(self) -> None:
        """Prepare the folder, launch the server and wait until it serves."""

    @property
    @abstractmethod
    def setting(self) -> str:
        """The environment variable, with its value, that tells services where this server is."""


def keep_running(server: LocalServer) -> int:
    """Run the server until Ctrl-C or SIGTERM and return 0; 1 when it ends by itself."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # before the start, so that no server is left behind
        signal.signal(number, lambda *_: ended.set())
    with server:
        print(server.setting, flush=True)
        say(f"{server.name} runs as process {server.pid} with its data in {server.folder}; Ctrl-C ends it")
        while not ended.wait(0.5):
            if not server.is_running:
                say(f"{server.name} ended by itself; see {server.log_file}")
                return 1
    return 0
