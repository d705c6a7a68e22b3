"""Settings that only make sense together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.settings import ServiceSettings, TopicSettings


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


@pytest.mark.parametrize(("value", "keys"), [("", ()), ("alpha", (b"alpha",)), (" new , old,", (b"new", b"old"))])
def test_signing_keys_are_separated_by_commas_and_empty_is_off(
    monkeypatch: pytest.MonkeyPatch, value: str, keys: tuple[bytes, ...]
) -> None:
    monkeypatch.setenv("MODELS_DIR", "/models")
    monkeypatch.setenv("ARTIFACT_SIGNING_KEY", value)

    settings = ServiceSettings()
    assert settings.signing_keys() == keys
    assert all(key.decode() not in repr(settings) for key in keys)


@pytest.mark.parametrize("value", [",", " , ", " "])
def test_a_signing_key_that_is_none_does_not_switch_signatures_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MODELS_DIR", "/models")
    monkeypatch.setenv("ARTIFACT_SIGNING_KEY", value)

    with pytest.raises(ValidationError, match="holds no key"):
        ServiceSettings()
