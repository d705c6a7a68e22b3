"""The table of database errors: what is worth a retry, what blames a value, what is a bug."""

from __future__ import annotations

import asyncpg
import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import DatabaseBusy, DatabaseMisused, DatabaseUnavailable, RecommenderError
from shared.postgres.errors import translate_error, translated

UNAVAILABLE = {
    "the connection breaks": "08006",
    "the server became read-only": "25006",
    "the password is wrong": "28P01",
    "there is no such database": "3D000",
    "serialization failure": "40001",
    "deadlock": "40P01",
    "a privilege is missing": "42501",
    "a table is missing": "42P01",
    "a column is missing": "42703",
    "the disk is full": "53100",
    "too many connections": "53300",
    "lock timeout": "55P03",
    "statement timeout": "57014",
    "shutdown": "57P01",
    "input or output error": "58030",
    "internal error": "XX000",
}
VALUE = {"out of range": "22003", "not UTF-8": "22021", "not unique": "23505", "index row too large": "54000"}
MISUSED = {
    "syntax": "42601",
    "wrong type": "42804",
    "no such function": "42883",
    "two rows": "21000",
    "cursor": "34000",
}


class PsycopgError(psycopg2.Error):
    """An error of psycopg2 with a SQLSTATE, which its own classes do not let a caller set."""

    pgcode = ""

    def __init__(self, state: str) -> None:
        super().__init__("what the server says")
        self.pgcode = state


def asyncpg_error(state: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": "what the server says"})


def kind(error: Exception) -> type[RecommenderError] | None:
    translation = translate_error(error)
    return None if translation is None else type(translation)


@pytest.mark.parametrize(
    ("states", "expected"), [(UNAVAILABLE, DatabaseUnavailable), (VALUE, None), (MISUSED, DatabaseMisused)]
)
def test_all_drivers_are_translated_by_the_same_table(states: dict[str, str], expected: type[Exception] | None) -> None:
    for meaning, state in states.items():
        driver = PsycopgError(state)
        assert kind(driver) is expected, meaning
        assert kind(DBAPIError("SELECT", {}, driver)) is expected, meaning
        assert kind(asyncpg_error(state)) is expected, meaning


def test_a_connection_that_never_was_has_no_state_and_is_unavailable() -> None:
    assert kind(psycopg2.OperationalError("could not connect to server")) is DatabaseUnavailable
    assert kind(psycopg2.InterfaceError("connection already closed")) is DatabaseUnavailable
    assert kind(asyncpg.InterfaceError("the connection is closed")) is DatabaseUnavailable
    assert kind(asyncpg.InternalClientError("cannot switch to state 12")) is DatabaseUnavailable


def test_wrong_use_of_the_driver_is_a_bug() -> None:
    assert kind(ProgrammingError("SELECT", {}, psycopg2.ProgrammingError("can't adapt type"))) is DatabaseMisused


def test_a_value_that_the_driver_refuses_blames_the_value() -> None:
    assert kind(psycopg2.DataError("integer out of range")) is None


def test_an_empty_pool_is_a_busy_database() -> None:
    assert kind(PoolTimeout("QueuePool limit reached")) is DatabaseBusy


def test_the_block_raises_the_translation_with_its_cause() -> None:
    cause = PsycopgError("42601")
    with pytest.raises(DatabaseMisused, match="the database: what the server says") as raised, translated():
        raise DBAPIError("SELECT", {}, cause)
    assert isinstance(raised.value.__cause__, DBAPIError)
    with pytest.raises(PsycopgError), translated():
        raise PsycopgError("22003")


def test_other_errors_pass_through_the_block() -> None:
    for error in (KeyError("a bug"), OSError("a file"), DatabaseUnavailable("translated already")):
        with pytest.raises(type(error)) as raised, translated():
            raise error
        assert raised.value is error
