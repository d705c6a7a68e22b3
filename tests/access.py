"""Callers for tests: principals by their credentials, keys of an identity provider, and tokens signed with them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from api.access.control import AccessControl
from api.access.jwks import JsonWebKeys
from api.access.principals import Principal, Scope
from api.access.tokens import Tokens
from api.app import create_app
from api.errors import unauthorized
from api.gateway import Gateway
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader

ISSUER, AUDIENCE = "https://login.bank.example/", "far-trans-recommender"
ALGORITHMS = ["RS256", "ES256", "EdDSA"]
READ = Scope.RECOMMENDATIONS_READ.value
ALL_SCOPES = frozenset(Scope)
KEY_OF_REQUEST_IDS = "a secret of sixteen"


class KnownCallers:
    """An Authenticator that knows these credentials and nobody else."""

    def __init__(self, callers: Mapping[str, Principal]) -> None:
        self.callers = dict(callers)

    async def authenticate(self, credentials: str) -> Principal:
        if credentials not in self.callers:
            raise unauthorized("unknown")
        return self.callers[credentials]

    async def refresh_forever(self) -> None:
        await asyncio.Event().wait()


def caller(*scopes: Scope, customer_id: str | None = None, name: str = "caller") -> Principal:
    return Principal(name, frozenset(scopes), customer_id)


def bearer(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credentials}"}


@contextmanager
def guarded_client(publisher: FakePublisher, reader: FakeReader, access: AccessControl) -> Iterator[AsgiClient]:
    """The whole ASGI stack behind access control."""
    gateway = Gateway(publisher, reader, access=access, request_id_key=KEY_OF_REQUEST_IDS)
    with AsgiClient(create_app(gateway)) as client:
        client.run(gateway.catalogue.refresh)
        yield client


@cache
def private_key(kind: str) -> Any:
    """A key of the provider (`RSA`, `EC`, `OKP`), or of somebody else (`foreign`, `short`); made once."""
    if kind == "EC":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "OKP":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=1024 if kind == "short" else 2048)


ALGORITHM_OF = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "foreign": "RS256", "short": "RS256"}


def public_jwk(kind: str, **fields: Any) -> dict[str, Any]:
    """The public key as a member of a JSON Web Key Set, with its kind as its id."""
    algorithm = jwt.get_algorithm_by_name(ALGORITHM_OF[kind])
    found: dict[str, Any] = json.loads(algorithm.to_jwk(private_key(kind).public_key()))
    return {**found, "kid": kind, "use": "sig", **fields}


def key_set(*kinds: str) -> bytes:
    return json.dumps({"keys": [public_jwk(kind) for kind in kinds]}).encode()


def claims(**changed: Any) -> dict[str, Any]:
    """Valid claims; a value of None takes one away."""
    now = int(time.time())
    valid = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "app",
        "iat": now,
        "exp": now + 600,
        "scope": "recommendations:read",
    }
    return {name: value for name, value in {**valid, **changed}.items() if value is not None}


def token(kind: str = "RSA", *, header: Mapping[str, Any] | None = None, **changed: Any) -> str:
    """A token that is signed with the key of this kind."""
    headers = {"kid": kind, **(header or {})}
    payload = json.dumps(claims(**changed)).encode()  # `jwt.encode` refuses to make some that a test needs
    return jwt.PyJWS().encode(payload, private_key(kind), algorithm=ALGORITHM_OF[kind], headers=headers)


class Provider:
    """An identity provider: its document, and how often it was read."""

    def __init__(self, document: bytes | None = None) -> None:
        self.document = key_set("RSA", "EC", "OKP") if document is None else document
        self.failure: Exception | None = None
        self.reads = 0

    def fetch(self) -> bytes:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return self.document


def tokens_of(provider: Provider, *, leeway_seconds: float = 5.0, clock: Any = time.monotonic) -> Tokens:
    keys = JsonWebKeys(provider.fetch, algorithms=ALGORITHMS, refresh_seconds=300.0, clock=clock)
    return Tokens(
        keys,
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithms=ALGORITHMS,
        leeway_seconds=leeway_seconds,
        customer_claim="customer_id",
    )
