"""Attacks on tokens, and on the way to the keys that verify them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Coroutine
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.exceptions import HTTPException

from api.access.jwks import LEAST_PAUSE_SECONDS, MOST_BYTES, JsonWebKeys, fetch_from, parse_keys
from api.access.principals import Principal, Scope
from api.access.tokens import Tokens
from tests.access import ALGORITHMS, ISSUER, READ, Provider, claims, key_set, private_key, public_jwk, token, tokens_of

pytestmark = pytest.mark.security


def run(call: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(call)


async def outcome(tokens: Tokens, credentials: str) -> Principal | int:
    try:
        return await tokens.authenticate(credentials)
    except HTTPException as error:
        return error.status_code


def answer(credentials: str, provider: Provider | None = None) -> Principal | int:
    found: Principal | int = run(outcome(tokens_of(provider or Provider()), credentials))
    return found


def part(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_hand(header: Any, payload: Any, signature: bytes = b"") -> str:
    return f"{part(header)}.{part(payload)}.{part(signature)}"


def with_secret(secret: bytes, algorithm: str = "HS256", **header: Any) -> str:
    """A token signed with a shared secret, by hand: libraries refuse to make it with a public key."""
    import hashlib
    import hmac

    content = f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': 'RSA', **header})}.{part(claims())}"
    return f"{content}.{part(hmac.digest(secret, content.encode(), hashlib.sha256))}"


@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP"])
def test_a_valid_token_gives_its_subject_scopes_and_customer(kind: str) -> None:
    found = answer(token(kind, scope=f"{READ} events:write openid", customer_id="C1"))

    assert isinstance(found, Principal)
    assert found.name == "sub:app"
    assert found.scopes == {Scope.RECOMMENDATIONS_READ, Scope.EVENTS_WRITE}
    assert found.customer_id == "C1"


def test_scopes_may_be_a_list_and_may_have_the_other_name() -> None:
    for changed in ({"scope": None, "scp": "audit:read"}, {"scope": ["audit:read", 1, "x"]}):
        found = answer(token(**changed))
        assert isinstance(found, Principal)
        assert found.scopes == {Scope.AUDIT_READ}


NOW = int(time.time())
WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": NOW - 60},
    "expires at infinity": {"exp": float("inf")},
    "expires never": {"exp": None},
    "expiry is text": {"exp": "tomorrow"},
    "not yet": {"nbf": NOW + 600},
    "issued later": {"iat": NOW + 600},
    "other audience": {"aud": "other"},
    "audience begins like it": {"aud": "far-trans-recommender-test"},
    "audience is a part of it": {"aud": "far-trans"},
    "no audience": {"aud": None},
    "empty audience": {"aud": []},
    "audience is a number": {"aud": 1},
    "other issuer": {"iss": "https://evil.example/"},
    "issuer without its end": {"iss": ISSUER[:-1]},
    "issuer in a list": {"iss": [ISSUER]},
    "no issuer": {"iss": None},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "subject is a number": {"sub": 7},
    "long subject": {"sub": "x" * 257},
    "customer is a list": {"customer_id": ["C1"]},
    "customer is empty": {"customer_id": ""},
    "customer is a number": {"customer_id": 1},
    "customer is a path": {"customer_id": "../C1"},
}


@pytest.mark.parametrize("name", WRONG_CLAIMS)
def test_a_token_with_wrong_claims_is_401(name: str) -> None:
    assert answer(token(**WRONG_CLAIMS[name])) == 401


def test_a_customer_that_is_null_does_not_give_all_customers() -> None:
    signed = jwt.encode({**claims(), "customer_id": None}, private_key("RSA"), "RS256", headers={"kid": "RSA"})
    assert answer(signed) == 401


def test_the_leeway_is_bounded_and_holds() -> None:
    tokens = tokens_of(Provider(), leeway_seconds=60.0)
    assert isinstance(run(outcome(tokens, token(exp=int(time.time()) - 20))), Principal)
    assert run(outcome(tokens, token(exp=int(time.time()) - 90))) == 401


def public_pem() -> bytes:
    key: bytes = private_key("RSA").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key


FOREIGN_JWK = {name: value for name, value in public_jwk("RSA").items() if name != "use"}
FORGED: dict[str, Any] = {
    "none algorithm": lambda: by_hand({"alg": "none", "typ": "JWT", "kid": "RSA"}, claims()),
    "None algorithm": lambda: by_hand({"alg": "None", "kid": "RSA"}, claims()),
    "no algorithm": lambda: by_hand({"kid": "RSA"}, claims(), b"x"),
    "algorithm is a list": lambda: by_hand({"alg": ["RS256"], "kid": "RSA"}, claims(), b"x"),
    "no signature": lambda: token().rpartition(".")[0] + ".",
    "other payload": lambda: ".".join([token().split(".")[0], part(claims(sub="admin")), token().split(".")[2]]),
    "changed signature": lambda: token()[:-8] + "AAAAAAAA",
    "HS with the public key as PEM": lambda: with_secret(public_pem()),
    "HS with the public key as JWK": lambda: with_secret(json.dumps(public_jwk("RSA")).encode()),
    "HS with the modulus": lambda: with_secret(public_jwk("RSA")["n"].encode()),
    "HS with nothing": lambda: with_secret(b""),
    "RS named, HS signed": lambda: with_secret(public_pem(), "RS256"),
    "foreign key, known id": lambda: token("foreign", header={"kid": "RSA"}),
    "foreign key, own id": lambda: token("foreign"),
    "foreign key in jwk": lambda: token("foreign", header={"kid": "RSA", "jwk": public_jwk("foreign")}),
    "foreign key in jwk, own id": lambda: token("foreign", header={"jwk": public_jwk("foreign")}),
    "foreign key at jku": lambda: token("foreign", header={"kid": "RSA", "jku": "https://evil.example/keys"}),
    "foreign key at x5u": lambda: token("foreign", header={"kid": "RSA", "x5u": "https://evil.example/cert"}),
    "foreign key in x5c": lambda: token("foreign", header={"kid": "RSA", "x5c": ["MIIB"]}),
    "key id is a path": lambda: token("foreign", header={"kid": "../../../../dev/null"}),
    "no key id": lambda: jwt.encode(claims(), private_key("RSA"), "RS256"),
    "key of another type": lambda: token("EC", header={"kid": "RSA"}),
    "critical extension": lambda: token(header={"crit": ["b64"], "b64": False}),
    "unknown critical extension": lambda: token(header={"crit": ["x"], "x": 1}),
    "key id is a number": lambda: by_hand({"alg": "RS256", "kid": 1}, claims(), b"x"),
    "deep header": lambda: f"{part(b'[' * 3000)}.{part(claims())}.{part(b'x')}",
    "five parts": lambda: "a.b.c.d.e",
    "words": lambda: "let me in",
    "nothing": lambda: "",
    "too long": lambda: token(sub="x" * 200, more="y" * 9000),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_401_and_fetches_nothing_that_it_names(name: str) -> None:
    provider = Provider()
    assert answer(FORGED[name](), provider) == 401
    assert provider.reads <= 1


def test_a_short_key_and_a_shared_secret_of_the_document_are_not_used() -> None:
    secret = {"kty": "oct", "kid": "secret", "k": part(b"x" * 32), "alg": "HS256"}
    document = json.dumps({"keys": [public_jwk("RSA"), public_jwk("short"), secret]}).encode()
    keys = parse_keys(document, frozenset([*ALGORITHMS, "HS256"]))
    assert set(keys) == {("RSA", "RS256")}


@pytest.mark.parametrize(
    "fields", [{"use": "enc"}, {"alg": "RS512"}, {"key_ops": ["sign"]}, {"key_ops": 1}, {"kid": 1}]
)
def test_a_key_for_another_purpose_is_not_used(fields: dict[str, Any]) -> None:
    document = json.dumps({"keys": [public_jwk("EC"), public_jwk("RSA", **fields)]}).encode()
    assert set(parse_keys(document, frozenset(ALGORITHMS))) == {("EC", "ES256")}


@pytest.mark.parametrize("fields", [{"use": None}, {"key_ops": None}, {"alg": None}])
def test_a_field_that_is_null_is_as_if_it_were_absent(fields: dict[str, Any]) -> None:
    document = json.dumps({"keys": [public_jwk("RSA", **fields)]}).encode()
    assert set(parse_keys(document, frozenset(ALGORITHMS))) == {("RSA", "RS256")}


def test_an_id_that_two_keys_have_is_nobodys() -> None:
    document = json.dumps({"keys": [public_jwk("EC"), public_jwk("RSA"), public_jwk("foreign", kid="RSA")]}).encode()
    assert set(parse_keys(document, frozenset(ALGORITHMS))) == {("EC", "ES256")}


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys":[]}', b'{"keys":{}}', b'{"keys":[1,null,{}]}', b"\xff"]
)
def test_what_is_no_set_of_keys_leaves_the_known_keys(document: bytes) -> None:
    async def call() -> None:
        provider = Provider()
        now = [0.0]
        tokens = tokens_of(provider, clock=lambda: now[0])
        assert isinstance(await outcome(tokens, token()), Principal)
        provider.document, now[0] = document, LEAST_PAUSE_SECONDS
        assert await outcome(tokens, token("foreign")) == 401
        assert provider.reads == 2
        assert isinstance(await outcome(tokens, token()), Principal)

    run(call())


def test_an_absent_provider_does_not_stop_tokens_of_known_keys_and_a_gateway_without_keys_says_503() -> None:
    async def call() -> None:
        provider, now = Provider(), [0.0]
        provider.failure = OSError("away")
        tokens = tokens_of(provider, clock=lambda: now[0])
        assert await outcome(tokens, token()) == 503
        provider.failure, now[0] = None, LEAST_PAUSE_SECONDS
        assert isinstance(await outcome(tokens, token()), Principal)
        provider.failure, now[0] = OSError("away"), 1e6
        for _ in range(3):
            assert isinstance(await outcome(tokens, token()), Principal)
        assert await outcome(tokens, token("foreign")) == 401

    run(call())


def test_a_storm_of_unknown_key_ids_reads_the_document_once() -> None:
    async def call() -> None:
        provider, now = Provider(), [0.0]
        tokens = tokens_of(provider, clock=lambda: now[0])
        storm = [token("foreign", header={"kid": f"unknown {number}"}) for number in range(100)]
        assert set(await asyncio.gather(*(outcome(tokens, one) for one in storm))) == {401}
        assert provider.reads == 1
        now[0] = LEAST_PAUSE_SECONDS - 1
        assert {await outcome(tokens, one) for one in storm} == {401}
        assert provider.reads == 1

    run(call())


def test_a_new_key_of_the_provider_is_found_at_its_first_token() -> None:
    async def call() -> None:
        provider, now = Provider(key_set("EC")), [0.0]
        tokens = tokens_of(provider, clock=lambda: now[0])
        assert isinstance(await outcome(tokens, token("EC")), Principal)
        provider.document, now[0] = key_set("RSA"), LEAST_PAUSE_SECONDS
        assert isinstance(await outcome(tokens, token("RSA")), Principal)
        assert await outcome(tokens, token("EC")) == 401, "a key that was taken out is not valid any more"

    run(call())


def test_a_file_of_keys_is_read_and_one_that_is_too_long_is_not(tmp_path: Any) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set("RSA"))
    assert fetch_from(str(path))() == key_set("RSA")
    path.write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(ValueError, match="more than"):
        fetch_from(str(path))()


def test_the_background_reads_at_once_and_the_first_token_waits_for_no_second_read() -> None:
    async def call() -> None:
        provider = Provider()
        keys = JsonWebKeys(provider.fetch, algorithms=ALGORITHMS, refresh_seconds=300.0)
        refreshing = asyncio.create_task(keys.refresh_forever())
        await asyncio.sleep(0)
        assert await keys.find("RSA", "RS256") is not None
        assert provider.reads == 1
        refreshing.cancel()

    run(call())
