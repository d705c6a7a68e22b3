"""A real PostgreSQL server on this machine, for the demo, the tests and work by hand."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2

from script.local.owned_process import (
    LocalServerError,
    OwnedProcess,
    command_line,
    free_port,
    keep_running,
    port_is_free,
    read_pid,
    say,
    told_to_end,
)
from script.local.postgres_install import ENVIRONMENT, reachable_binaries, reachable_folder, run_as, server_user

DEFAULT_DATA_FOLDER = Path(__file__).parents[2] / ".local" / "postgres"
DEFAULT_DATABASE = "recommender"
_SUPERUSER = "postgres"
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 15.0
# Commits still leave the process before they are answered (synchronous_commit stays on): kill -9 loses none.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class LocalPostgres:
    """One server with its data in one folder: `start`, `stop`, `kill` (as a crash), `restart`; a context manager."""

    def __init__(self, data_dir: Path | str, port: int | None = None, *, durable: bool = True) -> None:
        """Without a port: any free one, kept over restarts.

        With `durable=False` a crash of the machine may lose commits; one of the server does not.
        """
        self._user = server_user()
        self._folder = reachable_folder(Path(data_dir).absolute(), self._user)
        self._wanted_port = port
        self._durable = durable
        self._port: int | None = None
        self._data = self._folder / "data"
        self._process = OwnedProcess(
            self._folder,
            name="postgres",
            markers=("-D", str(self._data)),
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        )

    def url(self, database: str = DEFAULT_DATABASE) -> str:
        if self._port is None:
            raise LocalServerError("the local postgres was never started")
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self._port}/{database}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def data_dir(self) -> Path:
        """Where the data really lie; as root this can differ from what was asked for."""
        return self._folder

    @property
    def log_file(self) -> Path:
        return self._process.log_file

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    def start(self) -> Self:
        """Returns when the server takes connections and has its database; raises LocalServerError if it cannot."""
        if self.is_running:
            return self
        self._process.claim()
        try:
            binaries = reachable_binaries(self._user)
            self._initialise(binaries)
            self._remove_stale_lock()
            self._port = self._choose_port()
            self._launch(binaries)
            self.ensure_database(DEFAULT_DATABASE)
        except BaseException:
            self._process.stop(_STOP_TIMEOUT_SECONDS)
            raise
        return self

    def stop(self) -> None:
        """A clean shutdown, bounded in time; safe to repeat."""
        self._process.stop(_STOP_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._process.kill()

    def restart(self) -> None:
        """Same data, same port."""
        self.stop()
        self.start()

    def ensure_database(self, database: str) -> str:
        """Create the database if there is none of that name; returns its URL."""
        connection = psycopg2.connect(self.url("postgres"))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
                if cursor.fetchone() is None:
                    cursor.execute('CREATE DATABASE "{}"'.format(database.replace('"', '""')))
        finally:
            connection.close()
        return self.url(database)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _initialise(self, binaries: Path) -> None:
        if self._data.exists():
            return
        # Beside, then renamed: an initdb that was killed half-way leaves nothing that looks like a database.
        unfinished = self._folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(unfinished, self._user.user_id, self._user.group_id)
        options = ["--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            options.append("--no-sync")
        command = [str(binaries / "initdb"), "-D", str(unfinished), "-U", _SUPERUSER, "--no-instructions", *options]
        answer = run_as(self._user, command)
        if answer.returncode != 0:
            raise LocalServerError(f"creating a database in {self._folder} failed:\n{answer.stdout}{answer.stderr}")
        unfinished.rename(self._data)

    def _remove_stale_lock(self) -> None:
        """PostgreSQL refuses to start when the process number in an old lock file belongs to somebody else by now."""
        lock = self._data / "postmaster.pid"
        if not lock.exists():
            return
        pid = read_pid(lock)
        if pid is not None and str(self._data) in command_line(pid):
            raise LocalServerError(f"another server, process {pid}, runs on {self._data}; stop that one first")
        lock.unlink()

    def _choose_port(self) -> int:
        if self._wanted_port is None:
            return free_port(self._port)
        if not port_is_free(self._wanted_port):
            raise LocalServerError(f"port {self._wanted_port} on 127.0.0.1 is taken by another program")
        return self._wanted_port

    def _launch(self, binaries: Path) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_wal_size": "1GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _NOT_DURABLE),
        }
        command = [str(binaries / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + 15.0
        while True:
            self._process.launch(command, environment=ENVIRONMENT, user=self._user)
            if self._process.becomes_ready(self._is_ready, _START_TIMEOUT_SECONDS):
                return
            # The sessions of a killed server end by themselves, some moments after it.
            if "still in use" not in self._process.last_words() or time.monotonic() > deadline:
                raise self._process.not_ready()
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            psycopg2.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True


def execute_statement(url: str, statement: str) -> None:
    """Run one statement that is committed by itself, as CREATE DATABASE must be."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def run(data_dir: Path, port: int | None) -> int:
    """Keep a server running until Ctrl-C or SIGTERM."""
    ended = told_to_end()
    with LocalPostgres(data_dir, port) as postgres:
        print(f"DATABASE_URL={postgres.url()}", flush=True)
        say(f"PostgreSQL runs as process {postgres.pid} with its data in {postgres.data_dir}; Ctrl-C ends it")
        return keep_running(postgres, ended, name="PostgreSQL", log="postgres.log")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 2 when the server cannot be had; the message says what to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_command = commands.add_parser("run", help="keep a server running until Ctrl-C")
    run_command.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_FOLDER)
    run_command.add_argument("--port", type=int)
    options = parser.parse_args(arguments)
    try:
        return run(options.data_dir, options.port)
    except LocalServerError as error:
        say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
