"""What a campaign runs on: a broker, a database and the services, all its own, in one folder, on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from script.demo_setup import run_step
from script.local.kafka import LocalKafka
from script.local.owned_process import LocalServerError
from script.local.postgres import LocalPostgres
from script.local.postgres_install import server_user
from script.local.service_processes import SERVICES, ServiceEnvironment
from tests.chaos.failpoints import ArmedFailpoints
from tests.chaos.services import FaultyService, wait_until

SCALE = "0.02"
DATA_SEED = "7"
MODELS_MEGABYTES = 64
TABLES_MEGABYTES = 64
# What differs from the defaults of the services, and is therefore in the report.
SETTINGS = {
    "CANDIDATE_ALGORITHMS": "ease",
    "TOPIC_PARTITIONS": "6",
    "SESSION_TIMEOUT_SECONDS": "6",  # the least that the broker allows
    "PROMOTION_MARGIN": "1",  # every training ends with a swap
    "RETRAIN_AFTER_INTERACTIONS": "5000",
    "API_METRICS_PORT": "0",  # any free one: several campaigns may run on one machine
}
_LOADED_WITH_REJECTS = 1
_CALL_SECONDS = 15.0
_BALLAST = "ballast"


class NoServers(LocalServerError):
    """This machine cannot have a broker or a database: no campaign can begin."""


@dataclass
class System:
    """Servers and services, running from `set_up` on."""

    folder: Path
    kafka: LocalKafka
    postgres: LocalPostgres
    environment: ServiceEnvironment
    failpoints: ArmedFailpoints
    models_volume: SmallVolume
    tables_volume: SmallVolume
    without: tuple[str, ...] = ()
    services: dict[str, FaultyService] = field(default_factory=dict)

    def __getitem__(self, name: str) -> FaultyService:
        return self.services[name]

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def add(self, service: str, *, name: str | None = None, **settings: str) -> FaultyService:
        """Return one more service that is not started yet; `settings` are environment variables in lower case."""
        more = {**self.environment.more, **{key.upper(): value for key, value in settings.items()}}
        environment = replace(self.environment, more=more)
        process = FaultyService(
            service, environment, folder=self.logs, failpoints=self.failpoints.folder, without=self.without, name=name
        )
        self.services[process.name] = process
        return process

    def http(self) -> httpx.Client:
        """Return a client of the gateway that opens a connection for each call."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        url = self["api"].url
        return httpx.Client(base_url=url, limits=limits, timeout=_CALL_SECONDS, trust_env=False, verify=False)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement in a transaction of its own."""
        connection = psycopg2.connect(self.environment.database_url, connect_timeout=5)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def execute(self, *statements: str) -> None:
        """Run statements one by one, each committed by itself."""
        connection = psycopg2.connect(self.environment.database_url, connect_timeout=5)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()


@contextmanager
def set_up(folder: Path, *, without: Sequence[str], log: Callable[[str], None]) -> Iterator[System]:
    """Start everything and return when a first model is served; ends all of it, whatever happened in between."""
    folder.chmod(0o711)  # as root: for the user of the database server, whose folder lies inside
    with ExitStack() as stack:
        system = _servers(folder, tuple(without), stack)
        log(f"broker and database are up in {folder}")
        _prepare(system)
        log("tables, topics and synthetic data are there")
        for service in SERVICES:
            system.add(service)
        stack.callback(_end_services, system)
        for process in system.services.values():
            process.start()
        for process in system.services.values():
            if not wait_until(process.is_ready, seconds=120):
                reason = process.get("/health/ready")
                raise LocalServerError(f"{process.name} is not ready: {reason}; its log is {process.log_file}")
        log("the services are ready, a first model is served")
        yield system


def _servers(folder: Path, without: tuple[str, ...], stack: ExitStack) -> System:
    kafka, postgres = LocalKafka(folder / "kafka"), LocalPostgres(folder / "postgres")
    user = server_user()
    models = SmallVolume(folder / "models", megabytes=MODELS_MEGABYTES)
    stack.callback(models.unmount)
    tables = SmallVolume(
        folder / "tables", megabytes=TABLES_MEGABYTES, owner=(user.pw_uid, user.pw_gid) if user else None
    )
    stack.callback(tables.unmount)
    stack.callback(kafka.stop)
    stack.callback(postgres.stop)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda start: start(), (kafka.start, postgres.start)))
    except LocalServerError as error:
        raise NoServers(str(error)) from error
    environment = ServiceEnvironment(kafka.bootstrap_servers, postgres.url(), models.folder, more=SETTINGS)
    failpoints = ArmedFailpoints(folder / "failpoints")
    return System(folder, kafka, postgres, environment, failpoints, models, tables, without)


def _prepare(system: System) -> None:
    """Tables, topics, data, and a record of stored offsets that become smaller."""
    environment, data = system.environment.variables(), system.folder / "data"
    system.logs.mkdir(exist_ok=True)
    generate = ["FAR-Trans/synthesize.py", "--scale", SCALE, "--seed", DATA_SEED, "--output", str(data)]
    run_step("synthesize", generate, folder=system.logs)
    run_step("migrate", ["-m", "shared.migrations"], folder=system.logs, environment=environment)
    load = ["FAR-Trans/script.py", "--data", str(data), "--rejects", str(system.logs / "rejects.csv")]
    run_step("load", load, folder=system.logs, environment=environment, accepted=(0, _LOADED_WITH_REJECTS))
    system.execute(*_REWIND_TRIGGER)
    if system.tables_volume.why_not is None:
        system.execute(
            f"CREATE TABLESPACE chaos LOCATION '{system.tables_volume.folder}'",
            "ALTER TABLE user_interactions SET TABLESPACE chaos",
        )
    if "deduplication" in system.without:
        system.execute(
            "ALTER TABLE user_interactions DROP CONSTRAINT user_interactions_pkey",
            "ALTER TABLE decisions DROP CONSTRAINT decisions_pkey",
        )


# A stored offset that becomes smaller means that somebody who no longer owned the partition wrote. Whoever changes
# offsets on purpose says so in a setting of the session.
_REWIND_TRIGGER = (
    "CREATE TABLE chaos_rewinds (consumer_group text, topic text, partition int, was bigint, became bigint,"
    " seen_at timestamptz NOT NULL DEFAULT now())",
    """
    CREATE FUNCTION chaos_note_rewind() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO chaos_rewinds
        VALUES (OLD.consumer_group, OLD.topic, OLD.partition, OLD.next_offset, NEW.next_offset);
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER chaos_note_rewind BEFORE UPDATE ON consumer_offsets FOR EACH ROW
    WHEN (NEW.next_offset < OLD.next_offset
          AND coalesce(current_setting('chaos.on_purpose', true), '') <> 'yes')
    EXECUTE FUNCTION chaos_note_rewind()
    """,
)


def _end_services(system: System) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda process: process.stop(), system.services.values()))


def remove(folder: Path) -> None:
    """Remove a campaign's folder; what PostgreSQL keeps elsewhere for root goes with it."""
    postgres = LocalPostgres(folder / "postgres").folder if (folder / "postgres").exists() else None
    shutil.rmtree(folder, ignore_errors=True)
    if postgres is not None:
        shutil.rmtree(postgres, ignore_errors=True)


class SmallVolume:
    """A tmpfs of a few megabytes at `folder`; without the right to mount, `why_not` says so and the folder is plain."""

    def __init__(self, folder: Path, *, megabytes: int, owner: tuple[int, int] | None = None) -> None:
        self.folder = folder
        self.why_not: str | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._is_mounted = False
        if os.geteuid() != 0:
            self.why_not = "only root may mount a small tmpfs"
            return
        answer = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "chaos", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            self.why_not = f"a small tmpfs cannot be mounted: {answer.stderr.strip()}"
            return
        self._is_mounted = True
        if owner is not None:
            os.chown(folder, *owner)

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.folder / _BALLAST).open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        """Give the space back; safe to repeat."""
        (self.folder / _BALLAST).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Safe to repeat; everything in the volume is gone."""
        for _ in range(20):
            if not self._is_mounted:
                return
            answer = subprocess.run(["umount", str(self.folder)], capture_output=True, check=False)
            self._is_mounted = answer.returncode != 0
            if self._is_mounted:
                time.sleep(0.25)
