"""Any sequence of good, bad, shrunken, empty and killed loads leaves the last accepted one, in a real database."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from shared.far_trans.loading import ReferenceStore
from shared.far_trans.schema import TABLES
from shared.far_trans.store import PostgresReferenceStore
from tests.load_histories import LoadHistory

pytestmark = pytest.mark.postgres


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    yield connection
    connection.close()


def test_tables_hold_the_last_accepted_load_whatever_is_tried(database_url: str, connection: Any) -> None:
    class InPostgres(LoadHistory):
        def __init__(self) -> None:
            super().__init__()
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE {', '.join(schema.table for schema in TABLES)}")

        @contextmanager
        def store(self) -> Iterator[ReferenceStore]:
            with PostgresReferenceStore.connect(database_url) as store:
                yield store
                store.tidy()

        def read_tables(self) -> Mapping[str, bytes]:
            return {schema.table: self._read(schema.table) for schema in TABLES}

        def _read(self, table: str) -> bytes:
            schema = next(schema for schema in TABLES if schema.table == table)
            columns = ", ".join(column.name for column in schema.columns)
            file = io.BytesIO()
            with connection.cursor() as cursor:
                # The numbers in the rows of one load have one length, so this is their order in the file.
                query = f"SELECT {columns} FROM {table} ORDER BY 1, 2"
                cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT text, DELIMITER ',', NULL '')", file)
            return file.getvalue()

    examples = settings(
        max_examples=15, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    run_state_machine_as_test(InPostgres, settings=examples)
