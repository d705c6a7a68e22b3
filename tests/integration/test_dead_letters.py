"""script/dead_letters.py on a real broker and database, with a real worker behind it."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from script.dead_letters import main
from shared.events import INTERACTIONS_RECORDED, InteractionRecorded, encode
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

UNKNOWN = "XX0000000000"


def command(world: WorkerWorld, *arguments: object, **environment: str) -> tuple[int, str, str]:
    """Run the command; return exit code, standard output and standard error."""
    settings = {
        "DATABASE_URL": world.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": world.bootstrap_servers,
        "TOPIC_PREFIX": world.topic_prefix,
    }
    output, said = io.StringIO(), io.StringIO()
    with patch.dict(os.environ, {**settings, **environment}), redirect_stdout(output), redirect_stderr(said):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, output.getvalue(), said.getvalue()


def letters(world: WorkerWorld, *arguments: object) -> list[dict[str, object]]:
    code, output, _ = command(world, "list", "--json", *arguments)
    assert code == 0
    return [json.loads(line) for line in output.splitlines()]


def wait_for_letters(world: WorkerWorld, count: int) -> list[int]:
    world.wait(lambda: world.count("dead_letters") == count, f"{count} dead letters")
    return [number for (number,) in world.rows("SELECT dead_letter_id FROM dead_letters ORDER BY 1")]


def load_asset(world: WorkerWorld, isin: str) -> None:
    """Make an asset known, as a load of newer reference data does."""
    columns = "(isin, asset_name, asset_category, recorded_on)"
    world.rows(f"INSERT INTO asset_information {columns} VALUES (%s, 'New', 'Stock', '2022-01-01')", isin)


def drain(world: WorkerWorld) -> None:
    """Return once the worker has stored everything that was published before."""
    world.answers([world.ask(f"D{index}") for index in range(24)])


def test_a_letter_whose_cause_is_gone_has_its_effect_once_however_often_it_is_replayed(world: WorkerWorld) -> None:
    world.start()
    event = world.click("C1", UNKNOWN)
    [letter] = wait_for_letters(world, 1)
    load_asset(world, UNKNOWN)

    code, output, said = command(world, "replay", letter)
    assert (code, output.splitlines()[-1:], said) == (0, ["1 replayed, 0 refused"], "")
    world.wait(lambda: world.count("user_interactions") == 1, "the interaction is kept")
    assert letters(world) == []
    [replayed] = letters(world, "--all")
    assert replayed["replayed_at"]

    code, _, said = command(world, "replay", letter)
    assert code == 1
    assert "replayed already" in said

    assert command(world, "replay", letter, "--again")[0] == 0
    drain(world)
    assert world.rows("SELECT event_id::text FROM user_interactions") == [(str(event.event_id),)]
    assert world.count("dead_letters") == 1


def test_bytes_that_are_no_event_are_refused_exported_repaired_and_replayed(world: WorkerWorld, tmp_path: Path) -> None:
    world.start()
    isin = world.model.id_map.isins[0]
    whole = encode(InteractionRecorded(customer_id="C1", isin=isin, type="click"))
    world.send(INTERACTIONS_RECORDED, key="C1", value=whole[:-5])
    [letter] = wait_for_letters(world, 1)

    code, _, said = command(world, "replay", letter)
    assert code == 1
    assert "not a InteractionRecorded" in said
    assert letters(world)[0]["replayed_at"] is None

    file = tmp_path / "letter.json"
    assert command(world, "export", letter, "--output", file)[0] == 0
    assert file.read_bytes() == whole[:-5]
    file.write_bytes(whole)
    code, _, said = command(world, "replay", letter, "--value", file)
    assert code == 0, said
    world.wait(lambda: world.count("user_interactions") == 1, "the repaired interaction is kept")
    assert letters(world) == []


def test_a_forced_replay_of_poison_comes_back_as_a_new_letter(world: WorkerWorld) -> None:
    world.start()
    world.send(INTERACTIONS_RECORDED, key="C1", value=b"poison")
    [letter] = wait_for_letters(world, 1)

    assert command(world, "replay", letter, "--force")[0] == 0

    both = wait_for_letters(world, 2)
    rows = world.rows("SELECT key, value FROM dead_letters")
    assert [(bytes(key), bytes(value)) for key, value in rows] == [(b"C1", b"poison")] * 2
    assert [one["dead_letter_id"] for one in letters(world)] == [both[1]]


def test_all_letters_of_a_reason_are_replayed_and_no_other(world: WorkerWorld) -> None:
    world.start()
    for index in range(3):
        world.click(f"C{index}", UNKNOWN)
    world.send(INTERACTIONS_RECORDED, key="C1", value=b"poison")
    wait_for_letters(world, 4)
    load_asset(world, UNKNOWN)

    assert len(letters(world, "--reason", "unknownasset", "--topic", INTERACTIONS_RECORDED, "--limit", 2)) == 2
    assert letters(world, "--reason", "Unknown%") == []
    assert letters(world, "--group", "trainer") == []
    code, output, _ = command(world, "replay", "--all-of-reason", "UnknownAsset", "--group", "worker")

    assert (code, output.splitlines()[-1:]) == (0, ["3 replayed, 0 refused"])
    world.wait(lambda: world.count("user_interactions") == 3, "all three are kept")
    assert [one["value"] for one in letters(world)] == ["poison"]
    assert command(world, "replay", "--all-of-reason", "UnknownAsset")[0] == 0


def test_the_letters_that_two_groups_wrote_of_one_message_are_replayed_together(world: WorkerWorld) -> None:
    world.start()
    world.click("C1", UNKNOWN)
    [letter] = wait_for_letters(world, 1)
    load_asset(world, UNKNOWN)
    columns = 'cluster_id, topic, "partition", event_offset, key, value, reason'
    world.rows(
        f"INSERT INTO dead_letters (consumer_group, {columns}) SELECT 'trainer', {columns} FROM dead_letters"
        " UNION ALL SELECT 'trainer', cluster_id, topic, \"partition\", event_offset + 1000, key, value, reason"
        " FROM dead_letters"
    )

    assert command(world, "replay", letter)[0] == 0

    assert [(one["consumer_group"], one["event_offset"]) for one in letters(world)] == [("trainer", 1000)]


def test_a_letter_of_another_cluster_or_no_letter_at_all_is_refused(world: WorkerWorld) -> None:
    world.start()
    world.click("C1", UNKNOWN)
    [letter] = wait_for_letters(world, 1)
    world.rows("UPDATE dead_letters SET cluster_id = 'elsewhere'")

    code, _, said = command(world, "replay", letter, letter + 1)

    assert code == 1
    assert "another Kafka cluster, elsewhere" in said
    assert "no such dead letter" in said
    assert command(world, "show", letter + 1)[0] == 1
    code, output, _ = command(world, "show", letter)
    assert code == 0
    assert f"reason: UnknownAsset: {UNKNOWN}" in output


def test_without_broker_or_database_nothing_is_marked(world: WorkerWorld) -> None:
    world.start()
    world.click("C1", UNKNOWN)
    [letter] = wait_for_letters(world, 1)

    assert command(world, "replay", letter, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")[0] == 3
    assert command(world, "replay", letter, TOPIC_PREFIX="nowhere.")[0] == 3
    assert command(world, "list", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")[0] == 3
    assert [one["dead_letter_id"] for one in letters(world)] == [letter]
