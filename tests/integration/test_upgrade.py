"""A database of the first version with rows in every table: what an upgrade makes of them, and old code afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, text

from api.ports import CustomerLists
from api.reader import PostgresGatewayReader
from shared.errors import StaleOffsets
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS
from shared.ports import Message, StoredOffset
from shared.postgres.dead_letter_store import DeadLetterBox, LetterFilter
from shared.postgres.engine import build_engine, sqlalchemy_url
from shared.postgres.migrations.upgrade import upgrade_database
from shared.postgres.tables import metadata
from trainer.service.store import PostgresTrainerStore
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

FIRST, SECOND, THIRD, REQUEST = (UUID(int=number) for number in range(1, 5))
PARTITION = (INTERACTIONS_RECORDED, 0)
# As the first version wrote them: none names a column that a later migration added.
LETTER = f"""
    INSERT INTO dead_letters (cluster_id, consumer_group, topic, "partition", event_offset, key, value, reason)
    VALUES ('cluster', 'worker', '{INTERACTIONS_RECORDED}', 0, 7, 'C1', '{{}}', 'ContractViolation: empty')
    ON CONFLICT DO NOTHING
"""
OFFSET = """
    INSERT INTO consumer_offsets (cluster_id, consumer_group, topic, "partition", next_offset)
    VALUES ('cluster', :consumer_group, :topic, 0, 8)
    ON CONFLICT (cluster_id, consumer_group, topic, "partition") DO UPDATE SET next_offset = excluded.next_offset
"""
INTERACTION = """
    INSERT INTO user_interactions
        (event_id, customer_id, isin, interaction_type, occurred_at, "partition", event_offset, recorded_at)
    VALUES (:event_id, 'C1', :isin, :kind, :occurred_at, 0, :event_offset, :recorded_at)
"""
DECISION = """
    INSERT INTO decisions (request_id, customer_id, action, answered_from, model_version, basis, weights, items,
                           "partition", event_offset, requested_at, decided_at)
    VALUES (:request_id, 'C1', 'request_recs', 'scored', 'v1', 'history', '{}', '[]', 0, 3, now(), now())
"""
LIST = """
    INSERT INTO recommendations (customer_id, request_id, model_version, basis, weights, items, created_at)
    VALUES ('C1', :request_id, 'v1', 'history',
            '{"collaborative": 1.0, "content": 0.0, "profitability": 0.0}', '[]', now())
    ON CONFLICT (customer_id) DO UPDATE SET request_id = excluded.request_id, created_at = excluded.created_at
"""
MODEL = """
    INSERT INTO model_versions (version, status, active, sequence, triggered_by, progress, manifest_sha256)
    VALUES (:version, :status, :status = 'promoted', :sequence, 'request 1: first', :progress, :digest)
"""
REFERENCE = (
    "INSERT INTO customer_information (customer_id, risk_level, recorded_on) VALUES ('C1', 'Income', '2020-01-02')",
    "INSERT INTO customer_information (customer_id, risk_level, recorded_on) VALUES ('C1', 'Balanced', '2020-01-02')",
    "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES ('X1', 'Bond', '2020-01-02')",
    "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES ('X1', 'Stock', '2020-01-02')",
    "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES ('X1', 'MTF', '2019-01-02')",
    "INSERT INTO markets (exchange_id, market_id) VALUES ('E', 'M')",
    "INSERT INTO limit_prices (isin, min_date, max_date, profitability) VALUES ('X1', '2018-01-02', '2020-01-02', 1)",
    "INSERT INTO limit_prices (isin, min_date, max_date, profitability) VALUES ('X1', '2018-01-02', '2020-01-02', 2)",
    "INSERT INTO close_prices (isin, priced_on, close_price) VALUES ('X1', '2020-01-02', 1)",
    "INSERT INTO close_prices (isin, priced_on, close_price) VALUES ('X1', '2020-01-02', 2)",
    "INSERT INTO transactions (customer_id, isin, transaction_id, transaction_type, traded_on) "
    "VALUES ('C1', 'X1', 't', 'Buy', '2020-01-02')",
    "INSERT INTO reference_snapshots (table_name, row_count, rejected_count, source) VALUES ('markets', 1, 0, 'm.csv') "
    "ON CONFLICT (table_name) DO UPDATE SET loaded_at = now()",
)


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    """A database as the first version left it, with every migration applied afterwards."""
    upgrade_database(empty_database_url, revision="0001")
    engine = create_engine(sqlalchemy_url(empty_database_url))
    fill(engine)
    upgrade_database(empty_database_url)
    yield engine
    engine.dispose()


def fill(engine: Engine) -> None:
    """Write rows into every table, as the first version did."""
    with engine.begin() as connection:
        for statement in REFERENCE:
            connection.execute(text(statement))
        connection.execute(text(LETTER))
        for group, topic in (("worker", INTERACTIONS_RECORDED), ("trainer", MODELS_COMMANDS)):
            connection.execute(text(OFFSET), {"consumer_group": group, "topic": topic})
        # Stored in the order of the log; their own times say the opposite.
        rows = [(FIRST, "X1", "dismiss", 9), (SECOND, "X2", "dismiss", 8), (THIRD, "X1", "click", 7)]
        for number, (event_id, isin, kind, day) in enumerate(rows):
            values = {"event_id": event_id, "isin": isin, "kind": kind, "occurred_at": date(2026, 1, day)}
            place = {"event_offset": number, "recorded_at": date(2026, 2, 1 + number)}
            connection.execute(text(INTERACTION), values | place)
        connection.execute(text(DECISION), {"request_id": REQUEST})
        connection.execute(text(LIST), {"request_id": REQUEST})
        for version, status, sequence, progress, digest in (
            ("v1", "promoted", 1, "done", "a" * 64),
            ("v2", "training", None, "queued", None),
            ("v3", "training", None, "queued", None),
        ):
            columns = {"version": version, "status": status, "sequence": sequence}
            connection.execute(text(MODEL), {**columns, "progress": progress, "digest": digest})


def count_of(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_every_table_of_the_first_version_has_rows_and_keeps_them(engine: Engine) -> None:
    counts = {table.name: count_of(engine, table.name) for table in metadata.sorted_tables}

    newer = {"model_commands", "reference_changes", "shown_asset_versions", "erased_customers"}
    newer |= {name for name in counts if name.startswith(("previous_", "recorded_"))}
    assert {name for name, count in counts.items() if count == 0} == newer
    assert (counts["user_interactions"], counts["model_versions"], counts["asset_information"]) == (3, 3, 3)


def test_the_worker_goes_on_where_the_first_version_stopped(engine: Engine, empty_database_url: str) -> None:
    store = PostgresWorkerStore(empty_database_url, cluster_id="cluster", consumer_group="worker")
    store.note_topic_ids({PARTITION: "a topic"})

    assert store.fetch_offsets([PARTITION]) == {PARTITION: StoredOffset(8, None)}
    with store.begin() as transaction:
        transaction.lock_offsets({PARTITION: 8})
        history = transaction.fetch_histories(["C1"])["C1"]
        assert [one.isin for one in history.interactions] == ["X1", "X2", "X1"]
        assert (history.dismissed, history.owned) == (("X2",), ("X1",))
        assert transaction.fetch_fresh_lists(["C1"]) == {}  # nobody knows what it knew
        assert transaction.fetch_decided([REQUEST])[REQUEST].content_digest is None
        # The letter of an older version and one of the topic that is read now lie side by side.
        transaction.insert_dead_letters([(Message(*PARTITION, 7, b"C1", b"{}"), "ContractViolation: empty")])
        transaction.store_offsets({PARTITION: 9})
    with pytest.raises(StaleOffsets), store.begin() as transaction:
        transaction.lock_offsets({PARTITION: 8})
    assert store.fetch_offsets([PARTITION]) == {PARTITION: StoredOffset(9, "a topic")}
    store.close()
    box = DeadLetterBox(empty_database_url)
    assert [letter.topic_id for letter in box.find(LetterFilter(), limit=10)] == [None, "a topic"]
    box.close()


@pytest.mark.parametrize("version", ["latest", "current"])  # the second ones are read by older code
def test_the_latest_row_is_the_last_one_of_the_newest_day(engine: Engine, version: str) -> None:
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT asset_category FROM {version}_assets")).all() == [("Stock",)]
        assert connection.execute(text(f"SELECT risk_level FROM {version}_customers")).all() == [("Balanced",)]
        assert connection.execute(text(f"SELECT profitability FROM {version}_limit_prices")).all() == [(2.0,)]
        assert connection.execute(text(f"SELECT close_price FROM {version}_close_prices")).all() == [(2.0,)]


def test_the_gateway_shows_the_old_list_as_stale_and_the_model_as_servable(
    engine: Engine, empty_database_url: str
) -> None:
    async def read() -> tuple[CustomerLists, str, str | None]:
        reader = PostgresGatewayReader(empty_database_url, timeout_seconds=5.0, pool_size=1)
        await reader.start()
        try:
            models = await reader.fetch_models(limit=10)
            return await reader.fetch_lists("C1"), await reader.fetch_artifact_state("v1"), models.active
        finally:
            await reader.close()

    lists, state, active = asyncio.run(read())

    assert lists.newest is not None
    assert (lists.newest.is_stale, lists.newest.has_newer_interactions) == (True, True)
    assert (state, active) == ("servable", "v1")


def test_the_trainer_keeps_the_served_version_and_one_of_the_queued_trainings(
    engine: Engine, empty_database_url: str
) -> None:
    connections = build_engine(empty_database_url, application_name="trainer", pool_size=4)
    store = PostgresTrainerStore(connections, cluster_id="cluster", consumer_group="trainer")

    assert store.abandon_trainings(reason="ended", retry_version="v4", counts=True) == []
    active, queued = store.fetch_active_version(), store.fetch_queued()
    assert active is not None
    assert queued is not None
    assert (active.version, queued.version) == ("v1", "v2")
    assert len(store.fetch_training_rows().rows.interactions) == 3
    commands = (MODELS_COMMANDS, 0)
    assert store.fetch_offsets([commands]) == {commands: StoredOffset(8, None)}
    connections.dispose()


def test_what_the_first_version_writes_fits_the_new_schema(engine: Engine) -> None:
    new, request = UUID(int=10), UUID(int=11)
    with engine.begin() as connection:
        for statement in REFERENCE:
            connection.execute(text(statement))
        connection.execute(text(LETTER))
        connection.execute(text(OFFSET), {"consumer_group": "worker", "topic": INTERACTIONS_RECORDED})
        values = {"event_id": new, "isin": "X1", "kind": "view", "occurred_at": date(2026, 1, 1)}
        connection.execute(text(INTERACTION), {**values, "event_offset": 3, "recorded_at": date(2026, 1, 1)})
        connection.execute(text(DECISION), {"request_id": request})
        connection.execute(text(LIST), {"request_id": request})

    assert count_of(engine, "dead_letters") == 1
    with engine.connect() as connection:
        ordered = connection.execute(text("SELECT event_id FROM user_interactions ORDER BY sequence")).scalars().all()
        assert ordered == [FIRST, SECOND, THIRD, new]
