"""On a real database: whatever messages hold, a batch is stored, and workers and trainings can read what was kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import create_engine, text

from shared.events import (
    RECOMMENDATIONS_REQUESTED,
    REFERENCE_TOPICS,
    InteractionRecorded,
    TransactionRecorded,
    content_digest,
    decode,
)
from shared.ports import KeptEvent, Message
from shared.postgres.engine import build_engine, sqlalchemy_url
from shared.recommender.training_rows import build_training_data
from tests.builders import build_model
from tests.hostile_messages import CUSTOMERS, LOGGED_AT, hostile_messages
from trainer.service.store import PostgresTrainerStore
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.handlers import Handled, handle_batch
from worker.message_buffer import Batch
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

MODEL = build_model(assets=12)
SCORING = Scoring(MODEL, k=10, now=lambda: LOGGED_AT)


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresWorkerStore]:
    row = "INSERT INTO asset_information VALUES (:isin, 'Name', NULL, 'Stock', NULL, NULL, NULL, NULL, '2020-01-01')"
    with create_engine(sqlalchemy_url(database_url)).begin() as connection:
        connection.execute(text(row), [{"isin": isin} for isin in MODEL.id_map.isins])
    store = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    yield store
    store.close()


def test_a_batch_of_anything_is_stored_and_can_be_read_back(store: PostgresWorkerStore, database_url: str) -> None:
    catalogue = Catalogue(store)
    offset = 0

    @given(hostile_messages(MODEL.id_map.isins))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def handle_and_read(messages: list[Message]) -> None:
        nonlocal offset
        messages = [
            Message(one.topic, one.partition, offset + position, one.key, one.value, one.logged_at)
            for position, one in enumerate(messages)
        ]
        offset += len(messages)
        handled = handle(store, messages, catalogue)
        dead = {message for message, _ in handled.dead_letters}
        with store.begin() as transaction:
            transaction.fetch_fresh_lists(CUSTOMERS)
            for history in transaction.fetch_histories(CUSTOMERS).values():
                for one in history.interactions:
                    assert datetime.fromtimestamp(one.occurred_at.timestamp(), tz=UTC) == one.occurred_at
            for message in messages:
                if message not in dead:
                    event = decode(message.topic, message.value, logged_at=message.logged_at)
                    if isinstance(event, InteractionRecorded):
                        names = ("customer_id", "isin", "request_id", "rank")
                        fields = {name: getattr(event, name) for name in names} | {"type": event.type.value}
                        kept: KeptEvent = transaction.fetch_kept([event.event_id])[event.event_id]
                        assert kept.fields == fields
                    elif isinstance(event, TransactionRecorded):
                        orders.add(content_digest(event))
                    elif message.topic in REFERENCE_TOPICS:
                        found = transaction.fetch_kept_reference_events(message.topic, [event.event_id])
                        assert found[event.event_id].content_digest == content_digest(event)
                        reference_events.add((message.topic, event.event_id))
                    else:
                        kept = transaction.fetch_decided([event.event_id])[event.event_id]
                        assert kept.content_digest == content_digest(event)[:32]  # half of it is stored
                        assert kept.find_conflict(event) is None

    orders: set[str] = set()
    reference_events: set[tuple[str, UUID]] = set()
    handle_and_read()
    trainer = PostgresTrainerStore(
        build_engine(database_url, application_name="trainer", pool_size=4),
        cluster_id="cluster",
        consumer_group="trainer",
    )
    data = build_training_data(trainer.fetch_training_rows().rows, now=LOGGED_AT)
    assert sum(len(history.interactions) for history in data.histories()) > 0
    with create_engine(sqlalchemy_url(database_url)).connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM dead_letters")) > 0
        assert connection.scalar(text("SELECT count(*) FROM decisions")) > 0
        tables = ("recorded_customers", "recorded_assets", "recorded_close_prices", "recorded_suspensions")
        counts = [connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in tables]
        stored = list(connection.scalars(text("SELECT content_digest FROM recorded_transactions")))
    assert orders
    assert min(counts) > 0
    assert sum(counts) == len(reference_events)
    assert sorted(stored) == sorted(orders)


def handle(store: PostgresWorkerStore, messages: Sequence[Message], catalogue: Catalogue) -> Handled:
    batch = Batch(
        tuple(one for one in messages if one.topic != RECOMMENDATIONS_REQUESTED),
        tuple(one for one in messages if one.topic == RECOMMENDATIONS_REQUESTED),
    )
    with store.begin() as transaction:
        return handle_batch(batch, transaction=transaction, catalogue=catalogue, scoring=SCORING)
