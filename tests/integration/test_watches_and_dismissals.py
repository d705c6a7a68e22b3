"""Any sequence of interactions gives the same sets and histories in SQL and in Python; impressions change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from api.reader import PostgresGatewayReader
from shared.events import INTERACTIONS_RECORDED, InteractionRecorded
from shared.ports import Message
from shared.postgres.engine import build_engine, sqlalchemy_url
from shared.recommender.history import build_history_matrix, dismissed_isins, watched_isins
from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_rows import build_training_data
from shared.recommender.types import CustomerHistory, Interaction, InteractionType, InteractionWeights
from tests.builders import build_history
from trainer.service.store import PostgresTrainerStore
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

NOW = datetime.now(UTC) + timedelta(hours=1)
ISINS = ("A", "B", "C")
WEIGHTS = InteractionWeights(window=5)
steps = st.lists(st.tuples(st.sampled_from(ISINS), st.sampled_from(list(InteractionType))), max_size=14)


def message_of(customer_id: str, isin: str, kind: InteractionType, number: int) -> tuple[Message, InteractionRecorded]:
    """Build an interaction whose sender's clock runs backwards."""
    event = InteractionRecorded(
        customer_id=customer_id, isin=isin, type=kind, occurred_at=NOW - timedelta(hours=2, minutes=number)
    )
    return Message(INTERACTIONS_RECORDED, 0, number, customer_id.encode(), b""), event


def row_of(history: CustomerHistory) -> list[float]:
    matrix = build_history_matrix(AssetIdMap(ISINS), [history], interaction_weights=WEIGHTS, now=NOW)
    return [float(value) for value in matrix.toarray()[0]]


async def read_today(database_url: str, customer_id: str) -> tuple[list[str], set[str], bool]:
    """Return what the gateway reads: the watchlist, what is dismissed, and whether something newer than 0 happened."""
    reader = PostgresGatewayReader(database_url, timeout_seconds=10.0, pool_size=1)
    await reader.start()
    try:
        watched = await reader.fetch_watchlist(customer_id)
        facts = await reader.fetch_current_facts(customer_id, ISINS)
        newest = (await reader.fetch_lists(customer_id)).newest
        return [one.isin for one in watched], set(facts.dismissed), bool(newest and newest.has_newer_interactions)
    finally:
        await reader.close()


def test_sql_and_python_agree_on_any_sequence(database_url: str) -> None:
    worker = PostgresWorkerStore(database_url, cluster_id="c", consumer_group="worker")
    engine = create_engine(sqlalchemy_url(database_url))
    trainer_engine = build_engine(database_url, application_name="trainer", pool_size=2)
    trainer = PostgresTrainerStore(trainer_engine, cluster_id="c", consumer_group="trainer")
    with engine.begin() as connection:
        row = "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES (:isin, 'Stock', '2020-01-02')"
        connection.execute(text(row), [{"isin": isin} for isin in ISINS])

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def agree(sequence: list[tuple[str, InteractionType]]) -> None:
        customer_id = f"C{uuid4().hex[:12]}"
        messages = [message_of(customer_id, *step, number) for number, step in enumerate(sequence)]
        for message in messages:  # one transaction each: the numbers follow the log
            with worker.begin() as transaction:
                assert len(transaction.insert_interactions([message])) == 1
        done = tuple(Interaction(event.isin, event.type, event.occurred_at) for _, event in messages)
        python = build_history(customer_id, interactions=done)
        with worker.begin() as transaction:
            stored = transaction.fetch_histories([customer_id])[customer_id]
        watched, dismissed, _ = asyncio.run(read_today(database_url, customer_id))
        counted = [one for one in done if one.type is not InteractionType.IMPRESSION]
        assert list(stored.interactions) == counted
        assert row_of(stored) == row_of(python) == row_of(build_history(customer_id, interactions=counted))
        assert set(stored.dismissed) == dismissed == dismissed_isins(python) == dismissed_isins(stored)
        assert set(watched) == watched_isins(done)
        assert watched == in_order_of_addition(done, watched)
        assert training_interactions(trainer, customer_id) == [(one.isin, one.type) for one in counted]

    try:
        agree()
    finally:
        worker.close()
        engine.dispose()
        trainer_engine.dispose()


def in_order_of_addition(done: Sequence[Interaction], watched: Sequence[str]) -> list[str]:
    """Return these assets, the one that was added last first."""
    added = [one.isin for one in reversed(done) if one.type is InteractionType.WATCHLIST and one.isin in watched]
    return list(dict.fromkeys(added))


def training_interactions(trainer: PostgresTrainerStore, customer_id: str) -> list[tuple[str, InteractionType]]:
    """Return what a training reads that the customer did; a customer with impressions alone is nobody."""
    data = build_training_data(trainer.fetch_training_rows().rows, now=NOW)
    positions = [index for index, one in enumerate(data.customers) if one.customer_id == customer_id]
    return [(one.isin, one.type) for history in data.histories(positions) for one in history.interactions]


def test_an_impression_is_stored_and_changes_nothing(database_url: str) -> None:
    worker = PostgresWorkerStore(database_url, cluster_id="c", consumer_group="worker")
    request_id = uuid4()
    with create_engine(sqlalchemy_url(database_url)).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO recommendations (customer_id, request_id, model_version, basis, weights, items,"
                " created_at, interaction_sequence, reference_snapshot) VALUES ('C1', :id, 'v1', 'history',"
                " '{\"collaborative\": 1, \"content\": 1, \"profitability\": 1}', '[]', now(), 0, '')"
            ),
            {"id": request_id},
        )
    shown = message_of("C1", "A", InteractionType.IMPRESSION, 0)
    event = shown[1].model_copy(update={"request_id": request_id, "rank": 7})
    with worker.begin() as transaction:
        assert transaction.insert_interactions([(shown[0], event)]) == {event.event_id}
        assert transaction.insert_interactions([(shown[0], event)]) == frozenset()
        kept = transaction.fetch_kept([event.event_id])[event.event_id]
        assert kept.find_conflict(event) is None
        assert kept.find_conflict(event.model_copy(update={"rank": 8})) is not None
        assert transaction.fetch_fresh_lists(["C1"]).keys() == {"C1"}
        assert transaction.fetch_histories(["C1"])["C1"].interactions == ()
    assert asyncio.run(read_today(database_url, "C1")) == ([], set(), False)
    with worker.begin() as transaction:
        transaction.insert_interactions([message_of("C1", "A", InteractionType.UNWATCH, 1)])
        assert transaction.fetch_fresh_lists(["C1"]) == {}
    assert asyncio.run(read_today(database_url, "C1"))[2]
    worker.close()
