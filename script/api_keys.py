"""Make, list and revoke API keys of the gateway: python script/api_keys.py --help

The file (API_KEYS_FILE, or --file) keeps the SHA-256 of each secret. A gateway with AUTH_MODE=api_key reads the file
again within a second after it was changed.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("typer")

import typer
from pydantic import ValidationError

from api.access.api_keys import MOST_FILE_BYTES, ApiKey, ApiKeyFile, digest_of, new_secret, read_key_file
from api.access.principals import Scope
from shared.errors import ConfigurationInvalid

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
KeyFile = Annotated[Path, typer.Option("--file", envvar="API_KEYS_FILE", help="the file of keys")]


@app.command()
def create(
    file: KeyFile,
    name: Annotated[str, typer.Option(help="whose key it is, for people")],
    scope: Annotated[list[Scope], typer.Option(help="what it allows; can be repeated")],
    customer: Annotated[str | None, typer.Option(help="the only customer that exists for it")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="days until it expires")] = None,
) -> None:
    """Make a key and print it. It is printed this once: the file has only its SHA-256."""
    secret, key_id, now = new_secret(), secrets.token_hex(8), datetime.now(UTC)
    try:
        key = ApiKey(
            key_id=key_id,
            secret_sha256=digest_of(secret),
            name=name,
            scopes=frozenset(scope),
            customer_id=customer,
            created_at=now,
            expires_at=None if days is None else now + timedelta(days=days),
        )
    except ValidationError as error:
        _fail("; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors()))
    with _changed(file, may_be_new=True) as keys:
        keys.append(key)
    print(f"frk_{key_id}_{secret}")


@app.command("list")
def list_keys(file: KeyFile) -> None:
    """List the keys, without anything secret."""
    for key in _read(file).keys:
        state = "revoked" if key.revoked_at else "valid" if key.is_valid() else "expired"
        customer = f" customer={key.customer_id}" if key.customer_id else ""
        until = f" until {key.expires_at:%Y-%m-%d}" if key.expires_at else ""
        print(f"{key.key_id} {state}{until} {' '.join(sorted(key.scopes))}{customer} {key.name}")


@app.command()
def revoke(file: KeyFile, key_id: Annotated[str, typer.Argument(help="the 16 characters after `frk_`")]) -> None:
    """Revoke a key; gateways refuse it within seconds, without a restart."""
    with _changed(file) as keys:
        places = [place for place, key in enumerate(keys) if key.key_id == key_id]
        if not places:
            _fail(f"{file} has no key {key_id}")
        if keys[places[0]].revoked_at is None:
            keys[places[0]] = keys[places[0]].model_copy(update={"revoked_at": datetime.now(UTC)})
    print(f"{key_id} is revoked")


@contextmanager
def _changed(path: Path, *, may_be_new: bool = False) -> Iterator[list[ApiKey]]:
    """Let the keys of the file be changed, by one process at a time; the file is replaced as a whole at the end."""
    path = path.resolve()  # what a link names is replaced, not the link
    if not path.exists() and not may_be_new:
        _fail(f"{path}: there is no such file")
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = _read(path).keys if path.exists() else []
        yield keys
        content = ApiKeyFile(keys=keys).model_dump_json(indent=2, exclude_none=True) + "\n"
        if len(content.encode()) > MOST_FILE_BYTES:
            _fail(f"{path} would have more than {MOST_FILE_BYTES} bytes: remove revoked and expired keys from it")
        try:
            _replace(path, content)
        except OSError as error:
            _fail(f"{path}: {error.strerror}")


def _replace(path: Path, content: str) -> None:
    """Replace the file as a whole, with the mode and the owner of the one before it; a new one is its owner's alone."""
    before = path.stat() if path.exists() else None
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if before is not None:
                os.fchmod(descriptor, before.st_mode & 0o777)
                if (before.st_uid, before.st_gid) != (os.getuid(), os.getgid()):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _read(path: Path) -> ApiKeyFile:
    try:
        return read_key_file(path)
    except ConfigurationInvalid as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
