"""Keys and tokens: sent with every request, shown by nothing, refused where they are no header."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from far_trans_client import AsyncClient, Client
from far_trans_client.connections import BearerAuth, build_options
from far_trans_client.errors import ApiError, InvalidArgument

URL, SECRET = "http://gateway.example", "frk_0123456789abcdef_secret"
ALIVE = {"status": "ok"}


def answering(seen: list[httpx.Request], status: int = 200) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        problem = {"type": "x", "title": "no", "status": status, "detail": "not valid"}
        kind = "application/json" if status == 200 else "application/problem+json"
        return httpx.Response(status, json=ALIVE if status == 200 else problem, headers={"Content-Type": kind})

    return httpx.MockTransport(answer)


@pytest.mark.parametrize("way", ["api_key", "token"])
def test_both_clients_send_credentials_with_every_request(way: str) -> None:
    seen: list[httpx.Request] = []
    with Client(URL, transport=answering(seen), **{way: SECRET}) as client:  # type: ignore[arg-type]
        client.live()
        client.live()

    async def call() -> None:
        async with AsyncClient(URL, transport=answering(seen), **{way: SECRET}) as client:  # type: ignore[arg-type]
            await client.live()

    asyncio.run(call())
    assert [request.headers.get_list("authorization") for request in seen] == [[f"Bearer {SECRET}"]] * 3


def test_without_credentials_no_header_is_sent() -> None:
    seen: list[httpx.Request] = []
    with Client(URL, transport=answering(seen)) as client:
        client.live()
    assert "authorization" not in seen[0].headers


@pytest.mark.parametrize("secret", ["", " ", "two words", "line\nfeed", "caf\xe9", "x" * 8193])
@pytest.mark.parametrize("way", ["api_key", "token"])
def test_what_is_no_header_is_refused_and_not_shown(way: str, secret: str) -> None:
    with pytest.raises(InvalidArgument, match=way) as error:
        Client(URL, **{way: secret})  # type: ignore[arg-type]
    assert not secret.strip() or secret not in str(error.value)


def test_credentials_are_given_once() -> None:
    for url, headers, more in (
        (URL, None, {"api_key": SECRET, "token": SECRET}),
        (URL, {"authorization": "Basic x"}, {"token": SECRET}),
        ("http://user:password@gateway.example", None, {"api_key": SECRET}),
    ):
        with pytest.raises(InvalidArgument, match="once") as error:
            build_options(url, headers, **more)
        assert SECRET not in str(error.value)
        assert "password" not in str(error.value)


def test_a_refusal_is_an_error_without_the_secret_and_is_not_repeated() -> None:
    seen: list[httpx.Request] = []
    with Client(URL, api_key=SECRET, transport=answering(seen, 401)) as client:
        with pytest.raises(ApiError) as error:
            client.live()
        assert error.value.status == 401
        assert len(seen) == 1
        assert SECRET not in str(error.value) + repr(client) + repr(BearerAuth(SECRET))
