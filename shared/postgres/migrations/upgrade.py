"""Bring a database to the newest schema; safe to repeat, and safe to run twice at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from shared.errors import DatabaseUnavailable
from shared.postgres.engine import sqlalchemy_url

MIGRATION_LOCK = 7_203_914  # any constant: two upgrades at once wait for each other


def upgrade_database(database_url: str, *, revision: str = "head") -> None:
    """Apply every migration up to `revision` that the database does not have yet. Raises DatabaseUnavailable."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["sqlalchemy_url"] = sqlalchemy_url(database_url)
    config.attributes["lock"] = MIGRATION_LOCK
    try:
        command.upgrade(config, revision)
    except OperationalError as error:
        raise DatabaseUnavailable(str(error.orig)) from error
