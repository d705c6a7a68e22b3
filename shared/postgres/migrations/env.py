"""Alembic's environment: migrates on the connection, and in the transaction, that upgrade.py opened."""

from __future__ import annotations

from alembic import context

from shared.postgres.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
