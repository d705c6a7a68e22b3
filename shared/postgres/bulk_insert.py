"""Insert a batch of rows with one statement and one array for each column: no work for each value in SQLAlchemy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, Connection, Date, DateTime, Table, Uuid
from sqlalchemy.dialects import postgresql

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def insert_new(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    returning: str,
    computed: Mapping[str, str] | None = None,
) -> frozenset[Any]:
    """Insert rows in order, without those that are there; return the `returning` of the new ones.

    All rows have the same keys. A column of JSON or of arrays takes its text. `computed` are columns with an SQL
    expression that may use the names of the others.
    """
    if not rows:
        return frozenset()
    names = tuple(rows[0])
    statement = _build_insert_new(table, names, returning, tuple((computed or {}).items()))
    arrays = tuple(_as_sent(table, name, [row[name] for row in rows]) for name in names)
    return frozenset(connection.exec_driver_sql(statement, arrays).scalars())


def _as_sent(table: Table, name: str, values: list[Any]) -> list[Any]:
    """Return the values; those that the driver would adapt one by one in Python become text."""
    if isinstance(table.c[name].type, Uuid | DateTime | Date):
        return [None if value is None else str(value) for value in values]
    return values


@cache
def _build_insert_new(
    table: Table, names: tuple[str, ...], returning: str, computed: tuple[tuple[str, str], ...]
) -> str:
    types = {name: table.c[name].type.compile(dialect=_DIALECT) for name in names}
    # unnest() takes an array of arrays for one array: they are texts up to there.
    of_arrays = {name for name in names if isinstance(table.c[name].type, ARRAY)}
    arrays = ", ".join(f"CAST(%s AS {'text' if name in of_arrays else types[name]}[])" for name in names)
    given = f"unnest({arrays}) AS given({', '.join(_quoted(names))})"
    columns = ", ".join(_quoted([*names, *(name for name, _ in computed)]))
    given_values = (f'CAST("{name}" AS {types[name]})' if name in of_arrays else f'"{name}"' for name in names)
    values = ", ".join([*given_values, *(expression for _, expression in computed)])
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {values} FROM {given}"
        f" ON CONFLICT DO NOTHING RETURNING {returning}"
    )


def _quoted(names: Collection[str]) -> list[str]:
    return [f'"{name}"' for name in names]
