"""Erase one customer: remove what the database has of them, keep it out, tell other systems, print the evidence.

Environment: DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS, TOPIC_PREFIX, and those of TLS and passwords, as for the services,
which may go on running.

Removed are loaded and recorded profiles and orders, the rows that an undo of a load would restore, interactions, lists,
decisions, and dead letters that name the customer. With --legal-hold the decisions stay, under a pseudonym; the same
command without it removes them later. A tombstone (a digest of the id) stays: whatever redeliveries, replays and loads
bring of the customer is removed at once. The command can be repeated; it ends what was interrupted.

Exit codes: 0 done; 1 nothing is known of the customer, and nothing was changed; 2 wrong usage or a setting missing;
3 the database or the broker did not answer, or a transaction did not end: repeat the command.
"""

from __future__ import annotations

import json
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("sqlalchemy", "typer")

import typer
from rich.table import Table
from sqlalchemy import Engine, text

from script.erasing import DECISIONS, Erasure, UnknownCustomer, erase, note_published
from script.terminal import add_row, build_app, build_screen, printable, read_settings, run_app
from shared.errors import PublishFailed, TransientError
from shared.events import CUSTOMERS_ERASED, MODEL_NAME, MODELS_COMMANDS, CustomerErased, RetrainRequested
from shared.identifiers import is_customer_id
from shared.kafka.client_settings import producer_settings
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.settings import DatabaseSettings

UNKNOWN, UNAVAILABLE = 1, 3
_MODELS = "SELECT version FROM model_versions WHERE {} ORDER BY version"
_RUNNING, _SERVED = "status = 'training' AND NOT queued", "active"
_SOURCES = """
SELECT DISTINCT source FROM reference_snapshots WHERE table_name IN ('customer_information', 'transactions')
"""
app = build_app(__doc__)


def _check_id(value: str) -> str:
    if not is_customer_id(value):
        raise typer.BadParameter("is no customer id")
    return value


@app.command()
def erase_customer(
    customer_id: Annotated[str, typer.Argument(metavar="ID", callback=_check_id)],
    *,
    legal_hold: Annotated[bool, typer.Option("--legal-hold", help="keep the decisions, under a pseudonym")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="request a training without the customer now")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the evidence as one JSON object")] = False,
    wait_seconds: Annotated[
        float, typer.Option(min=1, help="for transactions and loads that began before, at most")
    ] = 60.0,
) -> None:
    """Erase the customer with this ID."""
    settings = read_settings()
    engine = build_engine(settings.database_url.get_secret_value(), application_name="erase-customer")
    try:
        done = erase(engine, customer_id, legal_hold=legal_hold, wait_seconds=wait_seconds)
        rest = describe_rest(engine, done)
        if as_json:
            print(json.dumps(to_json(done, rest)))
        else:
            print_report(done, rest)
        publish(settings, engine, done, customer_id=customer_id, retrain=retrain)
    finally:
        engine.dispose()
    if any(done.found_after.values()):
        raise typer.Exit(UNAVAILABLE)


def publish(settings: DatabaseSettings, engine: Engine, done: Erasure, *, customer_id: str, retrain: bool) -> None:
    """Publish the event of the erasure, once it is acknowledged never again, and request a training if asked to."""
    config = producer_settings(settings.brokers(), client_id="erase-customer")
    publisher, tombstone = SyncKafkaEventPublisher(config, topic_prefix=settings.topic_prefix), done.tombstone
    if tombstone.published_at is None:
        event = CustomerErased(
            event_id=tombstone.event_id,
            occurred_at=tombstone.erased_at,
            customer_id=customer_id,
            legal_hold=tombstone.pseudonym is not None,
        )
        publisher.publish(CUSTOMERS_ERASED, key=customer_id, event=event)
        note_published(engine, tombstone)
    if retrain:
        publisher.publish(MODELS_COMMANDS, key=MODEL_NAME, event=RetrainRequested(reason="a customer was erased"))


def describe_rest(engine: Engine, done: Erasure) -> list[str]:
    """Return what remains, where and why."""
    with translated(), engine.begin() as connection:
        running = list(connection.scalars(text(_MODELS.format(_RUNNING))))
        served = list(connection.scalars(text(_MODELS.format(_SERVED))))
        sources = [source for source in connection.scalars(text(_SOURCES)) if source]
    tombstone, rest = done.tombstone, []
    if tombstone.pseudonym:
        rest.append(f"{done.pseudonymous} decisions as {tombstone.pseudonym}: the legal hold")
    rest.append(f"the tombstone of {tombstone.erased_at:%Y-%m-%d %H:%M:%S} UTC, a digest: it keeps the customer out")
    rest.append("messages in Kafka, up to TOPIC_RETENTION_HOURS: redelivered, they have no effect")
    rest += [f"model {version}: fitted before, it holds no ids; the next training is without" for version in served]
    rest += [f"training {version} began before: its model may count the customer, train again" for version in running]
    rest += [f"the file {source}: it belongs to whoever made it; loaded again, the rows stay out" for source in sources]
    rest.append("backups of the database made before: after a restore repeat this command")
    return rest


def print_report(done: Erasure, rest: list[str]) -> None:
    """Print a table of what was removed, and a line for each thing that remains."""
    table = Table("table", "removed", "found afterwards")
    for name, count in done.removed.items():
        add_row(table, name, count, done.found_after.get(name, 0))
    screen = build_screen()
    screen.print(table)
    if done.pseudonymous:
        screen.print(f"{DECISIONS}: {done.pseudonymous} kept under a pseudonym", markup=False)
    for line in rest:
        print(printable(f"remains: {line}"))


def to_json(done: Erasure, rest: list[str]) -> dict[str, Any]:
    """Return the evidence as JSON; the customer is not named."""
    return {
        "event_id": str(done.tombstone.event_id),
        "erased_at": done.tombstone.erased_at.isoformat(),
        "removed": done.removed,
        "found_afterwards": done.found_after,
        "pseudonym": done.tombstone.pseudonym,
        "pseudonymous_decisions": done.pseudonymous,
        "remains": rest,
    }


# PublishFailed is a TransientError as well.
main = partial(
    run_app, app, exit_codes={UnknownCustomer: UNKNOWN, PublishFailed: UNAVAILABLE, TransientError: UNAVAILABLE}
)

if __name__ == "__main__":
    sys.exit(main())
