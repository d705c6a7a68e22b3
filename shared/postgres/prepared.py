"""Statements that each connection parses and plans once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection


def execute_prepared(connection: Connection, name: str, build: Callable[[], str], *parameters: Any) -> Sequence[Any]:
    """Return the rows of a statement, which is prepared at its first use; its parameters are $1, $2, ...

    The types of its columns must not change while a process runs (the server refuses it then): cast them.
    """
    if name not in connection.info:
        connection.exec_driver_sql(f"PREPARE {name} AS {build()}")
        connection.info[name] = True
    places = ", ".join(["%s"] * len(parameters))
    return connection.exec_driver_sql(f"EXECUTE {name} ({places})", parameters).all()
