"""Guards of the services that a campaign removes, to see that it fails without them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from typing import Any
from uuid import UUID

from shared import events, retry_policy
from shared.artifacts import format as artifact_format
from shared.artifacts import publication
from shared.artifacts.format import Manifest, sha256_of
from shared.errors import ContractViolation, RecommenderError, StaleOffsets
from shared.kafka.producer import KafkaEventPublisher
from shared.recommender.model import Model
from shared.recommender.types import InteractionType
from tests.chaos.failpoints import Put, put
from trainer.service.store import PostgresTrainerStore
from worker import queries
from worker.store import PostgresWorkerTransaction

REUSED = ("EventIdReused", "IdempotencyKeyReused")
WAIT_SECONDS = 0.5


def forget_events(*, put: Put = put) -> None:
    """Let no event_id count as stored (the campaign drops the unique keys of its own database as well)."""

    def fetch_nothing(_: object, __: Sequence[UUID]) -> Mapping[UUID, str | None]:
        return {}

    put(PostgresWorkerTransaction, "fetch_decided", fetch_nothing)
    put(queries, "NOT_DECIDED", "TRUE")


def accept_stale_offsets(*, put: Put = put) -> None:
    """Lock the offsets and go on, whatever they are: the write of a replaced worker is accepted."""
    lock_offsets = PostgresWorkerTransaction.lock_offsets

    @wraps(lock_offsets)
    def lock_without_comparing(transaction: Any, starts: Any) -> None:
        try:
            lock_offsets(transaction, starts)
        except StaleOffsets:
            return

    put(PostgresWorkerTransaction, "lock_offsets", lock_without_comparing)


def answer_before_the_acknowledgement(*, put: Put = put) -> None:
    """Hand the event to the producer and return."""
    publish = KafkaEventPublisher.publish
    unfinished: set[asyncio.Task[None]] = set()

    def forget(task: asyncio.Task[None]) -> None:
        unfinished.discard(task)
        task.exception()  # nobody is told

    async def publish_without_waiting(publisher: Any, topic: str, **fields: Any) -> None:
        task = asyncio.create_task(publish(publisher, topic, **fields))
        unfinished.add(task)
        task.add_done_callback(forget)
        await asyncio.sleep(0)  # the event is in the producer's queue

    put(KafkaEventPublisher, "publish", publish_without_waiting)


def accept_any_checksum(*, put: Put = put) -> None:
    """Load arrays whose SHA-256 is not the manifest's."""
    decode_model = artifact_format.decode_model

    def decode_unchecked(manifest: Manifest, content: bytes) -> Model:
        return decode_model(replace(manifest, arrays_sha256=sha256_of(content)), content)

    put(publication, "decode_model", decode_unchecked)


def wait_for_failing_batches(*, put: Put = put) -> None:
    """Try a batch that fails like a bug again and again, as if the database were down."""
    decide = retry_policy.RetryPolicy.decide

    def decide_to_wait(policy: Any, error: Exception, **known: Any) -> Any:
        decision = decide(policy, error, **known)
        return retry_policy.BackOff(WAIT_SECONDS) if isinstance(decision, retry_policy.ToDeadLetter) else decision

    put(retry_policy.RetryPolicy, "decide", decide_to_wait)


def accept_any_content(*, put: Put = put) -> None:
    """Let an event have any time, any text and any weights, as long as its fields have the right names."""
    decode = events.decode

    def decode_loosely(topic: str, payload: bytes | None, **known: Any) -> events.Event:
        try:
            return decode(topic, payload, **known)
        except ContractViolation:
            event = _build_unchecked(topic, payload or b"")
            if event is None:
                raise
            return event

    put(events, "decode", decode_loosely)


def drop_reused_ids(*, put: Put = put) -> None:
    """Write no dead letter for an event_id that belongs to another event: such an event vanishes."""
    insert = PostgresWorkerTransaction.insert_dead_letters

    @wraps(insert)
    def insert_others(transaction: Any, letters: Sequence[tuple[Any, str]]) -> None:
        insert(transaction, [letter for letter in letters if not letter[1].startswith(REUSED)])

    put(PostgresWorkerTransaction, "insert_dead_letters", insert_others)


def order_by_the_senders_clock(*, put: Put = put) -> None:
    """Read interactions in the order of the times that their senders wrote into them."""
    for name, query in list(vars(queries).items()):
        if isinstance(query, str) and "ORDER BY" in query:
            by_clock = re.sub(r"ORDER BY .*", lambda found: found[0].replace("sequence", "occurred_at"), query)
            put(queries, name, by_clock)


def end_on_unknown_errors(*, put: Put = put) -> None:
    """Let the trainer's process end when its database raises an error that is not ours."""
    for name in ("queue_training", "record_refusal"):
        put(PostgresTrainerStore, name, _fatal(getattr(PostgresTrainerStore, name)))


TAKE_OUT: dict[str, Callable[..., None]] = {
    "deduplication": forget_events,
    "offset-comparison": accept_stale_offsets,
    "delivery-report": answer_before_the_acknowledgement,
    "checksum": accept_any_checksum,
    "isolation": wait_for_failing_batches,
    "contract-bounds": accept_any_content,
    "content-comparison": drop_reused_ids,
    "log-order": order_by_the_senders_clock,
    "trainer-guard": end_on_unknown_errors,
}
GUARDS = tuple(TAKE_OUT)


def _build_unchecked(topic: str, payload: bytes) -> events.Event | None:
    """Return an event whose fields are what the payload says; None when it cannot be one at all."""
    try:
        fields = json.loads(payload)
        event_type = next(each for each in events.EVENTS_OF_TOPIC[topic] if each.__name__ == fields["event_type"])
        fields |= {"event_id": UUID(fields["event_id"]), "occurred_at": _any_time(fields["occurred_at"])}
        if "type" in fields:
            fields["type"] = InteractionType(fields["type"])
        if fields.get("weights") is not None:
            fields["weights"] = events.RequestedWeights.model_construct(**fields["weights"])
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, RecursionError):
        return None
    texts = [fields.get(name, "") for name in ("customer_id", "isin", "action", "reason", "version", "fingerprint")]
    if not all(isinstance(text, str) for text in texts if text is not None):
        return None
    return event_type.model_construct(**fields)


def _any_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _fatal(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def ending(*arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except RecommenderError:
            raise
        except Exception as error:
            raise SystemExit(f"not known to the trainer: {error!r}") from error

    return ending
