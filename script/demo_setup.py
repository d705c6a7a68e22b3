"""What the demo needs before the services can start: a state folder, data, Kafka, Postgres, tables and topics.

Its files lie outside the repository: one folder for each clone and user, in it one for each data set.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from script.local.kafka import LocalKafka
from script.local.local_server import LocalServer
from script.local.owned_process import DataFolderInUse, LocalServerError, note_owner, read_tail, run_to_end, take_lock
from script.local.postgres import LocalPostgres
from script.local.service_processes import REPOSITORY, ServiceEnvironment
from shared.far_trans.schema import TABLES
from shared.postgres.engine import build_engine
from shared.postgres.tables import reference_snapshots
from shared.settings import DatabaseSettings
from shared.transport_checks import environment_database_url

SYNTHETIC_SCALE = 0.02
SYNTHETIC_SEED = 7
_APPLICATION = "far-trans-recommender"
_GENERATOR = ("FAR-Trans/synthesize.py", "shared/far_trans/synthetic/*.py", "shared/far_trans/schema.py")
_SERVERS_TIMEOUT_SECONDS = 300.0  # the first start fetches Kafka's jars
_STEP_TIMEOUT_SECONDS = 900.0  # the whole published data set on a slow disk
_LOADED_WITH_REJECTS, _LOAD_REFUSED = 1, 2

Report = Callable[[str], None]


class DemoRefused(LocalServerError):
    """The demo cannot start like this; the message says what to do."""


@dataclass(frozen=True)
class DataSet:
    """What the demo loads; `scale` is set for synthetic data, which `folder` may not hold yet."""

    label: str
    folder: Path
    state: Path
    scale: float | None = None


def state_root() -> Path:
    """Return DEMO_STATE_DIR, else a folder for this clone and user; raises DemoRefused when none is writable."""
    if given := os.environ.get("DEMO_STATE_DIR"):
        candidates = [Path(given).expanduser().absolute()]
    else:
        temporary = Path(tempfile.gettempdir()) / f"{_APPLICATION}-{os.getuid()}"
        clone = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:10]
        candidates = [folder / f"demo-{clone}" for folder in (_state_home() / _APPLICATION, temporary)]
    for candidate in candidates:
        with contextlib.suppress(OSError, RuntimeError):
            candidate.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=candidate):
                if candidate.stat().st_uid == os.geteuid():
                    return candidate
    raise DemoRefused(
        f"None of these folders can be written: {', '.join(map(str, candidates))}. Set DEMO_STATE_DIR to one that can."
    )


@contextlib.contextmanager
def sole_demo(root: Path) -> Iterator[Callable[[str], None]]:
    """Lock the state folder; raises DemoRefused, with the text that the other demo announced, when it is locked."""
    try:
        lock = take_lock(root / "demo.lock")
    except DataFolderInUse as error:
        text = f"A demo of this clone is running already: process {error.owner}. Stop it with Ctrl-C."
        raise DemoRefused(text) from error
    with lock:
        yield lambda text: note_owner(lock, f", {text}")


def choose_data(given: Path | None, *, scale: float, root: Path, servers: tuple[str, ...] = ()) -> DataSet:
    """Return the given folder, else the files in FAR-Trans/, else synthetic data; raises DemoRefused.

    `servers` are addresses of Kafka and Postgres that the demo does not start: each pair has its own state folder.
    """
    folder = REPOSITORY / "FAR-Trans" if given is None else given.resolve()
    missing = missing_files(folder)
    if given is not None and missing:
        raise DemoRefused(f"{given} does not hold FAR-Trans data: {', '.join(missing)} missing.")
    if not missing:
        stats = [(name, (folder / name).stat()) for name in _file_names() if (folder / name).is_file()]
        content = _digest(*(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats))
        return DataSet(f"the files in {folder}", folder, root / f"files-{_digest(str(folder), *servers)}-{content}")
    sources = sorted(path for pattern in _GENERATOR for path in REPOSITORY.glob(pattern))
    generator = _digest(str(SYNTHETIC_SEED), *(path.read_text() for path in sources))
    label = f"synthetic data at scale {scale:g} (seed {SYNTHETIC_SEED})"
    folder = root / f"generated-{scale:g}-{generator}"
    return DataSet(label, folder, root / f"synthetic-{_digest(str(scale), *servers)}-{generator}", scale)


def missing_files(folder: Path) -> list[str]:
    """Return the names of required files that the folder does not have."""
    return [name for name in _file_names(required=True) if not (folder / name).is_file()]


def forget(root: Path) -> None:
    """Remove all that earlier demos of this clone left; the lock stays."""
    for path in root.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def forget_older_states(data: DataSet, *, root: Path) -> None:
    """Remove what belongs to an earlier content of the same data folder, or to an earlier generator."""
    for current in {data.state, data.folder}:
        prefix = current.name.rsplit("-", 1)[0] + "-"
        for path in root.iterdir():
            if path.is_dir() and path.name.startswith(prefix) and path.name != current.name:
                shutil.rmtree(path, ignore_errors=True)


def _file_names(*, required: bool = False) -> list[str]:
    return [table.file_name for table in TABLES if not (required and table.optional)]


def _state_home() -> Path:
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given)
    # As root PostgreSQL runs as another user, who cannot enter root's home.
    return Path("/var/lib") if os.geteuid() == 0 else Path(os.path.expanduser("~/.local/state"))  # noqa: PTH111


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def external_servers() -> tuple[str, ...]:
    """Return the addresses of servers that run already, from the environment."""
    return tuple(filter(None, (os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL"))))


def given_database_url() -> str | None:
    """Return the database that runs already, with its password; raises DemoRefused when the setting is wrong."""
    try:
        return environment_database_url()
    except ValueError as error:
        raise DemoRefused(str(error)) from error


def plaintext_variables() -> dict[str, str]:
    """Return the variables that let services reach the demo's own broker, whatever they are set to for another one."""
    names = (name for name in DatabaseSettings.model_fields if name.startswith("kafka_"))
    return {name.upper(): "" for name in names if name != "kafka_bootstrap_servers"}


@dataclass
class DemoServers:
    """Starts the servers that the environment does not name, and loads the data."""

    data: DataSet
    report: Report
    load_options: Sequence[str] = ()
    started: dict[str, LocalServer] = field(init=False, default_factory=dict)

    def prepare(self, stack: contextlib.ExitStack) -> ServiceEnvironment:
        """Start what is missing, all at once, then migrate and load; `stack` stops it.

        Raises LocalServerError; DemoRefused when the loader refuses the data.
        """
        state, given = self.data.state, os.environ
        state.mkdir(parents=True, exist_ok=True)
        bootstrap_servers, database_url = given.get("KAFKA_BOOTSTRAP_SERVERS"), given_database_url()
        kafka, postgres = LocalKafka(state / "kafka"), None if database_url else LocalPostgres(state / "postgres")
        if postgres is not None:
            self.started["Postgres"] = postgres
        if not bootstrap_servers:
            self.started["Kafka"] = kafka
        tasks: dict[str, Callable[[], object]] = {}
        for name, server in self.started.items():
            stack.callback(server.stop)
            tasks[f"{name} is up"] = server.start
        if not self.data.folder.is_dir():
            tasks[f"generated {self.data.label}"] = self._generate
        do_together(tasks, report=self.report, seconds=_SERVERS_TIMEOUT_SECONDS)
        environment = ServiceEnvironment(
            bootstrap_servers or kafka.bootstrap_servers,
            postgres.url() if postgres else str(database_url),
            state / "models",
            given.get("TOPIC_PREFIX", ""),
            {} if bootstrap_servers else plaintext_variables(),
        )
        self._migrate_and_load(environment.variables(), reload=postgres is None)
        return environment

    def check(self) -> None:
        """Raise LocalServerError when a server that the demo started has ended."""
        for name, server in self.started.items():
            if not server.is_running:
                raise LocalServerError(f"{name} ended by itself; its log is {server.log_file}")

    def _generate(self) -> None:
        unfinished = self.data.folder.with_name("unfinished-" + self.data.folder.name)
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["--scale", f"{self.data.scale:g}", "--seed", str(SYNTHETIC_SEED), "--output", str(unfinished)]
        run_step("synthesize", ["FAR-Trans/synthesize.py", *options], folder=self.data.state / "logs")
        unfinished.rename(self.data.folder)

    def _migrate_and_load(self, variables: Mapping[str, str], *, reload: bool) -> None:
        """Load data that is not loaded yet; with `reload` in any case: another program may use the database."""
        logs = self.data.state / "logs"
        run_step("migrate", ["-m", "shared.migrations"], folder=logs, environment=variables)
        self.report("tables and topics are there")
        sources = fetch_sources(variables["DATABASE_URL"])
        if not reload and is_loaded(self.data.folder, sources):
            self.report(f"{self.data.label} was loaded earlier")
            return
        if other := sorted({str(Path(path).parent) for path in sources.values() if path} - {str(self.data.folder)}):
            self.report(f"other data were loaded meanwhile, from {', '.join(other)}: loading again")
        rejects_file = logs / "rejected_rows.csv"
        arguments = ["FAR-Trans/script.py", "--data", str(self.data.folder), "--rejects", str(rejects_file)]
        arguments += self.load_options
        codes = (0, _LOADED_WITH_REJECTS, _LOAD_REFUSED)
        code = run_step("load", arguments, folder=logs, environment=variables, accepted=codes)
        if code == _LOAD_REFUSED:
            raise DemoRefused(
                f"{self.data.label} cannot be loaded; {_tail(logs / 'load.log')}\n"
                'With make, options of the loader go into LOAD_OPTIONS="...". `make demo FRESH=1` starts without data.'
            )
        rejects = f" (some rows were rejected: see {rejects_file})" if code else ""
        self.report(f"loaded {self.data.label}{rejects}")


def is_loaded(folder: Path, sources: Mapping[str, str]) -> bool:
    """Return whether the last change of every table was a load of its file in this folder, or of no file."""
    return all(sources.get(table.table) in (_files_of(folder, table.file_name) or {""}) for table in TABLES)


def _files_of(folder: Path, name: str) -> set[str]:
    return {str((folder / each).resolve()) for each in (name, f"{name}.gz") if (folder / each).is_file()}


def fetch_sources(database_url: str) -> dict[str, str]:
    """Return by table which file was loaded or appended last; raises LocalServerError."""
    engine = build_engine(database_url, application_name="demo")
    try:
        with engine.connect() as connection:
            columns = reference_snapshots.c
            rows = connection.execute(select(columns.table_name, columns.source))
            return {row.table_name: row.source for row in rows}
    except SQLAlchemyError as error:
        raise LocalServerError(f"the database does not say which data it holds: {error}") from error
    finally:
        engine.dispose()


def do_together(tasks: Mapping[str, Callable[[], object]], *, report: Report, seconds: float) -> None:
    """Run all tasks at the same time and report each when it is done; raises the first failure, or LocalServerError."""
    names: dict[Future[object], str] = {}

    def run(task: Callable[[], object], done: Future[object]) -> None:
        try:
            done.set_result(task())
        except BaseException as error:
            done.set_exception(error)

    for name, task in tasks.items():
        done: Future[object] = Future()
        names[done] = name
        # No executor: after a failure the process must end without waiting for the other tasks.
        threading.Thread(target=run, args=(task, done), name=name, daemon=True).start()
    try:
        for done in as_completed(names, timeout=seconds):
            done.result()
            report(names[done])
    except TimeoutError:
        late = sorted(name for done, name in names.items() if not done.done())
        raise LocalServerError(f"not done within {seconds:.0f} s: {', '.join(late)}") from None


def run_step(
    name: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    accepted: tuple[int, ...] = (0,),
) -> int:
    """Run a Python program of this repository to its end, with its output in `folder`, and return its exit code.

    Raises LocalServerError, with the end of the output, when it fails or does not end in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / f"{name}.log"
    command, variables = [sys.executable, *arguments], environment or os.environ
    with log_file.open("wb") as log:
        try:
            answer = run_to_end(
                command, environment=variables, timeout_seconds=_STEP_TIMEOUT_SECONDS, cwd=REPOSITORY, output=log
            )
        except LocalServerError as error:
            raise LocalServerError(f"{name}: {error}; {_tail(log_file)}") from error
    if answer.returncode not in accepted:
        raise LocalServerError(f"{name} failed with exit code {answer.returncode}; {_tail(log_file)}")
    return answer.returncode


def _tail(log_file: Path) -> str:
    return f"its log ({log_file}) ends:\n{read_tail(log_file)}"
