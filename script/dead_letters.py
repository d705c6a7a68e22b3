"""Look at dead letters and publish them again: list, show, export, replay.

Environment: DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS, TOPIC_PREFIX, as for the services.

A replay publishes the original bytes with the original key to the original topic, waits for the broker's
acknowledgement, and marks the letter. An event has its effect once, however often it is replayed. `show` says whether
a replay can succeed: it checks what broker and consumers will check. `replay` refuses a letter that cannot, unless
--force; one that a bug made, unless --upgraded.

Exit codes: 0 done, also when there is nothing to list or to replay; 1 something was refused or does not exist (the rest
was done); 2 wrong usage or a setting missing; 3 the database or the broker did not answer (nothing further was done).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from script.replaying import Refused, Repair, ReplayCheck, Replayer
from script.terminal import as_markup, build_screen, printable, say_line
from shared.errors import BrokerUnavailable, DatabaseUnavailable, PublishFailed
from shared.kafka.client_settings import producer_settings
from shared.kafka.metadata import fetch_cluster_id
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.kafka.topics import fetch_max_message_bytes
from shared.postgres.dead_letter_store import DeadLetter, DeadLetterBox, LetterFilter
from shared.settings import DatabaseSettings, setting_problems

DONE, SOME_REFUSED, WRONG_USAGE, UNAVAILABLE = 0, 1, 2, 3
DEFAULT_LIMIT = 50
SHOWN_BYTES = 4096  # more than any event has
LARGEST_MESSAGE_BYTES = 1_000_000_000  # the broker decides, not the producer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parse(arguments)
    try:
        settings = DatabaseSettings()
    except ValidationError as error:
        for problem in setting_problems(error):
            say_line(problem)
        return WRONG_USAGE
    box = DeadLetterBox(settings.database_url.get_secret_value())
    commands: dict[str, Callable[[], int]] = {
        "list": lambda: list_letters(options, box),
        "show": lambda: show(options, box, settings),
        "export": lambda: export(options, box),
        "replay": lambda: replay(options, box, settings),
    }
    try:
        return commands[options.command]()
    except (DatabaseUnavailable, BrokerUnavailable) as error:
        say_line(str(error))
        return UNAVAILABLE
    except OSError as error:  # a file to read or to write
        say_line(str(error))
        return WRONG_USAGE
    finally:
        box.close()


def list_letters(options: argparse.Namespace, box: DeadLetterBox) -> int:
    """Print the letters of the filter, the oldest first, and how many there are of each kind."""
    wanted = filter_of(options, reason=options.reason)
    if options.json:
        for letter in box.find(wanted, limit=options.limit, value_bytes=SHOWN_BYTES):
            print(json.dumps(to_json(letter)))
        return DONE
    table = Table("id", "failed at", "group", "topic", "partition", "offset", "key", "bytes", "reason", "replayed at")
    for letter in box.find(wanted, limit=options.limit):
        table.add_row(*(as_markup(cell) for cell in cells(letter)))
    screen = build_screen()
    screen.print(table)
    screen.print(f"{table.row_count} of {box.count(wanted)}; --limit shows more", markup=False)
    return DONE


def show(options: argparse.Namespace, box: DeadLetterBox, settings: DatabaseSettings) -> int:
    """Print one letter, and whether a replay can succeed; of a large value the first bytes."""
    letter = fetch(options.id, box)
    for name, value in to_json(summary_of(letter)).items():
        print(printable(f"{name}: {value}"))
    print(printable(f"can be replayed: {check_with(settings, box).examine(letter, Repair())}"))
    return DONE


def export(options: argparse.Namespace, box: DeadLetterBox) -> int:
    """Write the bytes of one letter to a new file."""
    value = fetch(options.id, box).value
    if value is None:
        raise SystemExit(refuse(f"{options.id}: the message has no value"))
    with options.output.open("xb") as file:
        file.write(value)
    print(f"{len(value)} bytes in {options.output}")
    return DONE


def replay(options: argparse.Namespace, box: DeadLetterBox, settings: DatabaseSettings) -> int:
    """Publish letters again, one after the other; go on after one that is refused."""
    ids: Iterable[int] = options.ids
    if options.all_of_reason is not None:
        ids = box.find_ids(filter_of(options, reason=options.all_of_reason))
    config = producer_settings(settings.kafka_bootstrap_servers, client_id="dead-letters")
    publisher = SyncKafkaEventPublisher(
        {**config, "message.max.bytes": LARGEST_MESSAGE_BYTES}, topic_prefix=settings.topic_prefix
    )
    replayer = Replayer(box, publisher, check=check_with(settings, box))
    repair = Repair(
        value=None if options.value is None else options.value.read_bytes(),
        key=None if options.key is None else options.key.encode(),
        force=options.force,
        again=options.again,
        upgraded=options.upgraded,
    )
    replayed = refused = 0
    for dead_letter_id in ids:
        try:
            letter = replayer.replay(dead_letter_id, repair)
        except Refused as error:
            refused += 1
            say_line(f"{dead_letter_id}: refused: {error}")
        except PublishFailed as error:
            say_line(f"{dead_letter_id}: not replayed: {error}")
            if error.outcome_unknown:
                return UNAVAILABLE
            refused += 1  # by the broker: the next letter may be another matter
        else:
            replayed += 1
            print(printable(f"{dead_letter_id}: replayed to {letter.topic}"))
    print(f"{replayed} replayed, {refused} refused")
    return SOME_REFUSED if refused else DONE


def check_with(settings: DatabaseSettings, box: DeadLetterBox) -> ReplayCheck:
    """Return the check on this broker and database; each topic is asked for once."""

    @cache
    def limit(topic: str) -> int | None:
        return fetch_max_message_bytes(settings.kafka_bootstrap_servers, settings.topic_prefix + topic)

    return ReplayCheck(box, fetch_cluster_id(settings.kafka_bootstrap_servers), limit)


def fetch(dead_letter_id: int, box: DeadLetterBox) -> DeadLetter:
    """Return a letter; ends the program when there is none."""
    letter = box.fetch(dead_letter_id)
    if letter is None:
        raise SystemExit(refuse(f"there is no dead letter {dead_letter_id}"))
    return letter


def filter_of(options: argparse.Namespace, *, reason: str | None) -> LetterFilter:
    """Return the filter that the options describe."""
    return LetterFilter(options.topic, options.group, reason, replayed_too=getattr(options, "all", False))


def cells(letter: DeadLetter) -> list[str]:
    """Return one row of the table."""
    times = [f"{at:%Y-%m-%d %H:%M:%S}" if at else "" for at in (letter.failed_at, letter.replayed_at)]
    place = [letter.topic, str(letter.partition), str(letter.event_offset)]
    key = "" if letter.key is None else readable(letter.key)
    size = "" if letter.value_bytes is None else str(letter.value_bytes)
    return [
        str(letter.dead_letter_id),
        times[0],
        letter.consumer_group,
        *place,
        key,
        size,
        letter.reason[:200],
        times[1],
    ]


def summary_of(letter: DeadLetter) -> DeadLetter:
    """Return a letter with the first bytes of its value."""
    return replace(letter, value=letter.value and letter.value[:SHOWN_BYTES])


def to_json(letter: DeadLetter) -> dict[str, Any]:
    """Return every column; bytes as text, with what is no UTF-8 as escapes."""
    columns: dict[str, Any] = {}
    for name, value in asdict(letter).items():
        columns[name] = readable(value) if isinstance(value, bytes) else value
    for name in ("failed_at", "replayed_at"):
        columns[name] = columns[name] and columns[name].isoformat()
    return columns


def readable(content: bytes) -> str:
    """Return bytes as text that a terminal can show and that hides nothing."""
    return content.decode(errors="backslashreplace")


def refuse(text: str) -> int:
    """Say why, and return the exit code for it."""
    say_line(text)
    return SOME_REFUSED


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command and its options; exits with 2 on wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="letters that were not replayed yet, the oldest first")
    listing.add_argument("--reason", metavar="TEXT", help="any part of the reason, in any case")
    listing.add_argument("--all", action="store_true", help="those that were replayed, too")
    listing.add_argument("--limit", type=positive, default=DEFAULT_LIMIT, help=f"at most so many ({DEFAULT_LIMIT})")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    commands.add_parser("show", help="everything about one letter").add_argument("id", type=int)
    exporting = commands.add_parser("export", help="write a letter's bytes to a file, to repair them by hand")
    exporting.add_argument("id", type=int)
    exporting.add_argument("--output", type=Path, required=True, help="a file that does not exist yet")
    replaying = commands.add_parser("replay", help="publish letters again")
    replaying.add_argument("ids", metavar="ID", type=int, nargs="*")
    replaying.add_argument("--all-of-reason", metavar="TEXT", help="all that were not replayed with this in the reason")
    replaying.add_argument("--value", type=Path, metavar="FILE", help="one ID only: publish these bytes instead")
    replaying.add_argument("--key", metavar="TEXT", help="one ID only: publish with this key instead")
    replaying.add_argument("--again", action="store_true", help="also what was replayed before")
    replaying.add_argument("--upgraded", action="store_true", help="also what a bug refused: it is mended by now")
    replaying.add_argument("--force", action="store_true", help="also what consumers will refuse, or another cluster's")
    for command in (listing, replaying):
        command.add_argument("--topic", help="of this topic (without prefix)")
        command.add_argument("--group", help="of this consumer group")
    options = parser.parse_args(arguments)
    if options.command == "replay":
        check_replay(options, replaying)
    return options


def check_replay(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Exit with 2 when it is not clear what is to be replayed."""
    if bool(options.ids) == (options.all_of_reason is not None):
        parser.error("name letters by ID, or by --all-of-reason")
    if options.all_of_reason is not None and not options.all_of_reason.strip():
        parser.error("--all-of-reason needs a text")
    if options.ids and (options.topic or options.group):
        parser.error("--topic and --group go with --all-of-reason")
    if (options.value or options.key) and len(options.ids) != 1:
        parser.error("--value and --key go with one ID")


def positive(text: str) -> int:
    """Return a number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
