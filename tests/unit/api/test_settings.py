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


AUTH = ("AUTH_MODE", "AUTH_NONE_ALLOW_REMOTE", "API_HOST", "API_KEYS_FILE", "REQUEST_ID_KEY", "RATE_LIMIT")
JWT = {"JWT_ISSUER": "https://login.example/", "JWT_AUDIENCE": "recommender", "JWT_JWKS": "https://login.example/keys"}


def set_only(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name in (*AUTH, *JWT, "JWT_ALGORITHMS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.security
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_without_authentication_a_gateway_listens_on_loopback(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    set_only(monkeypatch, API_HOST=host)
    assert ApiSettings().auth_mode == "none"


@pytest.mark.security
@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "0", "127.1", "localhost.example", "gateway", "10.0.0.1"]
)
def test_without_authentication_a_gateway_refuses_any_other_address(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    set_only(monkeypatch, API_HOST=host)
    with pytest.raises(ValidationError, match="AUTH_NONE_ALLOW_REMOTE=true"):
        ApiSettings()
    set_only(monkeypatch, API_HOST=host, AUTH_NONE_ALLOW_REMOTE="true")
    assert ApiSettings().api_host == host
    set_only(monkeypatch, API_HOST=host, AUTH_MODE="jwt", REQUEST_ID_KEY="x" * 16, **JWT)
    assert ApiSettings().api_host == host


@pytest.mark.parametrize("missing", ["API_KEYS_FILE", "REQUEST_ID_KEY"])
def test_api_keys_need_a_file_and_signed_request_ids(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    given = {"AUTH_MODE": "api_key", "API_KEYS_FILE": "keys.json", "REQUEST_ID_KEY": "x" * 16}
    set_only(monkeypatch, **given)
    assert ApiSettings().limit() == "1000/second"
    set_only(monkeypatch, **{name: value for name, value in given.items() if name != missing})
    with pytest.raises(ValidationError, match=f"AUTH_MODE=api_key needs {missing}"):
        ApiSettings()


@pytest.mark.parametrize("missing", [*JWT, "REQUEST_ID_KEY"])
def test_tokens_need_issuer_audience_keys_and_signed_request_ids(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    given = {"AUTH_MODE": "jwt", "REQUEST_ID_KEY": "x" * 16, **JWT}
    set_only(monkeypatch, **{name: value for name, value in given.items() if name != missing})
    with pytest.raises(ValidationError, match=f"AUTH_MODE=jwt needs {missing}"):
        ApiSettings()


@pytest.mark.security
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_MODE", "off"),
        ("JWT_ALGORITHMS", "none"),
        ("JWT_ALGORITHMS", "RS256,HS256"),
        ("JWT_ALGORITHMS", ","),
        ("JWT_JWKS", "http://login.example/keys"),
        ("JWT_JWKS", "file:///keys"),
        ("JWT_LEEWAY_SECONDS", "121"),
        ("RATE_LIMIT", "many"),
        ("RATE_LIMIT", "0/second"),
        ("RATE_LIMIT", "-1/second"),
        ("RATE_LIMIT", "1/second;5/minute"),
    ],
)
def test_what_would_weaken_the_gateway_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    set_only(monkeypatch, **{name: value})
    with pytest.raises(ValidationError, match=rf"(?i){name}"):
        ApiSettings()


def test_a_limit_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    set_only(monkeypatch, RATE_LIMIT="off")
    assert ApiSettings().limit() is None
