"""`python -m script.faults.sabotage SERVICE --points FOLDER [--without GUARD]`: a service with named points in it.

Production code has no hooks: adapters are wrapped in memory, then the service's own main runs. `--without` takes one
guard out; a campaign against such a service must end red.
"""

from __future__ import annotations

import argparse
import asyncio
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID

from script.faults.points import pass_point
from script.service_processes import SERVICES
from shared.adapters import (
    artifact_files,
    artifact_format,
    artifacts,
    kafka_producer,
    postgres_trainer,
    postgres_worker,
)
from shared.adapters.artifact_format import FileFacts, Manifest, sha256_of
from shared.domain.model import Model
from shared.errors import StaleOffsets
from shared.events import encode

GUARDS = ("deduplication", "offset-comparison", "delivery-report", "checksum")

Pass = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Wrap, then run the service as `python -m SERVICE` would."""
    options = parse_arguments(arguments)

    def meet(point: str) -> None:
        pass_point(options.points, point)

    for place in (set_worker_points, set_api_points, set_trainer_points):
        place(meet)
    for guard in options.without:
        TAKE_OUT[guard]()
    sys.argv = [options.service]
    runpy.run_module(options.service, run_name="__main__", alter_sys=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return service, points and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--points", type=Path, required=True, help="folder in which points are armed")
    parser.add_argument("--without", choices=GUARDS, action="append", default=[], help="take this guard out")
    return parser.parse_args(arguments)


# --- named points ---


def set_worker_points(meet: Pass) -> None:
    """Around and inside the one transaction of a batch; after its commit Kafka is not told yet."""
    begin = postgres_worker.PostgresWorkerStore.begin

    @contextmanager
    def begin_with_points(
        store: postgres_worker.PostgresWorkerStore,
    ) -> Iterator[postgres_worker.PostgresWorkerTransaction]:
        meet("worker.before_transaction")
        with begin(store) as transaction:
            yield transaction
            meet("worker.before_commit")
        meet("worker.after_commit")

    _put(postgres_worker.PostgresWorkerStore, "begin", begin_with_points)
    _after(postgres_worker.PostgresWorkerTransaction, "lock_offsets", meet, "worker.offsets_locked")


def set_api_points(meet: Pass) -> None:
    """Before an event goes to the broker; after its acknowledgement, before the caller is told."""
    publish = kafka_producer.KafkaEventPublisher.publish

    async def publish_with_points(publisher: kafka_producer.KafkaEventPublisher, topic: str, **fields: Any) -> None:
        meet("api.before_publish")
        await publish(publisher, topic, **fields)
        meet("api.after_acknowledgement")

    _put(kafka_producer.KafkaEventPublisher, "publish", publish_with_points)


def set_trainer_points(meet: Pass) -> None:
    """Between each two steps of an artifact's publication."""
    store = artifacts.FileArtifacts
    _after(store, "_remove_leftovers", meet, "artifact.leftovers_removed")
    _after(store, "_write_temporary", meet, "artifact.temporary_written")
    _after(store, "_publish", meet, "artifact.version_published")
    _after(store, "_replace_current", meet, "artifact.pointer_published")
    _after(store, "activate", meet, "artifact.versions_pruned")
    _after(postgres_trainer.PostgresTrainerStore, "finish_training", meet, "artifact.training_recorded")
    write_file, sync_directory = artifact_files.write_file, artifact_files.sync_directory

    def write_with_point(path: Path, content: bytes) -> None:
        write_file(path, content)
        meet("artifact.pointer_written" if path.name.endswith("CURRENT") else "artifact.file_written")

    def sync_with_point(path: Path) -> None:
        if path.name == "versions":
            meet("artifact.version_renamed")
        elif (path / "versions").is_dir():
            meet("artifact.pointer_replaced")
        sync_directory(path)

    _put(artifacts, "write_file", write_with_point)
    _put(artifacts, "sync_directory", sync_with_point)


# --- guards taken out ---


def forget_events() -> None:
    """Let no event_id count as seen (the campaign drops the unique keys of its own database as well)."""
    from worker import handlers

    def fetch_nothing(_: object, __: Sequence[UUID]) -> Mapping[UUID, str | None]:
        return {}

    _put(postgres_worker.PostgresWorkerTransaction, "fetch_decided", fetch_nothing)
    _put(handlers, "_first_of_each", lambda events: (list(events), []))


def accept_stale_offsets() -> None:
    """Lock the offsets, and go on whatever they are: a zombie's write is accepted."""
    lock_offsets = postgres_worker.PostgresWorkerTransaction.lock_offsets

    @wraps(lock_offsets)
    def lock_without_comparing(transaction: Any, starts: Any) -> None:
        try:
            lock_offsets(transaction, starts)
        except StaleOffsets:
            return

    _put(postgres_worker.PostgresWorkerTransaction, "lock_offsets", lock_without_comparing)


def answer_before_the_acknowledgement() -> None:
    """Hand the event to the producer and say yes."""

    async def publish(publisher: Any, topic: str, *, key: str, event: Any) -> None:
        answer = asyncio.get_running_loop().create_future()
        name = publisher._prefix + topic
        publisher._produce(name, key=key, value=encode(event), answer=answer)

    _put(kafka_producer.KafkaEventPublisher, "publish", publish)


def accept_any_checksum() -> None:
    """Load arrays whose SHA-256 is not the manifest's."""
    decode_model = artifact_format.decode_model

    def decode_unchecked(manifest: Manifest, content: bytes) -> Model:
        return decode_model(replace(manifest, arrays_file=FileFacts(len(content), sha256_of(content))), content)

    _put(artifacts, "decode_model", decode_unchecked)


TAKE_OUT: dict[str, Callable[[], None]] = {
    "deduplication": forget_events,
    "offset-comparison": accept_stale_offsets,
    "delivery-report": answer_before_the_acknowledgement,
    "checksum": accept_any_checksum,
}


def _after(owner: type, name: str, meet: Pass, point: str) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def with_point(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        meet(point)
        return answer

    _put(owner, name, with_point)


def _put(owner: object, name: str, replacement: object) -> None:
    """Replace what is there; a name that production code no longer has is an error, not a point that never fires."""
    getattr(owner, name)
    setattr(owner, name, replacement)


if __name__ == "__main__":
    main()
