"""Guards of the services that a campaign takes out, to see that it turns red without them."""

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

from shared import events
from shared.artifacts import format as artifact_format
from shared.artifacts import publication as artifacts
from shared.artifacts.format import Manifest, sha256_of
from shared.errors import ContractViolation, RecommenderError, StaleOffsets
from shared.kafka import producer as kafka_producer
from shared.recommender.model import Model
from shared.recommender.types import InteractionType
from trainer.service import store as postgres_trainer
from worker import queries as worker_queries
from worker import store as postgres_worker

REUSED = ("EventIdReused", "IdempotencyKeyReused")
WAIT_SECONDS = 0.5


def forget_events() -> None:
    """Let no event_id count as seen (the campaign drops the unique keys of its own database as well)."""
    from worker import handlers

    def fetch_nothing(_: object, __: Sequence[UUID]) -> Mapping[UUID, str | None]:
        return {}

    put(postgres_worker.PostgresWorkerTransaction, "fetch_decided", fetch_nothing)
    put(handlers, "_first_of_each", lambda events: (list(events), []))


def accept_stale_offsets() -> None:
    """Lock the offsets, and go on whatever they are: a zombie's write is accepted."""
    lock_offsets = postgres_worker.PostgresWorkerTransaction.lock_offsets

    @wraps(lock_offsets)
    def lock_without_comparing(transaction: Any, starts: Any) -> None:
        try:
            lock_offsets(transaction, starts)
        except StaleOffsets:
            return

    put(postgres_worker.PostgresWorkerTransaction, "lock_offsets", lock_without_comparing)


def answer_before_the_acknowledgement() -> None:
    """Hand the event to the producer and say yes."""

    async def publish(publisher: Any, topic: str, *, key: str, event: Any) -> None:
        answer = asyncio.get_running_loop().create_future()
        name = publisher._prefix + topic
        publisher._produce(name, key=key, value=events.encode(event), answer=answer)

    put(kafka_producer.KafkaEventPublisher, "publish", publish)


def accept_any_checksum() -> None:
    """Load arrays whose SHA-256 is not the manifest's."""
    decode_model = artifact_format.decode_model

    def decode_unchecked(manifest: Manifest, content: bytes) -> Model:
        return decode_model(replace(manifest, arrays_sha256=sha256_of(content)), content)

    put(artifacts, "decode_model", decode_unchecked)


def wait_for_failing_batches() -> None:
    """Try a batch that fails like a bug again and again, as if the database were down."""
    from shared import retry_policy as retries

    decide = retries.RetryPolicy.decide

    def decide_to_wait(policy: Any, error: Exception, **known: Any) -> Any:
        decision = decide(policy, error, **known)
        return retries.BackOff(WAIT_SECONDS) if isinstance(decision, retries.ToDeadLetter) else decision

    put(retries.RetryPolicy, "decide", decide_to_wait)


def accept_any_content() -> None:
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


def drop_reused_ids() -> None:
    """Say nothing about an event_id that belongs to another event: such an event vanishes."""
    insert = postgres_worker.PostgresWorkerTransaction.insert_dead_letters

    @wraps(insert)
    def insert_others(transaction: Any, letters: Sequence[tuple[Any, str]]) -> None:
        insert(transaction, [letter for letter in letters if not letter[1].startswith(REUSED)])

    put(postgres_worker.PostgresWorkerTransaction, "insert_dead_letters", insert_others)


def order_by_the_senders_clock() -> None:
    """Read interactions in the order of the times that their senders wrote into them."""
    for name, query in vars(worker_queries).items():
        if isinstance(query, str) and "ORDER BY" in query:
            by_clock = re.sub(r"ORDER BY .*", lambda found: found[0].replace("sequence", "occurred_at"), query)
            put(worker_queries, name, by_clock)


def end_on_unknown_errors() -> None:
    """Let the trainer's process end when its database raises what is no error of ours."""
    store = postgres_trainer.PostgresTrainerStore
    for name in ("queue_training", "record_refusal"):
        put(store, name, _fatal(getattr(store, name)))


TAKE_OUT: dict[str, Callable[[], None]] = {
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


def put(owner: object, name: str, replacement: object) -> None:
    """Replace what is there; a name that production code no longer has is an error, not a point that never fires."""
    getattr(owner, name)
    setattr(owner, name, replacement)


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
