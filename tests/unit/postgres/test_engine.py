"""One DATABASE_URL for every driver."""

from __future__ import annotations

import pytest

from shared.postgres.engine import asyncpg_url, build_engine, sqlalchemy_url


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_the_url_is_written_for_each_driver(scheme: str) -> None:
    url = f"{scheme}://user:pass@host:5432/name"
    assert sqlalchemy_url(url) == "postgresql+psycopg2://user:pass@host:5432/name"
    assert asyncpg_url(url) == "postgresql://user:pass@host:5432/name"


@pytest.mark.parametrize("url", ["mysql://host/name", "host:5432/name", ""])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL must start with postgresql://"):
        build_engine(url, application_name="test")
