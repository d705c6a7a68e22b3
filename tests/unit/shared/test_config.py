"""Settings that only make sense together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.config import TopicSettings


@pytest.fixture(autouse=True)
def _servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")


def test_more_acknowledging_copies_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC_MIN_INSYNC_REPLICAS", "2")

    with pytest.raises(ValidationError, match="TOPIC_REPLICATION_FACTOR"):
        TopicSettings()

    monkeypatch.setenv("TOPIC_REPLICATION_FACTOR", "3")
    assert TopicSettings().topic_min_insync_replicas == 2
