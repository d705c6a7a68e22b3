"""Insert a batch of rows with one statement and one array for each column: no work for each value in SQLAlchemy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, Connection, Table
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
    statement = build_insert_new(table, names, returning, tuple((computed or {}).items()))
    arrays = tuple(build_array([row[name] for row in rows]) for name in names)
    return frozenset(connection.exec_driver_sql(statement, arrays).scalars())


def build_array(values: Iterable[Any]) -> str:
    """Return an array as PostgreSQL reads it: the driver adapts one text, and not each value."""
    return f"{{{','.join([_element(value) for value in values])}}}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"') if "\\" in value or '"' in value else value
        return f'"{escaped}"'
    return str(value + 0.0 if isinstance(value, float) else value)  # -0.0 is 0.0, as in a statement


@cache
def build_insert_new(
    table: Table,
    names: tuple[str, ...],
    returning: str,
    computed: tuple[tuple[str, str], ...],
    *,
    where: str | None = None,
) -> str:
    """Return the statement of `insert_new`; its parameters are one array for each of the names.

    where: which of the given rows are inserted; None: all.
    """
    types = {name: table.c[name].type.compile(dialect=_DIALECT) for name in names}
    # unnest() takes an array of arrays for one array: they are texts up to there.
    of_arrays = {name for name in names if isinstance(table.c[name].type, ARRAY)}
    arrays = ", ".join(f"CAST(%s AS {'text' if name in of_arrays else types[name]}[])" for name in names)
    given = f"unnest({arrays}) AS given({', '.join(_quoted(names))})"
    columns = ", ".join(_quoted([*names, *(name for name, _ in computed)]))
    given_values = (f'CAST("{name}" AS {types[name]})' if name in of_arrays else f'"{name}"' for name in names)
    values = ", ".join([*given_values, *(expression for _, expression in computed)])
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {values} FROM {given}{f' WHERE {where}' if where else ''}"
        f" ON CONFLICT DO NOTHING RETURNING {returning}"
    )


def _quoted(names: Collection[str]) -> list[str]:
    return [f'"{name}"' for name in names]
