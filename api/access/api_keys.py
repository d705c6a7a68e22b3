"""API keys: `frk_ID_SECRET`, of which the file of keys has the id and the SHA-256 of the secret.

The file is written by script/api_keys.py. The gateway reads it again within a second after a change.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.access.principals import CUSTOMER_SCOPES, Principal, Scope
from api.errors import unauthorized
from shared.errors import ConfigurationInvalid
from shared.identifiers import PLAIN_TEXT_PATTERN, CustomerId
from shared.logging import get_logger

LOOK_SECONDS = 1.0
SECRET_BYTES = 32
MOST_FILE_BYTES = 16 * 1024 * 1024
_KEY = re.compile(r"frk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NOBODY = "0" * 64  # no SHA-256 that anybody knows a text of

log = get_logger(__name__)


class ApiKey(BaseModel):
    """One key as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str = Field(min_length=1, max_length=100, pattern=PLAIN_TEXT_PATTERN)
    scopes: frozenset[Scope] = Field(min_length=1)
    customer_id: CustomerId | None = None
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_customer_cannot_administer(self) -> ApiKey:
        if self.customer_id is not None and (more := self.scopes - CUSTOMER_SCOPES):
            raise ValueError(f"a key of one customer cannot have {', '.join(sorted(more))}")
        return self

    def is_valid(self) -> bool:
        """Return whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > datetime.now(UTC))


class ApiKeyFile(BaseModel):
    """The file of keys."""

    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = []

    @model_validator(mode="after")
    def _each_id_once(self) -> ApiKeyFile:
        if len({key.key_id for key in self.keys}) < len(self.keys):
            raise ValueError("a key_id is there twice")
        return self


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> str:
    """Return what the file keeps of a secret. A slow hash would protect nothing more: nobody guesses 256 bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_key_file(path: Path) -> ApiKeyFile:
    """Return the keys of a file; raises ConfigurationInvalid, which names the file and never what is in it."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise ConfigurationInvalid(f"{path}: more than {MOST_FILE_BYTES} bytes")
        return ApiKeyFile.model_validate_json(content)
    except OSError as error:
        raise ConfigurationInvalid(f"{path}: {error.strerror or type(error).__name__}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationInvalid(f"{path}: no file of keys: {place}: {first['msg']}") from None


class ApiKeys:
    """The keys of one file. A file that cannot be read changes nothing, and is logged; one without keys ends them all.

    Raises ConfigurationInvalid where the file cannot be read at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _version_of(path)
        self._keys = {key.key_id: key for key in read_key_file(path).keys}

    async def authenticate(self, credentials: str) -> Principal:
        """Return whose key this is; raises the 401 for any that is not valid now."""
        match = _KEY.fullmatch(credentials)
        key_id, secret = match.groups() if match else ("", "")
        key = self._keys.get(key_id)
        is_right = hmac.compare_digest(digest_of(secret), key.secret_sha256 if key else _NOBODY)
        if key is None or not is_right or not key.is_valid():
            raise unauthorized("The API key is not valid.")
        return Principal(f"key:{key_id}", key.scopes, key.customer_id, holds=lambda: self._holds(key))

    async def refresh_forever(self) -> None:
        """Read the file again whenever it was changed, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:  # a bug must not end the task unnoticed
                log.exception("api_keys.failed")

    def refresh(self) -> None:
        """Read the file again if it was changed since it was last read; one that cannot be read is tried each time."""
        seen = _version_of(self._path)
        if seen == self._seen:
            return
        try:
            self._keys = {key.key_id: key for key in read_key_file(self._path).keys}
        except ConfigurationInvalid as error:
            log.error("api_keys.unreadable", error=str(error))
        else:
            self._seen = seen
            log.info("api_keys.read", keys=len(self._keys))

    def _holds(self, key: ApiKey) -> bool:
        """Return whether the file still has this very key, and it is valid."""
        return self._keys.get(key.key_id) == key and key.is_valid()


def _version_of(path: Path) -> tuple[int, ...]:
    """Return what differs when the file was written or replaced; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
