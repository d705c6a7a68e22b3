"""The secrets of docker compose: what .env gives, else what is there, else a new password."""

from __future__ import annotations

import shlex
import stat
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from script.compose_secrets import main


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two empty volumes, and no .env."""
    for name in ("database", "signing"):
        (tmp_path / name).mkdir()
    for name in ("POSTGRES_PASSWORD", "ARTIFACT_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def sourced(volumes: Path) -> dict[str, str]:
    """Return what a service gets: the shell of its entrypoint reads both files."""
    script = f'set -a; for file in {shlex.quote(str(volumes))}/*/env; do . "$file"; done; exec env -0'
    printed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={}).stdout
    found = dict(line.split("=", 1) for line in printed.split("\0") if line)
    return {name: found[name] for name in ("DATABASE_URL", "ARTIFACT_SIGNING_KEY")}


def password_of(volumes: Path) -> str:
    return (volumes / "database" / "password").read_text()


def test_a_first_start_makes_a_password_that_every_later_start_keeps(volumes: Path) -> None:
    assert main(volumes) == 0
    password, first = password_of(volumes), sourced(volumes)
    assert len(password) == 48
    assert first["DATABASE_URL"] == f"postgresql://recommender:{password}@postgres:5432/recommender"
    assert first["ARTIFACT_SIGNING_KEY"] == password

    assert main(volumes) == 0

    assert (password_of(volumes), sourced(volumes)) == (password, first)
    assert {stat.S_IMODE(path.stat().st_mode) for path in volumes.glob("*/env")} == {0o600}


def test_two_installations_have_different_passwords(volumes: Path) -> None:
    main(volumes)
    first = password_of(volumes)
    (volumes / "database" / "password").unlink()
    main(volumes)

    assert password_of(volumes) != first


def test_the_password_of_env_counts_and_stays_when_the_line_goes(
    volumes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(volumes)
    monkeypatch.setenv("POSTGRES_PASSWORD", "chosen")
    main(volumes)
    assert password_of(volumes) == "chosen"

    monkeypatch.setenv("POSTGRES_PASSWORD", "")  # an empty value counts as not set
    main(volumes)
    assert password_of(volumes) == "chosen"


@pytest.mark.parametrize("password", ["a b", "p@ss/w:rd?#%", 'it\'s "quoted" $HOME `id` \\', "ε", "-n"])
def test_any_password_reaches_database_and_services_unchanged(
    volumes: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", password)
    main(volumes)

    url = urlsplit(sourced(volumes)["DATABASE_URL"])
    assert (unquote(url.password or ""), url.hostname) == (password, "postgres")
    assert (password_of(volumes), sourced(volumes)["ARTIFACT_SIGNING_KEY"]) == (password, password)


def test_a_signing_key_of_its_own_changes_no_password(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main(volumes)
    password = password_of(volumes)
    monkeypatch.setenv("ARTIFACT_SIGNING_KEY", "new,old")
    main(volumes)

    assert (password_of(volumes), sourced(volumes)["ARTIFACT_SIGNING_KEY"]) == (password, "new,old")


def test_what_an_interrupted_start_left_half_written_is_not_used(volumes: Path) -> None:
    (volumes / "database" / "password.new").write_text("half")
    main(volumes)

    assert password_of(volumes) != "half"
    assert not list(volumes.glob("*/*.new"))
