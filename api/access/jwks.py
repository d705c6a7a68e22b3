"""The public keys of an identity provider (RFC 7517), from a file or an https address, kept while it is away."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from api.errors import AccessUndecided
from shared.errors import describe_error
from shared.logging import get_logger

# Of an answer of the provider; its document has a few kilobytes.
FETCH_SECONDS = 5.0
MOST_BYTES = 256 * 1024
MOST_KEYS = 100
# Tokens with an unknown key id cause at most one read in this time, however many come.
LEAST_PAUSE_SECONDS = 30.0
LEAST_RSA_BITS = 2048
ALGORITHMS_OF_TYPE = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC": frozenset({"ES256", "ES384", "ES512"}),
    "OKP": frozenset({"EdDSA"}),
}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}

log = get_logger(__name__)


class JsonWebKeys:
    """Finds public keys by key id and algorithm. Keys that were read stay valid until another document replaces them.

    `fetch` returns the document as bytes, in a thread; it raises OSError or ValueError.
    """

    def __init__(
        self,
        fetch: Callable[[], bytes],
        *,
        algorithms: Sequence[str],
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._algorithms = frozenset(algorithms)
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._keys: dict[tuple[str | None, str], jwt.PyJWK] = {}
        self._ids: frozenset[str | None] = frozenset()
        self._read_at = float("-inf")
        self._attempt: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key, None where there is none. An unknown id may cause one read, which is awaited.

        Raises AccessUndecided while no document was ever read: the token may be valid.
        """
        if key_id not in self._ids:
            await self._read_for_unknown()
        if not self._ids:
            raise AccessUndecided
        return self._keys.get((key_id, algorithm))

    async def refresh_forever(self) -> None:
        """Read the document at once and then regularly, until cancelled; more often while there is none."""
        while True:
            await self._read_once()
            await asyncio.sleep(self._refresh_seconds if self._ids else min(self._refresh_seconds, LEAST_PAUSE_SECONDS))

    async def _read_for_unknown(self) -> None:
        is_under_way = self._attempt is not None and not self._attempt.done()
        if is_under_way or self._clock() - self._read_at >= LEAST_PAUSE_SECONDS:
            await self._read_once()

    async def _read_once(self) -> None:
        """Read the document; callers at the same time share one attempt. A failure is logged and changes nothing."""
        if self._attempt is None or self._attempt.done():
            self._read_at = self._clock()
            self._attempt = asyncio.create_task(self._read())
        await asyncio.shield(self._attempt)

    async def _read(self) -> None:
        try:
            self._keys = parse_keys(await asyncio.to_thread(self._fetch), self._algorithms)
            self._ids = frozenset(key_id for key_id, _ in self._keys)
        except Exception as error:  # whatever the provider sends: the known keys stay
            log.warning("jwks.not_read", error=describe_error(error))


def parse_keys(document: bytes, algorithms: frozenset[str]) -> dict[tuple[str | None, str], jwt.PyJWK]:
    """Return the keys for signatures by id and algorithm; raises ValueError for a document without a usable one.

    Keys of other types, symmetric ones among them, are left out, and so are RSA keys of less than 2,048 bits. An id
    that two keys have is nobody's.
    """
    parsed = json.loads(document)
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"no JSON Web Key Set of at most {MOST_KEYS} keys")
    found: dict[tuple[str | None, str], jwt.PyJWK] = {}
    twice = set()
    for one in listed:
        for algorithm in _algorithms_of(one, algorithms):
            place = one.get("kid"), algorithm
            if place in found:
                twice.add(place)
            if (key := _build_key(one, algorithm)) is not None:
                found[place] = key
    usable = {place: key for place, key in found.items() if place not in twice}
    if not usable:
        raise ValueError("the document has no key that could be used")
    return usable


def _algorithms_of(one: Any, allowed: frozenset[str]) -> frozenset[str]:
    if not isinstance(one, dict) or one.get("use") not in (None, "sig") or not isinstance(one.get("kid"), str | None):
        return frozenset()
    operations = one.get("key_ops")  # null, as some serializers write it, is as if it were not there
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return frozenset()
    if not isinstance(kind := one.get("kty"), str):
        return frozenset()
    possible = allowed & ALGORITHMS_OF_TYPE.get(kind, frozenset())
    possible = frozenset(name for name in possible if _CURVES.get(name) in (None, one.get("crv")))
    return possible & {one["alg"]} if isinstance(one.get("alg"), str) else possible


def _build_key(one: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    public = {name: value for name, value in one.items() if name != "d"}  # a private key has no place in the document
    try:
        key = jwt.PyJWK(public, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        log.warning("jwks.key_left_out", error=type(error).__name__)
        return None
    is_short = isinstance(key.key, RSAPublicKey) and key.key.key_size < LEAST_RSA_BITS
    return None if is_short else key


def fetch_from(source: str) -> Callable[[], bytes]:
    """Return what reads the document at this https address, or in this file."""
    if not source.startswith("https://"):
        return lambda: _bounded(Path(source).read_bytes())
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    return lambda: _fetch(opener, source)


def _fetch(opener: urllib.request.OpenerDirector, url: str) -> bytes:
    deadline, content = time.monotonic() + FETCH_SECONDS, b""
    with opener.open(url, timeout=FETCH_SECONDS) as response:
        while chunk := response.read1(64 * 1024):
            content = _bounded(content + chunk)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the document did not arrive within {FETCH_SECONDS} s")
    return content


def _bounded(content: bytes) -> bytes:
    if len(content) > MOST_BYTES:
        raise ValueError(f"the document has more than {MOST_BYTES} bytes")
    return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the address of the keys is configured, and another host's keys are not these keys."""

    def redirect_request(self, *_: Any) -> None:
        return None
