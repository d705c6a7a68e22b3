"""One DATABASE_URL for every driver."""

from __future__ import annotations


def sqlalchemy_url(database_url: str) -> str:
    """Return the URL with SQLAlchemy's name of the synchronous driver: postgresql+psycopg2://..."""
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg2"}:
        raise ValueError("DATABASE_URL must start with postgresql://")
    return f"postgresql+psycopg2://{rest}"


def asyncpg_url(database_url: str) -> str:
    """Return the URL as asyncpg takes it: postgresql://..."""
    return sqlalchemy_url(database_url).replace("postgresql+psycopg2://", "postgresql://", 1)
