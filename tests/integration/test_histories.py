"""How the worker reads histories: bounded work whatever a customer did, and rows that Python cannot read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from api.asset_queries import WATCHLIST
from shared.postgres.engine import sqlalchemy_url
from shared.recommender.id_map import AssetIdMap
from shared.recommender.types import INTERACTION_WINDOW, RiskLevel
from worker import queries
from worker.catalogue import Catalogue
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

ROWS = 100_000
# Each asset is dismissed first, then seen again and again.
INSERT = """
INSERT INTO user_interactions
    (event_id, customer_id, isin, interaction_type, occurred_at, "partition", event_offset)
SELECT gen_random_uuid(), :prefix || customer, 'GR' || number % :assets,
       CASE WHEN number < :assets THEN 'dismiss' ELSE 'view' END, now(), 0, number
FROM generate_series(0, :rows - 1) AS number, generate_series(1, :customers) AS customer
ORDER BY number
"""
FRESH_LIST = """
INSERT INTO recommendations
    (customer_id, request_id, model_version, basis, weights, items, created_at,
     interaction_sequence, reference_snapshot)
SELECT 'busy1', :id, 'v1', 'history', '{}', '[]', now(), max(sequence), ''
FROM user_interactions WHERE customer_id = 'busy1'
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresWorkerStore]:
    store = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    yield store
    store.close()


@pytest.mark.parametrize("others", [20, 5_000])
@pytest.mark.parametrize("query", ["INTERACTIONS", "DISMISSED", "NEWEST_WRITES", "FRESH_LISTS"])
def test_what_is_read_does_not_grow_with_the_interactions_of_a_customer(
    engine: Engine, query: str, others: int
) -> None:
    with engine.begin() as connection:
        connection.execute(text(INSERT), {"prefix": "busy", "customers": 1, "assets": 50, "rows": ROWS})
        connection.execute(text(INSERT), {"prefix": "other", "customers": others, "assets": 5, "rows": 10})
        connection.execute(text(FRESH_LIST), {"id": uuid4()})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE user_interactions"))
        customers = ["busy1", *(f"other{number}" for number in range(1, 21))]
        assert _rows_read(connection, getattr(queries, query), customers) < 2 * INTERACTION_WINDOW


@pytest.mark.parametrize("unreadable", ["infinity", "-infinity", "0001-01-01 BC", "4714-11-24 BC", "294276-12-31"])
def test_a_time_that_python_cannot_represent_stops_nobody(
    engine: Engine, store: PostgresWorkerStore, unreadable: str
) -> None:
    with engine.begin() as connection:
        _keep(connection, "C1", "GR1", "dismiss", unreadable)
        _keep(connection, "C1", "GR2", "click", "2026-01-01 12:00+00")
        _keep(connection, "C2", "GR3", "click", "2026-01-01 12:00+00")
    with store.begin() as transaction:
        histories = transaction.fetch_histories(["C1", "C2"])
    assert [one.isin for one in histories["C1"].interactions] == ["GR1", "GR2"]
    assert histories["C1"].dismissed == ("GR1",)
    assert histories["C2"].interactions[0].occurred_at == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_type_that_this_version_does_not_know_stops_nobody(engine: Engine, store: PostgresWorkerStore) -> None:
    with engine.begin() as connection:
        _keep(connection, "C1", "GR1", "dismiss", "now")
        _keep(connection, "C1", "GR1", "hover", "now")
        _keep(connection, "C1", "GR2", "hover", "now")
    with store.begin() as transaction:
        history = transaction.fetch_histories(["C1"])["C1"]
    assert [(one.isin, one.type.value) for one in history.interactions] == [("GR1", "dismiss")]
    assert history.dismissed == ("GR1",)


def test_reference_rows_that_python_cannot_represent_stop_nobody(engine: Engine, store: PostgresWorkerStore) -> None:
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO customer_information VALUES ('C1', 'Mass', 'None', 'CAP_1', 'infinity', '4714-11-24 BC')",
            "INSERT INTO transactions VALUES ('C1', 'GR1', 'T1', 'Buy', '-infinity', 'NaN', 'NaN')",
            "INSERT INTO asset_information VALUES ('GR1', NULL, NULL, '', NULL, NULL, NULL, NULL, 'infinity')",
            "INSERT INTO close_prices VALUES ('GR1', 'infinity', 'NaN')",
            "INSERT INTO limit_prices VALUES ('GR1', '-infinity', 'infinity', 'NaN', 'NaN', '-infinity')",
            "INSERT INTO reference_snapshots VALUES ('transactions', 1, 0, 'test', 'infinity')",
        ):
            connection.execute(text(statement))
    with store.begin() as transaction:
        history = transaction.fetch_histories(["C1"])["C1"]
    assert (history.owned, history.customer.risk_level) == (("GR1",), None)
    assert set(store.fetch_asset_displays()) == {"GR1"}
    assert store.fetch_snapshots() == store.fetch_snapshots() != ""


def test_the_risk_of_an_asset_is_that_of_its_newest_row_in_the_database(
    engine: Engine, store: PostgresWorkerStore
) -> None:
    row = "INSERT INTO asset_information VALUES ('GR1', 'Name', NULL, :category, :sub_category, NULL, NULL, NULL, :day)"
    id_map = AssetIdMap(("GR0", "GR1"))
    with engine.begin() as connection:
        connection.execute(text(row), {"category": "Bond", "sub_category": "Government", "day": "2020-01-01"})
    view = Catalogue(store).view(id_map)
    assert (view.listed.tolist(), view.risk_level[1]) == ([False, True], RiskLevel.CONSERVATIVE)
    with engine.begin() as connection:
        connection.execute(text(row), {"category": "Bond", "sub_category": None, "day": "2021-01-01"})
    assert Catalogue(store).view(id_map).risk_level[1] == RiskLevel.INCOME


def test_views_that_a_migration_replaces_are_read_by_a_running_worker(
    engine: Engine, store: PostgresWorkerStore
) -> None:
    """The statement is prepared once, and the server refuses one whose columns change their types."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO transactions VALUES ('C1', 'GR1', 'T1', 'Buy', '2020-01-01', 1, 1)"))
        _keep(connection, "C1", "GR2", "click", "2026-01-01 12:00+00")
    with store.begin() as transaction:
        before = transaction.fetch_histories(["C1", "C2"])
    with engine.begin() as connection:
        for view, columns in (
            ("positions", "isin::varchar, held"),
            ("latest_customers", "risk_level::varchar, investment_capacity, last_questionnaire_date"),
        ):
            definition = connection.scalar(text(f"SELECT pg_get_viewdef('{view}')"))
            connection.execute(text(f"DROP VIEW {view}"))
            body = f"SELECT customer_id::varchar, {columns}, 1 AS other FROM ({str(definition).rstrip(';')}) AS old"
            connection.execute(text(f"CREATE VIEW {view} AS {body}"))
    with store.begin() as transaction:
        assert transaction.fetch_histories(["C1", "C2"]) == before
        assert before["C1"].owned == ("GR1",)


def _keep(connection: Connection, customer_id: str, isin: str, kind: str, occurred_at: str) -> None:
    connection.execute(
        text(
            "INSERT INTO user_interactions"
            ' (event_id, customer_id, isin, interaction_type, occurred_at, "partition", event_offset)'
            " VALUES (:id, :customer_id, :isin, :kind, CAST(:occurred_at AS timestamptz), 0, 0)"
        ),
        {"id": uuid4(), "customer_id": customer_id, "isin": isin, "kind": kind, "occurred_at": occurred_at},
    )


# Each asset is watched and dismissed first, then shown and unwatched again and again.
INSERT_SHOWN = """
INSERT INTO user_interactions
    (event_id, customer_id, isin, interaction_type, occurred_at, "partition", event_offset, sequence)
SELECT gen_random_uuid(), 'busy1', 'GR' || number % 50, kind, now(), 0, number,
       CASE kind WHEN 'impression' THEN -1 ELSE 1 END * nextval('user_interactions_sequence_seq')
FROM generate_series(0, :rows - 1) AS number
CROSS JOIN LATERAL (SELECT CASE WHEN number < 50 THEN 'watchlist' WHEN number < 100 THEN 'dismiss'
                                WHEN number % 2 = 0 THEN 'impression' ELSE :others END AS kind) AS chosen
ORDER BY number
"""


# The window holds unwatches and views, so only impressions are left out of INTERACTIONS.
@pytest.mark.parametrize(
    ("query", "others"),
    [
        ("INTERACTIONS", "impression"),
        *product(("DISMISSED", "NEWEST_WRITES", "FRESH_LISTS", "WATCHLIST"), ("impression", "unwatch", "view")),
    ],
)
def test_what_is_read_grows_neither_with_impressions_nor_with_unwatches(
    engine: Engine, query: str, others: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text(INSERT), {"prefix": "other", "customers": 20, "assets": 5, "rows": 10})
        connection.execute(text(INSERT_SHOWN), {"rows": ROWS, "others": others})
        connection.execute(text(FRESH_LIST), {"id": uuid4()})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE user_interactions"))
        if query == "WATCHLIST":
            statement = WATCHLIST.replace("$1", "(CAST(:customer_ids AS text[]))[1]").replace("$2", "CURRENT_DATE")
            assert _rows_read(connection, statement, ["busy1"]) <= 110
        else:
            assert _rows_read(connection, getattr(queries, query), ["busy1"]) < 2 * INTERACTION_WINDOW


def _rows_read(connection: Connection, query: str, customer_ids: list[str]) -> int:
    """Return how many rows and index entries of user_interactions the query looked at."""
    explained = connection.execute(
        text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}"), {"customer_ids": customer_ids}
    ).scalar_one()
    return _looked_at(explained[0]["Plan"])


def _looked_at(node: dict[str, Any]) -> int:
    own = 0
    if node.get("Relation Name") == "user_interactions":
        rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        own = round(rows * node["Actual Loops"])
    return own + sum(_looked_at(child) for child in node.get("Plans", []))


@pytest.mark.parametrize(
    ("column", "value"),
    [("items", '[{"isin": "GR1"}]'), ("items", '"text"'), ("items", "null"), ("weights", '{"unknown": 1}')],
)
def test_a_stored_list_that_cannot_be_read_is_not_fresh_and_stops_no_other_customer(
    engine: Engine, store: PostgresWorkerStore, column: str, value: str
) -> None:
    weights = '{"collaborative": 1, "content": 1, "profitability": 1}'
    with engine.begin() as connection:
        for customer_id in ("damaged", "sound"):
            row = {"customer_id": customer_id, "id": uuid4(), "weights": weights, "items": "[]"}
            row |= {column: value} if customer_id == "damaged" else {}
            connection.execute(
                text(
                    "INSERT INTO recommendations (customer_id, request_id, model_version, basis, weights, items,"
                    " created_at, interaction_sequence, reference_snapshot)"
                    " VALUES (:customer_id, :id, 'v1', 'history', CAST(:weights AS jsonb), CAST(:items AS jsonb),"
                    " now(), NULL, '')"
                ),
                row,
            )
    with store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["damaged", "sound"]).keys() == {"sound"}
