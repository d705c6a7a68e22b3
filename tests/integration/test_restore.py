"""An older backup is restored: data and offsets go back together, and the worker rebuilds what came after it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from script.local.owned_process import LocalServerError
from script.local.postgres_install import installed_package
from script.offsets import BrokerView
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

CUSTOMERS = 12
STORED = 'SELECT topic, "partition", next_offset FROM consumer_offsets WHERE next_offset > 0 ORDER BY 1, 2'


class Ledger:
    """What the broker acknowledged, and what the database has of it."""

    def __init__(self, world: WorkerWorld) -> None:
        self._world = world
        self.requests: list[str] = []
        self.newest: dict[str, str] = {}  # request of each customer
        self.clicks: list[str] = []
        self.poison = 0

    def play(self, *, rounds: int) -> None:
        """Every customer clicks and asks so many times; now and then a message is no event."""
        isins = self._world.model.id_map.isins
        for number in range(rounds):
            customer = f"C{number % CUSTOMERS}"
            self.clicks.append(str(self._world.click(customer, isins[number % len(isins)]).event_id))
            self.requests.append(str(self._world.ask(customer).event_id))
            self.newest[customer] = self.requests[-1]
            if number % 10 == 0:
                self._world.send(INTERACTIONS_RECORDED, key=customer, value=b"poison")
                self.poison += 1

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Go on in the background for a while."""
        over = threading.Event()

        def play() -> None:
            while not over.is_set():
                self.play(rounds=1)

        thread = threading.Thread(target=play)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def wait_until_read(self) -> None:
        """Return once the worker has stored the end of every log."""
        broker = BrokerView(self._world.bootstrap_servers, topic_prefix=self._world.topic_prefix)
        partitions = [
            (topic, number)
            for topic in (INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED)
            for number in range(self._world.partitions)
        ]
        ends = {place: log.latest for place, log in broker.log_ranges(partitions).items() if log.latest}

        def is_read() -> bool:
            return {(topic, number): offset for topic, number, offset in self._world.rows(STORED)} == ends

        self._world.wait(is_read, "everything is read")

    def missing(self) -> int:
        """Return how many acknowledged events have no effect; fails on an effect that nobody asked for."""
        decided = [str(row[0]) for row in self._world.rows("SELECT request_id FROM decisions")]
        kept = [str(row[0]) for row in self._world.rows("SELECT event_id FROM user_interactions")]
        assert set(decided) <= set(self.requests)
        assert set(kept) <= set(self.clicks)
        assert len(decided) == len(set(decided))
        assert len(kept) == len(set(kept))
        dead = self._world.count("dead_letters")
        assert dead <= self.poison
        return len(self.requests) - len(decided) + len(self.clicks) - len(kept) + self.poison - dead


def postgres_program(name: str) -> str:
    try:
        return str(installed_package() / "pginstall" / "bin" / name)
    except LocalServerError as error:
        pytest.skip(str(error))


def run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert answer.returncode == 0, answer.stderr


def back_up(world: WorkerWorld) -> Path:
    """Dump the database while everything runs, as docs/operations.md says."""
    file = world.folder / "backup.dump"
    run(postgres_program("pg_dump"), "--format=custom", f"--file={file}", f"--dbname={world.database_url}")
    return file


def restore(world: WorkerWorld, backup: Path, database_url: str) -> None:
    """Restore into another database, and let the world's workers use that one from now on."""
    run(postgres_program("pg_restore"), "--no-owner", "--exit-on-error", f"--dbname={database_url}", str(backup))
    world.connection.close()
    world.database_url = database_url
    world.connection = psycopg2.connect(database_url)
    world.connection.autocommit = True


def effects(world: WorkerWorld) -> Counter[tuple[str, int]]:
    """Return how many events of each partition have an effect."""
    found: Counter[tuple[str, int]] = Counter()
    for topic, table in ((RECOMMENDATIONS_REQUESTED, "decisions"), (INTERACTIONS_RECORDED, "user_interactions")):
        found.update(
            {(topic, n): count for n, count in world.rows(f'SELECT "partition", count(*) FROM {table} GROUP BY 1')}
        )
    for topic, number, count in world.rows('SELECT topic, "partition", count(*) FROM dead_letters GROUP BY 1, 2'):
        found[topic, number] += count
    return found


def history_with_a_backup(world: WorkerWorld) -> tuple[Ledger, Path]:
    """Work, make a backup in the middle of it, go on, and crash."""
    ledger = Ledger(world)
    worker = world.start()
    ledger.play(rounds=2 * CUSTOMERS)
    with ledger.playing():
        time.sleep(1.0)
        backup = back_up(world)
    ledger.play(rounds=2 * CUSTOMERS)
    ledger.wait_until_read()
    assert ledger.missing() == 0
    worker.kill()
    return ledger, backup


def test_a_restored_backup_goes_back_data_and_offsets_together_and_the_worker_rebuilds_the_rest(
    world: WorkerWorld, empty_database_url: str
) -> None:
    ledger, backup = history_with_a_backup(world)

    restore(world, backup, empty_database_url)

    assert ledger.missing() >= 4 * CUSTOMERS
    assert {(topic, number): offset for topic, number, offset in world.rows(STORED)} == effects(world)
    world.start()
    ledger.wait_until_read()
    assert ledger.missing() == 0
    lists = world.rows("SELECT customer_id, request_id FROM recommendations")
    assert {customer: str(request_id) for customer, request_id in lists} == ledger.newest


def test_offsets_that_do_not_go_back_with_the_data_would_lose_events_and_be_noticed_here(
    world: WorkerWorld, empty_database_url: str
) -> None:
    ledger, backup = history_with_a_backup(world)
    newest = world.rows('SELECT next_offset, topic, "partition" FROM consumer_offsets')
    restore(world, backup, empty_database_url)
    lost = ledger.missing()
    for row in newest:
        world.rows('UPDATE consumer_offsets SET next_offset = %s WHERE topic = %s AND "partition" = %s', *row)

    world.start()
    ledger.play(rounds=CUSTOMERS)
    ledger.wait_until_read()

    assert lost >= 4 * CUSTOMERS
    assert ledger.missing() == lost
