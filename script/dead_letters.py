"""Look at dead letters and publish them again: list, show, export, replay.

Environment: DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS, TOPIC_PREFIX, and those of TLS and passwords, as for the services.

A replay publishes the original bytes with the original key to the original topic, waits for the broker's
acknowledgement, and marks the letter. An event has its effect once, however often it is replayed. `show` says whether
a replay can succeed: it checks what broker and consumers will check. `replay` refuses a letter that cannot, unless
--force; one that a bug made, unless --upgraded.

Exit codes: 0 done, also when there is nothing to list or to replay; 1 something was refused or does not exist (the rest
was done); 2 wrong usage or a setting missing; 3 the database or the broker did not answer (nothing further was done).
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("sqlalchemy", "typer")

import typer
from rich.table import Table

from script.replaying import Refused, Repair, ReplayCheck, replay_letter
from script.terminal import (
    WRONG_USAGE,
    add_row,
    build_app,
    build_screen,
    printable,
    read_settings,
    readable,
    run_app,
    say,
)
from shared.errors import PublishFailed, TransientError
from shared.kafka.client_settings import producer_settings
from shared.kafka.metadata import fetch_cluster_id
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.kafka.topics import fetch_max_message_bytes
from shared.postgres.dead_letter_store import DeadLetter, DeadLetterBox, LetterFilter
from shared.settings import DatabaseSettings

SOME_REFUSED, UNAVAILABLE = 1, 3
SHOWN_BYTES = 4096  # more than any event has
LARGEST_MESSAGE_BYTES = 1_000_000_000  # the broker decides, not the producer
LetterId = Annotated[int, typer.Argument(metavar="ID")]
Topic = Annotated[str | None, typer.Option(help="of this topic (without prefix)")]
Group = Annotated[str | None, typer.Option(help="of this consumer group")]
app = build_app(__doc__)


@app.command("list")
def list_letters(
    *,
    reason: Annotated[str | None, typer.Option(help="any part of the reason, in any case")] = None,
    replayed_too: Annotated[bool, typer.Option("--all", help="those that were replayed, too")] = False,
    limit: Annotated[int, typer.Option(min=1, help="at most so many")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    topic: Topic = None,
    group: Group = None,
) -> None:
    """Print letters that were not replayed yet, the oldest first, and how many there are."""
    wanted = LetterFilter(topic, group, reason, replayed_too=replayed_too)
    with opened_box() as (_, box):
        if as_json:
            for letter in box.find(wanted, limit=limit, value_bytes=SHOWN_BYTES):
                print(json.dumps(to_json(letter)))
            return
        names = ("id", "failed at", "group", "topic", "partition", "offset", "key", "bytes", "reason", "replayed at")
        table = Table(*names)
        for one in box.find(wanted, limit=limit):
            place = (one.consumer_group, one.topic, one.partition, one.event_offset, one.key, one.value_bytes)
            add_row(table, one.dead_letter_id, one.failed_at, *place, one.reason[:200], one.replayed_at)
        screen = build_screen()
        screen.print(table)
        screen.print(f"{table.row_count} of {box.count(wanted)}; --limit shows more", markup=False)


@app.command()
def show(dead_letter_id: LetterId) -> None:
    """Print one letter, and whether a replay can succeed; of a large value the first bytes."""
    with opened_box() as (settings, box):
        letter = fetch(dead_letter_id, box)
        for name, value in to_json(letter).items():
            print(printable(f"{name}: {value}"))
        print(printable(f"can be replayed: {check_with(settings, box).examine(letter, Repair())}"))


@app.command()
def export(
    dead_letter_id: LetterId, output: Annotated[Path, typer.Option(help="a file that does not exist yet")]
) -> None:
    """Write a letter's bytes to a file, to repair them by hand."""
    with opened_box() as (_, box):
        value = fetch(dead_letter_id, box).value
    if value is None:
        raise Refused(f"{dead_letter_id}: the message has no value")
    with output.open("xb") as file:
        file.write(value)
    print(f"{len(value)} bytes in {output}")


@app.command()
def replay(  # noqa: PLR0913  (a parameter for each option)
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID")] = None,
    *,
    all_of_reason: Annotated[str | None, typer.Option(help="all not yet replayed with this in the reason")] = None,
    value: Annotated[Path | None, typer.Option(metavar="FILE", help="one ID only: publish these bytes instead")] = None,
    key: Annotated[str | None, typer.Option(help="one ID only: publish with this key instead")] = None,
    again: Annotated[bool, typer.Option("--again", help="also what was replayed before")] = False,
    upgraded: Annotated[bool, typer.Option("--upgraded", help="also what a bug refused: it is mended by now")] = False,
    force: Annotated[bool, typer.Option("--force", help="also what consumers refuse, or another cluster's")] = False,
    topic: Topic = None,
    group: Group = None,
) -> None:
    """Publish letters again, one after the other; go on after one that is refused."""
    if bool(ids) == (all_of_reason is not None):
        raise typer.BadParameter("name letters by ID, or by --all-of-reason")
    if all_of_reason is not None and not all_of_reason.strip():
        raise typer.BadParameter("--all-of-reason needs a text")
    if ids and (topic or group):
        raise typer.BadParameter("--topic and --group go with --all-of-reason")
    if (value or key) and len(ids or ()) != 1:
        raise typer.BadParameter("--value and --key go with one ID")
    with opened_box() as (settings, box):
        options = {"force": force, "again": again, "upgraded": upgraded}
        repair = Repair(value.read_bytes() if value else None, None if key is None else key.encode(), **options)
        found = ids or box.find_ids(LetterFilter(topic, group, all_of_reason))
        config = producer_settings(settings.brokers(), client_id="dead-letters")
        config |= {"message.max.bytes": LARGEST_MESSAGE_BYTES}
        publisher = SyncKafkaEventPublisher(config, topic_prefix=settings.topic_prefix)
        replay_one = partial(replay_letter, repair=repair, check=check_with(settings, box), publisher=publisher)
        raise typer.Exit(replay_each(found, replay_one))


def replay_each(ids: Iterable[int], replay_one: Callable[[int], DeadLetter]) -> int:
    """Replay letters, say what became of each, and return the exit code."""
    replayed = refused = 0
    for dead_letter_id in ids:
        try:
            letter = replay_one(dead_letter_id)
        except Refused as error:
            refused += 1
            say(f"{dead_letter_id}: refused: {error}", keep="")
        except PublishFailed as error:
            say(f"{dead_letter_id}: not replayed: {error}", keep="")
            if error.outcome_unknown:
                return UNAVAILABLE
            refused += 1  # by the broker: the next letter may be another matter
        else:
            replayed += 1
            print(printable(f"{dead_letter_id}: replayed to {letter.topic}"))
    print(f"{replayed} replayed, {refused} refused")
    return SOME_REFUSED if refused else 0


@contextmanager
def opened_box() -> Iterator[tuple[DatabaseSettings, DeadLetterBox]]:
    settings = read_settings()
    with closing(DeadLetterBox(settings.database_url.get_secret_value())) as box:
        yield settings, box


def check_with(settings: DatabaseSettings, box: DeadLetterBox) -> ReplayCheck:
    """Return the check on this broker and database; each topic is asked for once."""
    servers, prefix = settings.brokers(), settings.topic_prefix
    limit = cache(lambda topic: fetch_max_message_bytes(servers, prefix + topic))
    return ReplayCheck(box, fetch_cluster_id(servers), limit)


def fetch(dead_letter_id: int, box: DeadLetterBox) -> DeadLetter:
    letter = box.fetch(dead_letter_id)
    if letter is None:
        raise Refused(f"there is no dead letter {dead_letter_id}")
    return letter


def to_json(letter: DeadLetter) -> dict[str, Any]:
    """Return every column, of the value the first bytes; bytes as text, with what is no UTF-8 as escapes."""
    columns: dict[str, Any] = {}
    for name, value in asdict(letter).items():
        shown = readable(value[:SHOWN_BYTES] if name == "value" else value) if isinstance(value, bytes) else value
        columns[name] = shown.isoformat() if isinstance(shown, datetime) else shown
    return columns


# OSError: a file to read or to write.
main = partial(run_app, app, exit_codes={Refused: SOME_REFUSED, TransientError: UNAVAILABLE, OSError: WRONG_USAGE})

if __name__ == "__main__":
    sys.exit(main())
