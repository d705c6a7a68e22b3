"""How every service and command connects to PostgreSQL: one URL for all drivers, one way to build an engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from json import dumps

from sqlalchemy import Engine, create_engine


def sqlalchemy_url(database_url: str) -> str:
    """Return the URL for SQLAlchemy: postgresql+psycopg2://..."""
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg2"}:
        raise ValueError("DATABASE_URL must start with postgresql://")
    return f"postgresql+psycopg2://{rest}"


def asyncpg_url(database_url: str) -> str:
    """Return the URL for asyncpg: postgresql://..."""
    return sqlalchemy_url(database_url).replace("postgresql+psycopg2://", "postgresql://", 1)


def build_engine(
    database_url: str,
    *,
    application_name: str,
    pool_size: int = 1,
    session_settings: Mapping[str, str] | None = None,
    tcp_user_timeout_seconds: int = 10,
) -> Engine:
    """Return an engine of `pool_size` connections, and one more at a peak; it connects on first use.

    A connection is checked before use, and a server that is gone is noticed within seconds. Raises ValueError for a
    malformed URL. `session_settings` are server settings of each session, such as `statement_timeout`.
    """
    settings = {"timezone": "UTC", **(session_settings or {})}
    return create_engine(
        sqlalchemy_url(database_url),
        pool_size=pool_size,
        max_overflow=1,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 5,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 1000 * tcp_user_timeout_seconds,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
        json_serializer=partial(dumps, allow_nan=False, separators=(",", ":")),
    )
