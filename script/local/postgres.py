"""A real PostgreSQL server on this machine, for the demo, the tests and manual work."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import psycopg2
import typer

from script.local.local_server import LOCAL_FOLDER, START_TIMEOUT_SECONDS, LocalServer, keep_running
from script.local.owned_process import LocalServerError, command_line, read_pid
from script.local.postgres_install import ENVIRONMENT, reachable_binaries, reachable_folder, run_as, server_user
from script.terminal import build_app, run_app

DEFAULT_DATABASE = "recommender"
_SUPERUSER = "postgres"
# Commits still leave the process before they are answered (synchronous_commit stays on): kill -9 loses none.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
app = build_app(__doc__)


class LocalPostgres(LocalServer):
    """One server with its data in one folder; as root the folder can differ from the one that was asked for."""

    def __init__(self, data_dir: Path | str, port: int | None = None, *, durable: bool = True) -> None:
        """Without a port: any free one, kept over restarts.

        With `durable=False` a crash of the machine may lose commits; a crash of the server does not.
        """
        self._user = server_user()
        folder = reachable_folder(Path(data_dir).absolute(), self._user)
        self._data = folder / "data"
        # SIGINT is PostgreSQL's fast shutdown: it ends sessions and writes a checkpoint.
        super().__init__(folder, name="postgres", markers=("-D", str(self._data)), stop_signal=signal.SIGINT)
        self.wanted_port = port
        self._durable = durable

    def url(self, database: str = DEFAULT_DATABASE) -> str:
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/{database}"

    @property
    def setting(self) -> str:
        return f"DATABASE_URL={self.url()}"

    def prepare_and_launch(self) -> None:
        binaries = reachable_binaries(self._user)
        self._initialise(binaries)
        self._remove_stale_lock()
        self.choose_port()
        self._launch(binaries)
        self.ensure_database(DEFAULT_DATABASE)

    def ensure_database(self, database: str) -> str:
        """Create the database if it does not exist, and return its URL."""
        with closing(psycopg2.connect(self.url("postgres"))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
            exists = cursor.fetchone() is not None
        if not exists:
            execute_statement(self.url("postgres"), 'CREATE DATABASE "{}"'.format(database.replace('"', '""')))
        return self.url(database)

    def _initialise(self, binaries: Path) -> None:
        if self._data.exists():
            return
        # In another folder, which is then renamed: a killed initdb leaves nothing that looks like a database.
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(unfinished, self._user.pw_uid, self._user.pw_gid)
        options = ["--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        options += [] if self._durable else ["--no-sync"]
        command = [str(binaries / "initdb"), "-D", str(unfinished), "-U", _SUPERUSER, "--no-instructions", *options]
        answer = run_as(self._user, command)
        if answer.returncode != 0:
            raise LocalServerError(f"creating a database in {self.folder} failed:\n{answer.stdout}{answer.stderr}")
        unfinished.rename(self._data)

    def _remove_stale_lock(self) -> None:
        """PostgreSQL does not start when another process now has the process number in its old lock file."""
        lock = self._data / "postmaster.pid"
        pid = read_pid(lock)
        if pid is not None and str(self._data) in command_line(pid):
            raise LocalServerError(f"another server, process {pid}, runs on {self._data}; stop that one first")
        lock.unlink(missing_ok=True)

    def _launch(self, binaries: Path) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_wal_size": "1GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _NOT_DURABLE),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(self._data), *options]
        deadline = time.monotonic() + 15.0
        while True:
            self.launch(command, environment=ENVIRONMENT, user=self._user)
            try:
                return self.wait_until_ready(lambda: accepts_connections(self.url("postgres")), START_TIMEOUT_SECONDS)
            except LocalServerError:
                # The sessions of a killed server end by themselves, some moments after it.
                if "still in use" not in self.log_tail() or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)


def accepts_connections(url: str) -> bool:
    """Return whether the server at this URL takes connections now."""
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def execute_statement(url: str, statement: str) -> None:
    """Run one statement outside a transaction, as CREATE DATABASE must run."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


@app.callback()
def commands() -> None:
    """Keep `run` a subcommand: Typer drops the name of an only command."""


@app.command("run")
def run(
    data_dir: Annotated[Path, typer.Option(help="folder of the server's data")] = LOCAL_FOLDER / "postgres",
    port: Annotated[int | None, typer.Option(help="default: any free one")] = None,
) -> None:
    """Keep a server running until Ctrl-C."""
    raise typer.Exit(keep_running(LocalPostgres(data_dir, port)))


main = partial(run_app, app, exit_codes={LocalServerError: 2})

if __name__ == "__main__":
    sys.exit(main())
