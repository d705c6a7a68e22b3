"""The local database server keeps its data over restarts and crashes, and runs as whoever may run it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from script.local import postgres_install
from script.local.owned_process import DataFolderInUse, LocalServerError, command_line
from script.local.postgres import LocalPostgres
from script.local.postgres_install import PostgresUnavailable, server_user
from tests.servers import servers_required, temporary_folder

pytestmark = pytest.mark.postgres
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for the server")


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    """A server of this file's own, to be stopped and killed."""
    with temporary_folder("postgres") as folder:
        postgres = LocalPostgres(folder, durable=False)
        try:
            postgres.start()
        except LocalServerError as error:
            if servers_required():
                raise
            pytest.skip(f"no PostgreSQL: {error}")
        yield postgres
        postgres.stop()


def test_database_is_there_from_the_start_and_made_only_once(server: LocalPostgres) -> None:
    assert server.url().endswith("/recommender")
    assert query(server.url(), "SELECT current_database()") == "recommender"
    assert server.ensure_database("another") == server.ensure_database("another") == server.url("another")
    assert query(server.url("another"), "SELECT current_database()") == "another"


def test_data_and_address_stay_over_a_restart(server: LocalPostgres) -> None:
    execute(server.url(), "CREATE TABLE over_a_restart AS SELECT 42 AS answer")
    url, former_pid = server.url(), server.pid
    server.restart()
    assert server.url() == url
    assert server.pid != former_pid
    assert query(url, "SELECT answer FROM over_a_restart") == 42


def test_killed_server_comes_back_with_its_data_though_sessions_were_open(server: LocalPostgres) -> None:
    execute(server.url(), "CREATE TABLE over_a_crash AS SELECT 42 AS answer")
    session = psycopg2.connect(server.url())
    server.kill()
    server.start()
    session.close()
    assert query(server.url(), "SELECT answer FROM over_a_crash") == 42


def test_start_waits_for_a_session_that_outlives_its_killed_server(server: LocalPostgres) -> None:
    session = psycopg2.connect(server.url())
    session_pid = session.info.backend_pid
    os.kill(session_pid, signal.SIGSTOP)
    server.kill()
    timer = threading.Timer(1.5, os.kill, (session_pid, signal.SIGCONT))
    timer.start()
    server.start()
    timer.join()
    session.close()
    assert "still in use" in server.log_file.read_text()
    assert query(server.url(), "SELECT 1") == 1


def test_old_lock_file_with_a_number_that_is_somebody_elses_by_now_is_no_obstacle(server: LocalPostgres) -> None:
    user = server_user()
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid}
    lock = server.folder / "data" / "postmaster.pid"
    content = lock.read_text()
    with subprocess.Popen(["sleep", "60"], **identity) as stranger:  # type: ignore[call-overload]  # user and group
        server.stop()
        lock.write_text(content.replace(content.split()[0], str(stranger.pid), 1))
        server.start()
        assert stranger.poll() is None
        stranger.kill()
    assert query(server.url(), "SELECT 1") == 1


def test_server_listens_on_loopback_alone(server: LocalPostgres) -> None:
    assert query(server.url(), "SHOW listen_addresses") == "127.0.0.1"
    assert query(server.url(), "SHOW unix_socket_directories") == ""
    hosts = query(server.url(), "SELECT array_agg(DISTINCT address ORDER BY address) FROM pg_hba_file_rules")
    assert hosts == ["127.0.0.1", "::1", None]


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
def test_only_a_durable_server_waits_for_the_disk(durable: bool, fsync: str) -> None:
    with temporary_folder("postgres") as folder, LocalPostgres(folder, durable=durable) as postgres:
        assert query(postgres.url(), "SHOW fsync") == fsync
        assert query(postgres.url(), "SHOW full_page_writes") == fsync


def test_server_knows_nothing_of_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches the server may run programs as it: no secret of the caller must be there to be read."""
    monkeypatch.setenv("A_SECRET", "of the caller")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with temporary_folder("postgres") as folder, LocalPostgres(folder, durable=False) as postgres:
        assert query(postgres.url(), "SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'") == "UTC"
        execute(postgres.url(), "CREATE TABLE known (line text); COPY known FROM PROGRAM 'env'")
        assert query(postgres.url(), "SELECT count(*) FROM known WHERE line LIKE 'PATH=%'") == 1
        assert query(postgres.url(), "SELECT count(*) FROM known WHERE line LIKE 'A_SECRET%'") == 0


def test_second_server_on_the_same_folder_is_refused(server: LocalPostgres) -> None:
    with pytest.raises(DataFolderInUse, match=f"process {os.getpid()}"):
        LocalPostgres(server.folder).start()
    assert server.is_running


def test_given_port_is_used_or_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with temporary_folder("postgres") as folder, pytest.raises(LocalServerError, match=f"port {port} .* taken"):
            LocalPostgres(folder, port, durable=False).start()
    with temporary_folder("postgres") as folder, LocalPostgres(folder, port, durable=False) as postgres:
        assert f":{port}/" in postgres.url()


def test_creation_that_was_cut_short_is_begun_again() -> None:
    with temporary_folder("postgres") as folder:
        unfinished = folder / "data.unfinished"
        unfinished.mkdir()
        (unfinished / "PG_VERSION").write_text("18\n")
        with LocalPostgres(folder, durable=False) as postgres:
            assert query(postgres.url(), "SELECT 1") == 1
        assert not unfinished.exists()


def test_data_that_cannot_be_read_are_reported_with_the_servers_own_words() -> None:
    with temporary_folder("postgres") as folder:
        with LocalPostgres(folder, durable=False):
            pass
        (folder / "data" / "PG_VERSION").write_text("9\n")
        with pytest.raises(LocalServerError, match=r"(?s)ended by itself.*incompatible"):
            LocalPostgres(folder, durable=False).start()


def test_command_keeps_a_server_until_sigterm_and_a_killed_command_leaves_a_usable_folder() -> None:
    with temporary_folder("postgres") as folder:
        killed, url = run_command(folder)
        execute(url, "CREATE TABLE by_hand AS SELECT 42 AS answer")
        server_pid = int((folder / "postgres.pid").read_text())
        killed.kill()
        killed.wait()
        again, url = run_command(folder)
        assert command_line(server_pid) == []
        assert query(url, "SELECT answer FROM by_hand") == 42
        again.send_signal(signal.SIGTERM)
        assert again.wait(20.0) == 0
        assert not (folder / "data" / "postmaster.pid").exists()


@as_root
def test_root_gets_data_that_the_servers_user_can_reach(
    tmp_path: Path, roots_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with LocalPostgres(closed / "postgres", durable=False) as postgres:
        execute(postgres.url(), "CREATE TABLE moved AS SELECT 42 AS answer")
        assert postgres.folder.is_relative_to(roots_folder)
        assert str(postgres.folder) in capsys.readouterr().err
    with LocalPostgres(closed / "postgres", durable=False) as postgres:
        assert query(postgres.url(), "SELECT answer FROM moved") == 42


@as_root
def test_root_runs_a_copy_of_a_server_that_the_servers_user_cannot_reach(
    tmp_path: Path, roots_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = postgres_install.installed_package()
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.name, ignore=shutil.ignore_patterns("include", "*.a"))
    # As pip leaves them under a strict umask.
    subprocess.run(["chmod", "-R", "go-rwx", str(closed)], check=True)
    monkeypatch.setattr(postgres_install, "installed_package", lambda: closed / package.name)
    with temporary_folder("postgres") as folder, LocalPostgres(folder, durable=False) as postgres:
        assert query(postgres.url(), "SELECT 1") == 1
        assert command_line(postgres.pid)[0].startswith(str(roots_folder))


@as_root
def test_roots_folder_that_others_may_write_is_refused(tmp_path: Path, roots_folder: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    roots_folder.chmod(0o777)
    with pytest.raises(PostgresUnavailable, match=r"root alone.*DATABASE_URL"):
        LocalPostgres(tmp_path / "closed" / "postgres")


@pytest.fixture
def roots_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In place of the machine's own folder for what root's server needs."""
    with temporary_folder("roots") as folder:
        monkeypatch.setattr(postgres_install, "_ROOTS_FOLDER", folder)
        yield folder


def run_command(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """`local_postgres.py run`, and the URL that it printed."""
    command = [sys.executable, "-m", "script.local.postgres", "run", "--data-dir", str(folder)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name, _, url = process.stdout.readline().strip().partition("=")
    assert name == "DATABASE_URL"
    return process, url


def query(url: str, statement: str) -> object:
    """The first column of the first row."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return None if row is None else row[0]
    finally:
        connection.close()


def execute(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
