"""script/offsets.py on a real broker and database: an alarm is resolved, and nothing else is let through."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import pytest

from script.offsets import main
from shared.events import RECOMMENDATIONS_REQUESTED
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

PARTITION_0 = ("--topic", RECOMMENDATIONS_REQUESTED, "--partition", 0)


def command(world: WorkerWorld, *arguments: object) -> tuple[int, str]:
    """Run the command; return exit code and everything that it printed."""
    settings = {
        "DATABASE_URL": world.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": world.bootstrap_servers,
        "TOPIC_PREFIX": world.topic_prefix,
    }
    output = io.StringIO()
    with patch.dict(os.environ, settings), redirect_stdout(output), redirect_stderr(output):
        code = main([*map(str, arguments)])
    return code, output.getvalue()


def stored(world: WorkerWorld) -> int:
    query = 'SELECT next_offset FROM consumer_offsets WHERE topic = %s AND "partition" = 0'
    return int(world.rows(query, RECOMMENDATIONS_REQUESTED)[0][0])


def customers_of_partition_0(world: WorkerWorld, count: int) -> list[str]:
    world.answers([world.ask(f"P{index}") for index in range(40)])
    rows = world.rows('SELECT customer_id FROM decisions WHERE "partition" = 0 ORDER BY event_offset')
    assert len(rows) >= count
    return [name for (name,) in rows[:count]]


def test_an_alarm_is_resolved_by_the_operators_decision_and_by_nothing_less(world: WorkerWorld) -> None:
    worker = world.start(session_timeout_seconds=6)
    [customer] = customers_of_partition_0(world, 1)
    end = stored(world)
    assert command(world, "list")[0] == 0
    assert worker.terminate()[0] == 0
    world.rows(
        'UPDATE consumer_offsets SET next_offset = 1000000 WHERE topic = %s AND "partition" = 0',
        RECOMMENDATIONS_REQUESTED,
    )
    worker = world.start(ready=False)
    held = world.ask(customer)
    world.wait(lambda: worker.metric("offset_out_of_range") == 1, "the alarm is raised")

    code, said = command(world, "list")
    assert code == 1
    assert f"beyond the log's end by {1000000 - end - 1}" in said

    code, said = command(world, "set", "--group", world.group, *PARTITION_0, "--to", end, "--yes")
    assert code == 1
    assert f"consumers are in the group {world.group}" in said
    assert stored(world) == 1000000

    assert worker.terminate()[0] == 0
    for to, reason in ((end, "nothing was changed"), (end + 2, f"the log holds 0 to {end + 1}")):
        code, said = command(world, "set", "--group", world.group, *PARTITION_0, "--to", to)
        assert code == 1
        assert reason in said
        assert stored(world) == 1000000

    code, said = command(world, "set", "--group", world.group, *PARTITION_0, "--to", end, "--yes")
    assert code == 0, said
    assert f"1000000 -> {end}" in said
    assert stored(world) == end
    world.start()
    world.answers([held])
    assert command(world, "list")[0] == 0


def test_going_back_to_the_start_of_the_log_doubles_nothing(world: WorkerWorld) -> None:
    worker = world.start()
    customers_of_partition_0(world, 1)
    before = world.rows("SELECT * FROM decisions ORDER BY 1")
    end = stored(world)
    assert worker.terminate()[0] == 0

    code, said = command(world, "set", "--group", world.group, *PARTITION_0, "--to", "earliest", "--yes")

    assert code == 0
    assert f"up to {end} messages are read again" in said
    world.start()
    world.wait(lambda: stored(world) == end, "the partition was read again")
    assert world.rows("SELECT * FROM decisions ORDER BY 1") == before


def test_what_is_skipped_is_said_before(world: WorkerWorld) -> None:
    worker = world.start()
    [customer] = customers_of_partition_0(world, 1)
    end = stored(world)
    assert worker.terminate()[0] == 0
    world.ask(customer)

    code, said = command(world, "set", "--group", world.group, *PARTITION_0, "--to", "latest")

    assert code == 1
    assert f"{end} -> {end + 1}" in said
    assert "0 messages are gone from the log, 1 that it still holds are skipped" in said
    assert stored(world) == end


def test_an_offset_that_is_not_stored_is_not_set(world: WorkerWorld) -> None:
    code, said = command(world, "set", "--group", world.group, *PARTITION_0, "--to", "earliest", "--yes")

    assert code == 1
    assert "has no stored offset" in said
