"""script/dead_letters.py on a real broker and database, with a real worker behind it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from script.dead_letters import main
from shared.events import INTERACTIONS_RECORDED, InteractionRecorded, encode
from shared.kafka.metadata import fetch_cluster_id
from shared.kafka.topics import TopicDurability, configure_topics
from shared.postgres.dead_letter_store import DeadLetterBox, LetterFilter
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
    code, output, _ = command(world, "replay", "--all-of-reason", "UnknownAsset", "--group", world.group)

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


def insert_letters(world: WorkerWorld, count: int, *, value: bytes, reason: str = "UnknownAsset: by hand") -> None:
    """Put letters into the table as a worker does, one for each offset."""
    world.rows(
        'INSERT INTO dead_letters (cluster_id, consumer_group, topic, "partition", event_offset, key, value, reason)'
        " SELECT %s, %s, %s, 0, number, 'C1', %s, %s FROM generate_series(1, %s) AS number",
        fetch_cluster_id(world.bootstrap_servers),
        world.group,
        INTERACTIONS_RECORDED,
        value,
        reason,
        count,
    )


def peak_megabytes(world: WorkerWorld, *arguments: object) -> tuple[float, str]:
    """Run the command as a process of its own; return the memory that it used at most, and its output."""
    program = (
        "import resource, sys; from script.dead_letters import main; code = main(sys.argv[1:]);"
        " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr); sys.exit(code)"
    )
    settings = {
        "DATABASE_URL": world.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": world.bootstrap_servers,
        "TOPIC_PREFIX": world.topic_prefix,
    }
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return float(ended.stderr.splitlines()[-1]), ended.stdout


@pytest.mark.parametrize("arguments", [("replay", "--all-of-reason", "by hand"), ("list", "--json", "--limit", 1000)])
def test_memory_follows_neither_the_number_of_letters_nor_their_bytes(
    world: WorkerWorld, arguments: tuple[object, ...]
) -> None:
    configure_topics(
        world.bootstrap_servers, prefix=world.topic_prefix, durability=TopicDurability(max_message_bytes=2_000_000)
    )
    event = encode(InteractionRecorded(customer_id="C1", isin=world.model.id_map.isins[0], type="click"))
    alone, _ = peak_megabytes(world, "list", "--json")
    insert_letters(world, 120, value=event + b" " * 900_000)

    peak, output = peak_megabytes(world, *arguments)

    assert peak - alone < 50
    if arguments[0] == "replay":
        assert output.splitlines()[-1] == "120 replayed, 0 refused"
    else:
        assert [json.loads(line)["value_bytes"] for line in output.splitlines()] == [len(event) + 900_000] * 120


def test_more_letters_than_one_page_are_listed_and_replayed(world: WorkerWorld) -> None:
    event = encode(InteractionRecorded(customer_id="C1", isin=world.model.id_map.isins[0], type="click"))
    insert_letters(world, 1203, value=event)

    listed = letters(world, "--limit", 5000)

    assert [one["event_offset"] for one in listed] == list(range(1, 1204))
    assert len(letters(world, "--limit", 501)) == 501
    code, output, _ = command(world, "replay", "--all-of-reason", "by hand")
    assert (code, output.splitlines()[-1]) == (0, "1203 replayed, 0 refused")
    assert letters(world) == []


def test_a_letter_that_is_stored_during_a_replay_is_not_part_of_it(world: WorkerWorld) -> None:
    insert_letters(world, 500, value=b"x")  # a whole page
    with closing(DeadLetterBox(world.database_url)) as box:
        found = box.find_ids(LetterFilter())
        first = next(found)
        world.rows("UPDATE dead_letters SET event_offset = event_offset + 1000")
        insert_letters(world, 1, value=b"x")

        assert len([first, *found]) == 500


def test_one_letter_that_is_too_large_does_not_keep_the_others_from_being_replayed(world: WorkerWorld) -> None:
    event = encode(InteractionRecorded(customer_id="C1", isin=world.model.id_map.isins[0], type="click"))
    insert_letters(world, 1, value=event + b" " * 1_500_000)
    world.rows("UPDATE dead_letters SET event_offset = 1000")
    insert_letters(world, 2, value=event)

    code, output, said = command(world, "replay", "--all-of-reason", "by hand")

    assert (code, output.splitlines()[-1]) == (1, "2 replayed, 1 refused")
    assert "max.message.bytes" in said
    [left] = letters(world)
    assert command(world, "replay", left["dead_letter_id"], "--force")[0] == 1  # the broker refuses it
    assert len(letters(world)) == 1


def test_what_is_shown_says_whether_a_replay_can_succeed_and_cannot_steer_the_terminal(world: WorkerWorld) -> None:
    world.start()
    world.click("C1", UNKNOWN)
    [letter] = wait_for_letters(world, 1)
    code, output, _ = command(world, "show", letter)
    assert code == 0
    assert f"can be replayed: no: UnknownAsset: the catalogue has no {UNKNOWN}" in output
    code, _, said = command(world, "replay", letter)
    assert code == 1
    assert "UnknownAsset" in said
    load_asset(world, UNKNOWN)
    assert "can be replayed: yes\n" in command(world, "show", letter)[1]

    kept = world.click("C1", world.model.id_map.isins[0])
    world.wait(lambda: world.count("user_interactions") == 1, "the interaction is kept")
    world.rows("UPDATE dead_letters SET value = %s", encode(kept))
    assert "can be replayed: yes: the event had its effect already" in command(world, "show", letter)[1]
    other = kept.model_copy(update={"isin": UNKNOWN})
    world.rows("UPDATE dead_letters SET value = %s", encode(other))
    assert "can be replayed: no: EventIdReused" in command(world, "show", letter)[1]

    world.rows("UPDATE dead_letters SET reason = %s, key = %s", "KeyError: \x1b]0;x\x07", b"\x1b[2J")
    output = command(world, "show", letter)[1]
    assert "\x1b" not in output
    assert "reason: KeyError: \\x1b]0;x\\x07" in output
    code, output, _ = command(world, "show", letter, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert code == 3
    assert "reason: KeyError" in output
