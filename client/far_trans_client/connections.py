"""What both clients do around httpx: addresses, timeouts, bounded bodies, and the translation of its errors."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from far_trans_client.errors import (
    AnswerTooLarge,
    CallTimedOut,
    ConnectionFailed,
    InvalidArgument,
    UnexpectedContent,
)
from far_trans_client.exchanges import Limits
from far_trans_client.messages import Answer, Operation

# An answer that is not compressed cannot be longer than what is read of it.
_CREDENTIALS = re.compile(r"[\x21-\x7e]{1,8192}")
_HEADERS = {
    "Accept": "application/json, application/problem+json",
    "Accept-Encoding": "identity",
    "User-Agent": "far-trans-client",
}


class BearerAuth(httpx.Auth):
    """Sends `Authorization: Bearer ...` with every request; its text does not show the secret."""

    def __init__(self, secret: str) -> None:
        self._header = f"Bearer {secret}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        request.headers["Authorization"] = self._header
        yield request


@dataclass(frozen=True)
class Options:
    """What a client of httpx is built with."""

    url: str
    address: str  # without the name and the password that the URL may have
    headers: dict[str, str]
    trust_env: bool
    auth: BearerAuth | None = None


def build_options(
    url: str, headers: Mapping[str, str] | None, *, api_key: str | None = None, token: str | None = None
) -> Options:
    """Return the options for this gateway.

    Raises InvalidArgument for what is no http or https URL, and for credentials that are given twice or are no header.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidArgument(f"{url!r} is not a URL: {error}") from error
    is_host = re.fullmatch(rb"[A-Za-z0-9_.:-]+", parsed.raw_host) is not None
    if parsed.scheme not in ("http", "https") or not is_host or parsed.query or parsed.fragment:
        raise InvalidArgument(f"{url!r} is not the URL of a gateway, as http://127.0.0.1:8000 is")
    # Proxies that the environment names must not see requests to this very machine.
    is_loopback = parsed.host in {"localhost", "::1"} or parsed.host.startswith("127.")
    address = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}{parsed.path}".rstrip("/")
    headers = {**_HEADERS, **(headers or {})}
    auth = _build_auth(headers, has_user=bool(parsed.userinfo), given={"api_key": api_key, "token": token})
    return Options(url.rstrip("/"), address, headers, trust_env=not is_loopback, auth=auth)


def _build_auth(headers: Mapping[str, str], *, has_user: bool, given: Mapping[str, str | None]) -> BearerAuth | None:
    secrets = {name: secret for name, secret in given.items() if secret is not None}
    ways = [*secrets, *(["a user in the URL"] if has_user else [])]
    ways += [f"the header {name}" for name in headers if name.lower() == "authorization"]
    if not secrets:
        return None
    if len(ways) > 1:
        raise InvalidArgument(f"give credentials once: there are {' and '.join(ways)}")
    [(name, secret)] = secrets.items()
    if not _CREDENTIALS.fullmatch(secret):
        raise InvalidArgument(f"{name} must be 1 to 8192 visible ASCII characters, without `Bearer`")
    return BearerAuth(secret)


def build_request(
    http: httpx.Client | httpx.AsyncClient, operation: Operation[object], limits: Limits, *, seconds: float
) -> httpx.Request:
    """Return the request of an operation; raises InvalidArgument."""
    content = operation.content
    headers = {**operation.headers, **({} if content is None else {"Content-Type": "application/json"})}
    timeout = httpx.Timeout(seconds, connect=min(seconds, limits.connect_timeout_seconds))
    try:
        return http.build_request(operation.method, operation.target, content=content, headers=headers, timeout=timeout)
    except httpx.InvalidURL as error:
        raise InvalidArgument(f"{operation.method} {operation.path}: {error}") from error


@contextmanager
def translate_errors(operation: Operation[object], *, address: str) -> Iterator[None]:
    """Raise the errors of httpx as those of this package."""
    call = f"{operation.method} {address}{operation.path}"
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise CallTimedOut(f"{call}: no answer in time ({type(error).__name__})") from error
    except (httpx.LocalProtocolError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise InvalidArgument(f"{call}: {error}") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise ConnectionFailed(f"{call}: {error or type(error).__name__}") from error


def check_encoding(response: httpx.Response) -> None:
    """Raise UnexpectedContent for a compressed answer, before anything of it is unpacked."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnexpectedContent(f"the content encoding is {encoding[:80]!r}, which was not asked for")


class BodyReader:
    """Collects the body of a response; raises AnswerTooLarge past the limit and CallTimedOut past the deadline.

    The timeouts of httpx are those between two chunks.
    """

    def __init__(self, response: httpx.Response, limits: Limits, *, deadline: float) -> None:
        self._response = response
        self._most = limits.most_answer_bytes
        self._deadline = deadline
        self._content = bytearray()
        declared = response.headers.get("Content-Length", "")
        if declared.isascii() and declared.isdecimal() and len(declared) < 20 and int(declared) > self._most:
            raise AnswerTooLarge(f"the answer has {declared} bytes, the limit is {self._most}")

    def add(self, chunk: bytes) -> None:
        """Take a chunk."""
        self._content += chunk
        if len(self._content) > self._most:
            raise AnswerTooLarge(f"the answer is longer than {self._most} bytes")
        if time.monotonic() > self._deadline:
            raise CallTimedOut("the answer did not end in time")

    def answer(self) -> Answer:
        """Return the whole response."""
        return Answer(self._response.status_code, self._response.headers, bytes(self._content))
