"""Alembic's environment: connects to the URL that upgrade.py hands in."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from shared.adapters.tables import metadata

MIGRATION_LOCK = 7_203_914  # any constant: two upgrades at once wait for each other


def run_migrations() -> None:
    """Upgrade in one transaction, one process at a time."""
    engine = create_engine(context.config.attributes["sqlalchemy_url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            context.run_migrations()


run_migrations()
