"""`python -m tests.chaos.failpoints SERVICE --points FOLDER [--without GUARD]`: a service with named points in it.

Production code has no hooks: adapters are wrapped in memory, then the service's own main runs. `--without` takes one
guard out; a campaign against such a service must end red.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from script.local.service_processes import SERVICES
from shared.artifacts import files as artifact_files
from shared.artifacts import publication as artifacts
from shared.events import InteractionRecorded
from shared.kafka import producer as kafka_producer
from shared.ports import Message
from shared.recommender import pipeline
from shared.recommender.model import Model
from shared.recommender.types import CustomerHistory, Ranking
from tests.chaos.guards import GUARDS, TAKE_OUT, put
from tests.chaos.marks import BUG_REASON, FAILS_IN_SCORING, FAILS_IN_STORING
from tests.chaos.points import pass_point
from trainer.service import store as postgres_trainer
from worker import store as postgres_worker
from worker.ports import Decision

Pass = Callable[[str], None]
_BEYOND_AN_INTEGER = 2**40  # no column of the database takes it as a partition: a DataError


def main(arguments: Sequence[str] | None = None) -> None:
    """Wrap, then run the service as `python -m SERVICE` would."""
    options = parse_arguments(arguments)

    def meet(point: str) -> None:
        pass_point(options.points, point)

    for place in (set_worker_points, set_api_points, set_trainer_points):
        place(meet)
    set_bugs()
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

    put(postgres_worker.PostgresWorkerStore, "begin", begin_with_points)
    _after(postgres_worker.PostgresWorkerTransaction, "lock_offsets", meet, "worker.offsets_locked")


def set_api_points(meet: Pass) -> None:
    """Before an event goes to the broker; after its acknowledgement, before the caller is told."""
    publish = kafka_producer.KafkaEventPublisher.publish

    async def publish_with_points(publisher: kafka_producer.KafkaEventPublisher, topic: str, **fields: Any) -> None:
        meet("api.before_publish")
        await publish(publisher, topic, **fields)
        meet("api.after_acknowledgement")

    put(kafka_producer.KafkaEventPublisher, "publish", publish_with_points)


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

    put(artifacts, "write_file", write_with_point)
    put(artifacts, "sync_directory", sync_with_point)


# --- handling that fails for marked messages ---


def set_bugs() -> None:
    """Scoring raises RuntimeError and storing DataError for marked customers; marked commands raise RuntimeError."""
    recommend, queue_training = pipeline.recommend, postgres_trainer.PostgresTrainerStore.queue_training
    transaction = postgres_worker.PostgresWorkerTransaction
    insert_decisions: Callable[..., Any] = transaction.insert_decisions  # whatever it answers goes through
    insert_interactions: Callable[..., Any] = transaction.insert_interactions

    def recommend_with_bug(model: Model, histories: Sequence[CustomerHistory], **named: Any) -> list[Ranking]:
        if any(each.customer.customer_id.startswith(FAILS_IN_SCORING) for each in histories):
            raise RuntimeError("scoring fails for a marked customer")
        return recommend(model, histories, **named)

    def insert_decisions_with_bug(transaction: Any, new: Sequence[Decision], **named: Any) -> Any:
        return insert_decisions(transaction, [_unstorable(one) if _is_marked(one) else one for one in new], **named)

    def insert_interactions_with_bug(transaction: Any, new: Sequence[tuple[Message, Any]]) -> Any:
        return insert_interactions(transaction, [(_misplaced(m) if _is_marked(e) else m, e) for m, e in new])

    def queue_with_bug(store: Any, *arguments: Any, reason: str, **named: Any) -> Any:
        if reason.startswith(BUG_REASON):
            raise RuntimeError("a marked command fails")
        return queue_training(store, *arguments, reason=reason, **named)

    put(pipeline, "recommend", recommend_with_bug)
    put(transaction, "insert_decisions", insert_decisions_with_bug)
    put(transaction, "insert_interactions", insert_interactions_with_bug)
    put(postgres_trainer.PostgresTrainerStore, "queue_training", queue_with_bug)


def _is_marked(of_customer: Decision | InteractionRecorded) -> bool:
    return of_customer.customer_id.startswith(FAILS_IN_STORING)


def _unstorable(decision: Decision) -> Decision:
    return replace(decision, partition=_BEYOND_AN_INTEGER)


def _misplaced(message: Message) -> Message:
    return replace(message, partition=_BEYOND_AN_INTEGER)


def _after(owner: type, name: str, meet: Pass, point: str) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def with_point(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        meet(point)
        return answer

    put(owner, name, with_point)


if __name__ == "__main__":
    main()
