"""Rows that are inserted as arrays are those that SQLAlchemy inserts one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import DataError, IntegrityError

from shared.postgres.bulk_insert import insert_new
from shared.postgres.errors import translated
from shared.postgres.tables import recorded_transactions as orders
from shared.postgres.tables import user_interactions

pytestmark = pytest.mark.postgres

TEXTS = [
    "",
    "NULL",
    "null",
    "a,b",
    "{x}",
    '"quoted"',
    "it's",
    "back\\slash",
    "%s %(x)s 100%",
    "line\nbreak",
    "ΔΗ €😀",
    ":x",
]
NUMBERS = [0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1e22, 1e-7, -3.5, float("inf"), float("nan")]
TIMES = [
    datetime(1, 1, 2, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(9000, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
]


def row(number: int, **fields: Any) -> dict[str, Any]:
    known = {
        "event_id": uuid4(),
        "customer_id": TEXTS[number % len(TEXTS)],
        "isin": TEXTS[(number + 1) % len(TEXTS)],
        "transaction_id": f"T{number}",
        "transaction_type": "Buy",
        "traded_on": date(2026, 1, 1 + number),
        "total_value": NUMBERS[number % len(NUMBERS)],
        "units": NUMBERS[(number + 3) % len(NUMBERS)],
        "currency": None if number % 2 else "EUR",
        "executed_at": TIMES[number % len(TIMES)],
        "content_digest": str(number),
        "fingerprint": None,
        "partition": number,
        "event_offset": 2**62 + number,
    }
    return {**known, **fields}


def stored(connection: Connection) -> list[tuple[Any, ...]]:
    columns = [column for column in orders.columns if column.name not in {"sequence", "recorded_at"}]
    return [tuple(map(repr, each)) for each in connection.execute(select(*columns).order_by(orders.c.sequence))]


def test_every_value_is_stored_as_it_is(engine: Engine) -> None:
    rows = [row(number) for number in range(24)]
    with engine.begin() as connection:
        for each in rows:
            connection.execute(insert(orders).values(**each))
        one_by_one = stored(connection)
        connection.execute(orders.delete())
        new = insert_new(connection, orders, rows, returning="event_id")
        assert stored(connection) == one_by_one
    assert new == {each["event_id"] for each in rows}
    assert all(isinstance(one, UUID) for one in new)


def test_a_row_that_is_there_is_left_out_and_its_repetition_in_the_batch_too(engine: Engine) -> None:
    first, second, third = (row(number) for number in range(3))
    with engine.begin() as connection:
        assert insert_new(connection, orders, [first], returning="event_id") == {first["event_id"]}
        batch = [first, second, second, row(9, content_digest="1"), third]
        assert insert_new(connection, orders, batch, returning="event_id") == {second["event_id"], third["event_id"]}
        assert insert_new(connection, orders, [], returning="event_id") == frozenset()


def test_a_computed_column_sees_the_others(engine: Engine) -> None:
    rows = [
        {
            "event_id": uuid4(),
            "customer_id": "C1",
            "isin": isin,
            "interaction_type": "click",
            "occurred_at": TIMES[2],
            "partition": 0,
            "event_offset": 0,
        }
        for isin in ("7", "-8")
    ]
    with engine.begin() as connection:
        insert_new(
            connection, user_interactions, rows, returning="event_id", computed={"sequence": "CAST(isin AS int)"}
        )
        assert sorted(connection.scalars(select(user_interactions.c.sequence))) == [-8, 7]


@pytest.mark.parametrize("bad", [{"customer_id": None}, {"partition": 2**31}, {"customer_id": "a\x00b"}])
def test_a_value_that_the_server_rejects_is_an_error_of_the_value(engine: Engine, bad: dict[str, Any]) -> None:
    """It is not translated: the worker finds the message that brings it."""
    errors = (DataError, IntegrityError, ValueError)
    with pytest.raises(errors), translated(), engine.begin() as connection:
        insert_new(connection, orders, [row(0), row(1, **bad)], returning="event_id")
