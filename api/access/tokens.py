"""Access tokens: signed JWTs of an identity provider (RFC 7519, RFC 9068), verified with its public keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jwt

from api.access.jwks import JsonWebKeys
from api.access.principals import Principal, Scope
from api.errors import unauthorized
from shared.identifiers import is_customer_id

MOST_TOKEN_CHARACTERS = 8192
MOST_SUBJECT_CHARACTERS = 256
_REQUIRED = ["exp", "aud", "iss", "sub"]
_SCOPES = {scope.value: scope for scope in Scope}


class Tokens:
    """Verifies tokens of one issuer for one audience. Only the header's `alg` and `kid` are read, to find the key."""

    def __init__(
        self,
        keys: JsonWebKeys,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        leeway_seconds: float,
        customer_claim: str,
    ) -> None:
        self._keys = keys
        self._issuer, self._audience = issuer, audience
        self._algorithms = list(algorithms)
        self._leeway_seconds = leeway_seconds
        self._customer_claim = customer_claim

    async def authenticate(self, credentials: str) -> Principal:
        """Return whose token this is; raises the 401 for any that is not valid now, and AccessUndecided."""
        if len(credentials) > MOST_TOKEN_CHARACTERS:
            raise unauthorized("The token is too long.")
        try:
            header = jwt.get_unverified_header(credentials)
            key_id, algorithm = header.get("kid"), header.get("alg")
            if algorithm not in self._algorithms:
                raise unauthorized("The token is not valid.")
            if (key := await self._keys.find(key_id, algorithm)) is None:
                raise unauthorized("The token is not valid.")
            return self._principal(self._verify(credentials, key))
        except jwt.ExpiredSignatureError:
            raise unauthorized("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise unauthorized("The token is not valid.") from None

    async def refresh_forever(self) -> None:
        """Keep the public keys up to date until cancelled."""
        await self._keys.refresh_forever()

    def _verify(self, credentials: str, key: jwt.PyJWK) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            credentials,
            key,
            algorithms=self._algorithms,
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway_seconds,
            options={"require": _REQUIRED},
        )
        return claims

    def _principal(self, claims: dict[str, Any]) -> Principal:
        """Return the principal of verified claims; raises ValueError for claims of another form."""
        subject, customer_id = claims["sub"], claims.get(self._customer_claim)
        if not subject or len(subject) > MOST_SUBJECT_CHARACTERS:
            raise ValueError("sub")
        is_bound = self._customer_claim in claims
        # A claim that cannot be read must not give access to all customers.
        if is_bound and (not isinstance(customer_id, str) or not is_customer_id(customer_id)):
            raise ValueError(self._customer_claim)
        ends_at = int(claims["exp"]) + self._leeway_seconds
        return Principal(f"sub:{subject}", _scopes(claims), customer_id, holds=lambda: time.time() < ends_at)


def _scopes(claims: dict[str, Any]) -> frozenset[Scope]:
    """Return the scopes of `scope`, or of `scp` as some providers name it: words in a text, or a list of texts."""
    given = claims.get("scope", claims.get("scp", ""))
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else ()
    return frozenset(_SCOPES[word] for word in words if isinstance(word, str) and word in _SCOPES)
