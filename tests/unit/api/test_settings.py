"""The settings of the gateway: origins that may call, and the number of processes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from api.settings import ApiSettings

APP = "https://app.example"


@pytest.fixture(autouse=True)
def required(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a gateway cannot start without, and nothing else of this machine."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@localhost/d")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost:1")
    for name in ("CORS_ORIGINS", "CORS_ALLOWED_ORIGINS", "LEGACY_EMPTY_LIST", "API_PROCESSES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["CORS_ORIGINS", "CORS_ALLOWED_ORIGINS"])
def test_both_names_of_the_origins_count(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f" {APP} , http://localhost:3000,")
    assert ApiSettings().origins() == {APP, "http://localhost:3000"}


def test_no_origin_may_call_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ApiSettings().origins() == frozenset()
    monkeypatch.setenv("CORS_ORIGINS", "")
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", APP)
    assert ApiSettings().origins() == {APP}


def test_both_names_may_be_given_with_the_same_origins_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{APP},http://localhost:3000")
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", f"http://localhost:3000, {APP.upper()}")
    assert len(ApiSettings().origins()) == 2
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", APP)
    with pytest.raises(ValidationError, match=r"CORS_ORIGINS and CORS_ALLOWED_ORIGINS .* differ: set CORS_ORIGINS"):
        ApiSettings()


@pytest.mark.parametrize("name", ["CORS_ORIGINS", "CORS_ALLOWED_ORIGINS"])
@pytest.mark.parametrize(
    "value", ["*", "null", "app.example", f"{APP}/", f"{APP}/path", "ftp://app.example", "http://"]
)
def test_what_is_no_origin_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=rf"(?i){name}[\s\S]*is not an origin"):
        ApiSettings()


def test_there_is_one_process_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ApiSettings().api_processes == 1
    monkeypatch.setenv("API_PROCESSES", "64")
    assert ApiSettings().api_processes == 64


@pytest.mark.parametrize("value", ["0", "-1", "65", "1.5", "many"])
def test_no_other_number_of_processes_is_accepted(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("API_PROCESSES", value)
    with pytest.raises(ValidationError, match=r"(?i)api_processes"):
        ApiSettings()


def test_several_processes_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.settings.IS_SUPPORTED", False)
    assert ApiSettings().api_processes == 1
    monkeypatch.setenv("API_PROCESSES", "2")
    with pytest.raises(ValidationError, match="API_PROCESSES above 1 needs Linux"):
        ApiSettings()
