"""API keys are valid while the file says so; the file keeps no secret; the script writes what the gateway reads."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from typer.testing import CliRunner

from api.access.api_keys import ApiKeys, digest_of, read_key_file
from api.access.principals import Principal, Scope
from script.api_keys import app
from shared.errors import ConfigurationInvalid

SECRET, OTHER = "s" * 43, "t" * 43
KEY_ID = "0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def key(**changed: Any) -> dict[str, Any]:
    valid = {
        "key_id": KEY_ID,
        "secret_sha256": digest_of(SECRET),
        "name": "app",
        "scopes": ["recommendations:read"],
        "created_at": "2026-01-02T03:04:05Z",
    }
    return {**valid, **changed}


def write(path: Path, *keys: dict[str, Any]) -> None:
    """Replace the file, as an administrator's tools do."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"keys": keys}))
    new.replace(path)


async def whose(keys: ApiKeys, credentials: str) -> Principal | None:
    try:
        return await keys.authenticate(credentials)
    except HTTPException as error:
        return None if error.status_code == 401 else pytest.fail(str(error))


def run(call: Coroutine[Any, Any, Principal | None]) -> Any:
    return asyncio.run(call)


def test_a_key_gives_its_scopes_and_its_customer(path: Path) -> None:
    write(path, key(customer_id="C1"))

    found = run(whose(ApiKeys(path), f"frk_{KEY_ID}_{SECRET}"))

    assert (found.name, found.scopes, found.customer_id) == (f"key:{KEY_ID}", {Scope.RECOMMENDATIONS_READ}, "C1")


@pytest.mark.parametrize(
    "credentials",
    [
        f"frk_{KEY_ID}_{OTHER}",
        f"frk_{KEY_ID[::-1]}_{SECRET}",
        f"frk_{KEY_ID}_",
        f"frk_{KEY_ID}_{SECRET}x",
        f"{KEY_ID}_{SECRET}",
        f"frk_{KEY_ID}_{digest_of(SECRET)}",
        f"frk_{KEY_ID}_{SECRET}\n",
        "",
        "é",
    ],
)
def test_anything_but_the_key_is_refused(path: Path, credentials: str) -> None:
    write(path, key())
    assert run(whose(ApiKeys(path), credentials)) is None


@pytest.mark.parametrize("name", ["revoked_at", "expires_at"])
def test_a_revoked_and_an_expired_key_are_refused(path: Path, name: str) -> None:
    past, ahead = datetime.now(UTC) - timedelta(seconds=1), datetime.now(UTC) + timedelta(days=1)
    write(path, key(**{name: past.isoformat()}))
    assert run(whose(ApiKeys(path), f"frk_{KEY_ID}_{SECRET}")) is None
    write(path, key(expires_at=ahead.isoformat()))
    assert run(whose(ApiKeys(path), f"frk_{KEY_ID}_{SECRET}")) is not None


def test_a_change_of_the_file_counts_without_a_restart(path: Path) -> None:
    write(path, key())
    keys = ApiKeys(path)
    principal = run(whose(keys, f"frk_{KEY_ID}_{SECRET}"))
    assert principal.holds()

    write(path, key(revoked_at="2026-01-02T03:04:05Z"))
    keys.refresh()

    assert run(whose(keys, f"frk_{KEY_ID}_{SECRET}")) is None
    assert not principal.holds(), "a stream that began before ends"


def test_a_stream_ends_when_its_key_loses_a_scope(path: Path) -> None:
    write(path, key(scopes=["recommendations:read", "events:write"]))
    keys = ApiKeys(path)
    principal = run(whose(keys, f"frk_{KEY_ID}_{SECRET}"))

    write(path, key(scopes=["events:write"]))
    keys.refresh()

    assert not principal.holds()


def test_a_file_that_could_not_be_read_is_read_although_it_does_not_change(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, key())
    keys = ApiKeys(path)
    write(path, key(revoked_at="2026-01-02T03:04:05Z"))

    def refuse(_: Path) -> None:
        raise ConfigurationInvalid("permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("api.access.api_keys.read_key_file", refuse)
        keys.refresh()
    assert run(whose(keys, f"frk_{KEY_ID}_{SECRET}")) is not None
    keys.refresh()

    assert run(whose(keys, f"frk_{KEY_ID}_{SECRET}")) is None


def test_a_bug_does_not_end_the_task_that_reads_the_file_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, key())
    keys, calls = ApiKeys(path), []

    def fail() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise asyncio.CancelledError
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(keys, "refresh", fail)
    monkeypatch.setattr("api.access.api_keys.LOOK_SECONDS", 0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keys.refresh_forever())

    assert len(calls) == 2


def test_a_key_that_was_taken_out_of_the_file_is_refused(path: Path) -> None:
    write(path, key())
    keys = ApiKeys(path)
    principal = run(whose(keys, f"frk_{KEY_ID}_{SECRET}"))

    write(path)
    keys.refresh()

    assert run(whose(keys, f"frk_{KEY_ID}_{SECRET}")) is None
    assert not principal.holds()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b'{"keys": [{}]}', b'{"keys": 1}', b'{"key": []}'])
def test_a_file_that_cannot_be_read_changes_nothing_and_stops_a_start(path: Path, content: bytes | None) -> None:
    write(path, key())
    keys = ApiKeys(path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    keys.refresh()

    assert run(whose(keys, f"frk_{KEY_ID}_{SECRET}")) is not None
    with pytest.raises(ConfigurationInvalid, match=re.escape(str(path))):
        ApiKeys(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"scopes": ["models:admin"], "customer_id": "C1"},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"secret_sha256": "x"},
        {"customer_id": ""},
        {"expires_at": "2026-01-02"},
        {"more": 1},
    ],
)
def test_a_file_with_a_key_that_is_not_valid_is_refused_as_a_whole_without_its_content(
    path: Path, changed: dict[str, Any]
) -> None:
    write(path, key(**changed))
    with pytest.raises(ConfigurationInvalid) as error:
        read_key_file(path)
    assert digest_of(SECRET) not in str(error.value)


def test_two_keys_with_one_id_are_refused(path: Path) -> None:
    write(path, key(), key(secret_sha256=digest_of(OTHER)))
    with pytest.raises(ConfigurationInvalid, match="twice"):
        read_key_file(path)


def command(path: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [words[0], "--file", str(path), *words[1:]])
    assert result.exit_code == 0, result.output
    return result.output.strip()


def test_the_script_makes_lists_and_revokes_keys_that_the_gateway_knows(path: Path) -> None:
    first = command(path, "create", "--name", "app", "--scope", "events:write", "--scope", "recommendations:read")
    second = command(path, "create", "--name", "one customer", "--scope", "recommendations:read", "--customer", "C1")
    keys = ApiKeys(path)
    assert run(whose(keys, first)).scopes == {Scope.EVENTS_WRITE, Scope.RECOMMENDATIONS_READ}
    assert run(whose(keys, second)).customer_id == "C1"
    assert first.split("_", 2)[2] not in path.read_text(), "the file has no secret"
    assert path.stat().st_mode & 0o077 == 0

    command(path, "revoke", first.split("_")[1])
    keys.refresh()

    assert run(whose(keys, first)) is None
    assert run(whose(keys, second)) is not None
    lines = command(path, "list").splitlines()
    assert [line.split()[1] for line in lines] == ["revoked", "valid"]
    assert "customer=C1" in lines[1]


@pytest.mark.parametrize(
    "words",
    [
        ["create", "--name", "x", "--scope", "models:admin", "--customer", "C1"],
        ["create", "--name", "x", "--scope", "everything"],
        ["create", "--name", "x"],
        ["create", "--name", "x", "--scope", "events:write", "--customer", "../C1"],
        ["revoke", "0" * 16],
    ],
)
def test_the_script_refuses_what_makes_no_sense_and_leaves_the_file(path: Path, words: list[str]) -> None:
    write(path, key())
    before = path.read_bytes()

    assert CliRunner().invoke(app, [words[0], "--file", str(path), *words[1:]]).exit_code != 0
    assert path.read_bytes() == before


def test_a_secret_has_256_random_bits(path: Path) -> None:
    secrets = {command(path, "create", "--name", "x", "--scope", "audit:read").split("_", 2)[2] for _ in range(3)}
    assert len(secrets) == 3
    assert {len(secret) for secret in secrets} == {43}
