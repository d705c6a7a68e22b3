"""Alembic's environment: connects to the URL that upgrade.py hands in."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from shared.postgres.tables import metadata


def run_migrations() -> None:
    """Upgrade in one transaction, one process at a time."""
    engine = create_engine(context.config.attributes["sqlalchemy_url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": context.config.attributes["lock"]})
            context.run_migrations()


run_migrations()
