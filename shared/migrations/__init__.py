"""Alembic migrations, and the one explicit step that makes topics: `python -m shared.migrations`."""
