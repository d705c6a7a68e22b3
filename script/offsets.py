"""Look at the stored offsets, and move one after an alarm `consumer.offset_out_of_range`: list, set.

An offset belongs to one topic: a topic that was recreated under the same name is another one. `set` stores the id
of the topic that exists now.

Environment: DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS, TOPIC_PREFIX, as for the services.

`set` works only while no consumer is in the group (stop its services first; one that was killed counts until its
session times out), only to an offset that the log has, and only with --yes; without, it shows what would change.

Exit codes: 0 done, and with `list` all offsets lie in their logs; 1 refused, or with `list` one does not; 2 wrong usage
or a setting missing; 3 the database or the broker did not answer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from rich.table import Table

from script.terminal import as_markup, build_screen, printable, say_line
from shared.errors import BrokerUnavailable, DatabaseUnavailable, RecommenderError
from shared.kafka.metadata import fetch_cluster_id
from shared.postgres.offset_store import BrokerView, LogRange, OffsetBook, OffsetRow
from shared.settings import DatabaseSettings, setting_problems

DONE, REFUSED, WRONG_USAGE, UNAVAILABLE = 0, 1, 2, 3


class Refused(RecommenderError):
    """The offset stays as it is."""


@dataclass(frozen=True)
class Sources:
    """Where offsets and logs are looked up."""

    book: OffsetBook
    broker: BrokerView
    cluster_id: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parse(arguments)
    try:
        settings = DatabaseSettings()
    except ValidationError as error:
        for problem in setting_problems(error):
            say_line(problem)
        return WRONG_USAGE
    book = OffsetBook(settings.database_url.get_secret_value())
    try:
        servers = settings.kafka_bootstrap_servers
        broker = BrokerView(servers, topic_prefix=settings.topic_prefix)
        sources = Sources(book, broker, fetch_cluster_id(servers))
        return set_offset(options, sources) if options.command == "set" else list_offsets(options, sources)
    except (DatabaseUnavailable, BrokerUnavailable) as error:
        say_line(str(error))
        return UNAVAILABLE
    except Refused as error:
        say_line(f"refused: {error}")
        return REFUSED
    finally:
        book.close()


def list_offsets(options: argparse.Namespace, sources: Sources) -> int:
    """Print every stored offset beside its log."""
    rows = sources.book.fetch(cluster_id=sources.cluster_id, group=options.group)
    logs = sources.broker.log_ranges({(row.topic, row.partition) for row in rows})
    table = Table("group", "topic", "partition", "next offset", "log from", "log to", "behind", "state", "updated at")
    healthy = True
    for row in rows:
        log = logs.get((row.topic, row.partition))
        healthy = healthy and row.state(log) == "ok"
        table.add_row(*cells(row, log))
    screen = build_screen()
    screen.print(table)
    screen.print(f"{len(rows)} offsets of Kafka cluster {sources.cluster_id}", markup=False)
    return DONE if healthy else REFUSED


def set_offset(options: argparse.Namespace, sources: Sources) -> int:
    """Move one stored offset, after showing what that means. Raises Refused."""
    row, log = find(options, sources)
    target = {"earliest": log.earliest, "latest": log.latest}.get(options.to)
    target = int(options.to) if target is None else target
    if not log.earliest <= target <= log.latest:
        raise Refused(f"the log holds {log.earliest} to {log.latest}; {target} would raise the alarm again")
    print(printable(f"{row.consumer_group} {row.topic}[{row.partition}]: {row.next_offset} -> {target}"))
    print(meaning(row.next_offset, target, log) if row.is_of(log) else meaning_in_a_new_topic(target, log))
    if not options.yes:
        raise Refused("nothing was changed; --yes does it")
    with sources.book.changing(row, next_offset=target, topic_id=log.topic_id) as current:
        # Asked while the row is locked: a consumer that joins now finds the new offset, or waits for it.
        if sources.broker.has_members(row.consumer_group):
            raise Refused(
                f"consumers are in the group {row.consumer_group}: stop them and wait for their session to end"
            )
        if current is None or (current.next_offset, current.topic_id) != (row.next_offset, row.topic_id):
            raise Refused("the stored offset changed meanwhile")
    print("stored; start the consumers again")
    return DONE


def find(options: argparse.Namespace, sources: Sources) -> tuple[OffsetRow, LogRange]:
    """Return the row that is meant and what its log holds. Raises Refused."""
    rows = sources.book.fetch(cluster_id=sources.cluster_id, group=options.group)
    meant = [row for row in rows if (row.topic, row.partition) == (options.topic, options.partition)]
    if not meant:
        raise Refused(f"group {options.group} has no stored offset for {options.topic}[{options.partition}]")
    log = sources.broker.log_ranges({(options.topic, options.partition)}).get((options.topic, options.partition))
    if log is None:
        raise Refused(f"the broker has no {options.topic}[{options.partition}]")
    return meant[0], log


def meaning(before: int, after: int, log: LogRange) -> str:
    """Return what moving an offset does to messages."""
    if after <= before:
        return f"up to {min(before, log.latest) - after} messages are read again; each has its effect once"
    gone = max(0, min(after, log.earliest) - before)
    skipped = after - max(before, log.earliest)
    return (
        f"{gone} messages are gone from the log, {max(0, skipped)} that it still holds are skipped: they have no effect"
    )


def meaning_in_a_new_topic(target: int, log: LogRange) -> str:
    """Return what an offset does in a topic that the stored one does not belong to."""
    return (
        f"the topic was recreated: it holds {log.latest - log.earliest} messages that the group may not have read,"
        f" the first {target - log.earliest} of them are skipped: they have no effect"
    )


def cells(row: OffsetRow, log: LogRange | None) -> list[str]:
    """Return one row of the table."""
    place = [row.consumer_group, row.topic, str(row.partition), str(row.next_offset)]
    ends = ["", "", ""] if log is None else [str(log.earliest), str(log.latest), str(log.latest - row.next_offset)]
    texts = [*place, *ends, row.state(log), f"{row.updated_at:%Y-%m-%d %H:%M:%S}"]
    return [as_markup(text) for text in texts]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command and its options; exits with 2 on wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="every stored offset beside its log")
    listing.add_argument("--group", help="of this consumer group")
    setting = commands.add_parser("set", help="move one stored offset")
    setting.add_argument("--group", required=True)
    setting.add_argument("--topic", required=True, help="name without prefix")
    setting.add_argument("--partition", type=int, required=True)
    setting.add_argument("--to", type=offset_text, required=True, metavar="earliest|latest|N")
    setting.add_argument("--yes", action="store_true", help="do it")
    return parser.parse_args(arguments)


def offset_text(text: str) -> str:
    """Return where to move to, as text."""
    if text not in {"earliest", "latest"} and not text.isdecimal():
        raise argparse.ArgumentTypeError("must be earliest, latest or a number")
    return text


if __name__ == "__main__":
    sys.exit(main())
