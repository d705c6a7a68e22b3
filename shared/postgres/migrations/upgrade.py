"""Bring a database to the newest schema; safe to repeat, and safe to run twice at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from shared.postgres.engine import build_engine
from shared.postgres.errors import translated

MIGRATION_LOCK = 7_203_914  # any constant: two upgrades at once wait for each other


def upgrade_database(database_url: str, *, revision: str = "head") -> None:
    """Apply every migration up to `revision` that the database does not have yet, in one transaction.

    Raises DatabaseUnavailable.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    engine = build_engine(database_url, application_name="migrations")
    try:
        with translated(), engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()
