"""Look at the stored offsets, and move one after an alarm `consumer.offset_out_of_range`: list, set.

An offset belongs to one topic: a topic that was recreated under the same name is another one. `set` stores the id
of the topic that exists now.

Environment: DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS, TOPIC_PREFIX, and those of TLS and passwords, as for the services.

`set` works only while no consumer is in the group (stop its services first; one that was killed counts until its
session times out), only to an offset that the log has, and only with --yes; without, it shows what would change.

Exit codes: 0 done, and with `list` all offsets lie in their logs; 1 refused, or with `list` one does not; 2 wrong usage
or a setting missing; 3 the database or the broker did not answer.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("sqlalchemy", "typer")

import typer
from confluent_kafka import ConsumerGroupState, KafkaException
from rich.table import Table
from sqlalchemy import Engine, func, select, update

from script.terminal import add_row, build_app, build_screen, printable, read_settings, run_app
from shared.errors import BrokerUnavailable, RecommenderError, TransientError
from shared.kafka.connection import BrokerAdmin, Brokers
from shared.kafka.metadata import KafkaMetadata, fetch_cluster_id
from shared.ports import Partition, StoredOffset
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.tables import consumer_offsets

REFUSED, UNAVAILABLE = 1, 3
_TIMEOUT_SECONDS = 10.0
_COLUMNS = consumer_offsets.c
app = build_app(__doc__)


class Refused(RecommenderError):
    """The offset stays as it is."""

    def __str__(self) -> str:
        return f"refused: {super().__str__()}"


def _check_target(text: str) -> str:
    if text not in {"earliest", "latest"} and not text.isdecimal():
        raise typer.BadParameter("must be earliest, latest or a number")
    return text


@app.command("list")
def list_offsets(*, group: Annotated[str | None, typer.Option(help="of this consumer group")] = None) -> None:
    """Print every stored offset beside its log."""
    with opened() as (engine, broker):
        rows = fetch_rows(engine, cluster_id=broker.cluster_id, group=group)
        logs = broker.log_ranges({(row.topic, row.partition) for row in rows})
    table = Table("group", "topic", "partition", "next offset", "log from", "log to", "behind", "state", "updated at")
    states = set()
    for row in rows:
        log = logs.get((row.topic, row.partition))
        states.add(row.state(log))
        ends = (None, None, None) if log is None else (log.earliest, log.latest, log.latest - row.next_offset)
        place = (row.consumer_group, row.topic, row.partition, row.next_offset)
        add_row(table, *place, *ends, row.state(log), row.updated_at)
    screen = build_screen()
    screen.print(table)
    screen.print(f"{len(rows)} offsets of Kafka cluster {broker.cluster_id}", markup=False)
    raise typer.Exit(REFUSED if states - {"ok"} else 0)


@app.command("set")
def set_offset(
    *,
    group: Annotated[str, typer.Option()],
    topic: Annotated[str, typer.Option(help="name without prefix")],
    partition: Annotated[int, typer.Option()],
    to: Annotated[str, typer.Option(callback=_check_target, metavar="earliest|latest|N")],
    yes: Annotated[bool, typer.Option("--yes", help="do it")] = False,
) -> None:
    """Move one stored offset, after showing what that means."""
    with opened() as (engine, broker):
        rows = fetch_rows(engine, cluster_id=broker.cluster_id, group=group)
        row = next((one for one in rows if (one.topic, one.partition) == (topic, partition)), None)
        if row is None:
            raise Refused(f"group {group} has no stored offset for {topic}[{partition}]")
        log = broker.log_ranges({(topic, partition)}).get((topic, partition))
        if log is None:
            raise Refused(f"the broker has no {topic}[{partition}]")
        target = {"earliest": log.earliest, "latest": log.latest}.get(to)
        target = int(to) if target is None else target
        if not log.earliest <= target <= log.latest:
            raise Refused(f"the log holds {log.earliest} to {log.latest}; {target} would raise the alarm again")
        print(printable(f"{group} {topic}[{partition}]: {row.next_offset} -> {target}"))
        print(meaning(row.next_offset if row.is_of(log) else None, target, log))
        if not yes:
            raise Refused("nothing was changed; --yes does it")
        with changing(engine, row, next_offset=target, topic_id=log.topic_id) as current:
            # Asked while the row is locked: a consumer that joins now finds the new offset, or waits for it.
            if broker.has_members(group):
                raise Refused(f"consumers are in the group {group}: stop them and wait for their session to end")
            if current is None or (current.next_offset, current.topic_id) != (row.next_offset, row.topic_id):
                raise Refused("the stored offset changed meanwhile")
    print("stored; start the consumers again")


@contextmanager
def opened() -> Iterator[tuple[Engine, BrokerView]]:
    """Yield the database and the broker that the environment names."""
    settings, timeout = read_settings(), {"lock_timeout": "5s"}  # a consumer's transaction holds its rows for one batch
    url = settings.database_url.get_secret_value()
    engine = build_engine(url, application_name="offsets", session_settings=timeout)
    try:
        yield engine, BrokerView(settings.brokers(), topic_prefix=settings.topic_prefix)
    finally:
        engine.dispose()


def meaning(before: int | None, after: int, log: LogRange) -> str:
    """Return what moving an offset does to messages; `before` is None where that offset is of another topic."""
    effect = "are skipped: they have no effect"
    if before is None:
        return (
            f"the topic was recreated: it holds {log.latest - log.earliest} messages that the group may not have read,"
            f" the first {after - log.earliest} of them {effect}"
        )
    if after <= before:
        return f"up to {min(before, log.latest) - after} messages are read again; each has its effect once"
    gone, skipped = max(0, min(after, log.earliest) - before), max(0, after - max(before, log.earliest))
    return f"{gone} messages are gone from the log, {skipped} that it still holds {effect}"


@dataclass(frozen=True)
class LogRange:
    """The offsets of a partition's first message and after its last one, and the id of its topic."""

    earliest: int
    latest: int
    topic_id: str | None = None


@dataclass(frozen=True)
class OffsetRow:
    """One row of consumer_offsets."""

    cluster_id: str
    consumer_group: str
    topic: str
    partition: int
    next_offset: int
    updated_at: datetime
    topic_id: str | None = None

    def is_of(self, log: LogRange) -> bool:
        """Return whether the offset can belong to this log; an unknown id matches every topic."""
        return StoredOffset(self.next_offset, self.topic_id).is_of(log.topic_id)

    def state(self, log: LogRange | None) -> str:
        """Return what a consumer finds that starts at this offset."""
        if log is None:
            return "no such partition"
        if not self.is_of(log):
            return "another topic (made anew)"
        if self.next_offset < log.earliest:
            return f"below the log: {log.earliest - self.next_offset} messages are gone"
        if self.next_offset > log.latest:
            return f"beyond the log's end by {self.next_offset - log.latest}"
        return "ok"


def fetch_rows(engine: Engine, *, cluster_id: str, group: str | None) -> list[OffsetRow]:
    """Return the rows of one cluster, in order."""
    statement = select(consumer_offsets).where(_COLUMNS.cluster_id == cluster_id)
    if group is not None:
        statement = statement.where(_COLUMNS.consumer_group == group)
    ordered = statement.order_by(_COLUMNS.consumer_group, _COLUMNS.topic, _COLUMNS.partition)
    with translated(), engine.begin() as connection:
        return [OffsetRow(**row._mapping) for row in connection.execute(ordered)]


@contextmanager
def changing(engine: Engine, row: OffsetRow, *, next_offset: int, topic_id: str | None) -> Iterator[OffsetRow | None]:
    """Lock one row and yield its current state; a block that ends without an exception stores the new one."""
    this = [_COLUMNS[column.name] == getattr(row, column.name) for column in consumer_offsets.primary_key]
    with translated(), engine.begin() as connection:
        found = connection.execute(select(consumer_offsets).where(*this).with_for_update()).one_or_none()
        yield None if found is None else OffsetRow(**found._mapping)
        changed = update(consumer_offsets).where(*this)
        connection.execute(changed.values(next_offset=next_offset, topic_id=topic_id, updated_at=func.now()))


class BrokerView:
    """The logs and groups of the broker; every method may raise BrokerUnavailable."""

    def __init__(self, brokers: Brokers, *, topic_prefix: str) -> None:
        self.cluster_id = fetch_cluster_id(brokers)
        self._metadata = KafkaMetadata(brokers, prefix=topic_prefix, timeout_seconds=_TIMEOUT_SECONDS)
        self._admin = BrokerAdmin(brokers)

    def log_ranges(self, partitions: Collection[Partition]) -> dict[Partition, LogRange]:
        """Return the offsets of these partitions; partitions that do not exist are left out."""
        topics = self._metadata.fetch_topics({topic for topic, _ in partitions})
        there = [one for one in partitions if one[0] in topics and one[1] < topics[one[0]].partitions]
        earliest, latest = self._metadata.fetch_earliest(there), self._metadata.fetch_latest(there)
        return {one: LogRange(earliest[one], latest[one], topics[one[0]].topic_id) for one in there}

    def has_members(self, group: str) -> bool:
        """Return whether the group has a member; a killed consumer is a member until its session times out."""
        try:
            futures = self._admin.describe_consumer_groups([group], request_timeout=_TIMEOUT_SECONDS)
            description = futures[group].result()
        except KafkaException as error:
            if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                return False
            raise BrokerUnavailable(str(error.args[0].str())) from error
        return description.state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD) or bool(description.members)


main = partial(run_app, app, exit_codes={Refused: REFUSED, TransientError: UNAVAILABLE})

if __name__ == "__main__":
    sys.exit(main())
