"""Answers to GET that a client need not read twice, or not in full: entity tags with 304, and gzip."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_COMPRESSED_BYTES = 1024
# Larger bodies are compressed in a thread, and kept: they are pages of the catalogue and files of /docs.
THREAD_BYTES = 32 * 1024
CACHED_BYTES = 8 * 1024 * 1024
GZIP_LEVEL = 5
_COMPRESSED_TYPES = ("application/json", "application/problem+json", "text/")
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*')
_QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
# A key of the message that starts a response, between EntityResponse and ConditionalAnswers.
ENTITY = "entity"
# Bytes of CPython objects (measured: test_kept_lists).
_OF_ENTITY, _OF_HEADER = 600, 150
_ENTITY_HEADERS = frozenset({b"content-length", b"content-type", b"content-encoding"})


class ConditionalAnswers:
    """Adds a strong `ETag` to each complete 200 of a GET, answers 304 to a matching `If-None-Match`, and compresses.

    The tag is a digest of the body and of the headers `X-*`, so that a 304 never hides a change of either; the gzip
    form has a tag of its own. Streams and other methods pass unchanged. HEAD arrives here as GET (RequestBoundary).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._cache = _CompressedBodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_complete(message["headers"]):
                start = message  # until the body is there, of which the headers depend
                return
            if start is None:
                await send(message)
                return
            held, start = start, None
            if not message.get("more_body"):
                held, message = await self._finish(held, message, scope["headers"])
            await send(held)
            await send(message)

        await self._app(scope, receive, send_tagged)

    async def _finish(
        self, start: Message, message: Message, request: Sequence[tuple[bytes, bytes]]
    ) -> tuple[Message, Message]:
        """Return both messages of a complete answer as this request wants them."""
        entity: Entity | None = start.pop(ENTITY, None)
        if entity is None:
            entity = Entity(message.get("body", b""), start["headers"], is_tagged=start["status"] == 200)
        gzipped = entity.is_compressible and accepts_gzip(_values(request, b"accept-encoding"))
        headers = entity.headers_of(gzipped=gzipped)
        if entity.is_tagged and matches(entity.tag(gzipped=gzipped), _values(request, b"if-none-match")):
            headers = [one for one in headers if one[0] not in _ENTITY_HEADERS]
            return {**start, "status": 304, "headers": headers}, {**message, "body": b""}
        body = entity.body
        if gzipped:
            if (compressed := entity.compressed) is None:
                compressed = await self._cache.compress(body, key=entity.digest)
                entity.keep_compressed(compressed)
            body = compressed
            headers = [one for one in headers if one[0] != b"content-length"]
            headers += [(b"content-length", b"%d" % len(body)), (b"content-encoding", b"gzip")]
        return {**start, "headers": headers}, {**message, "body": body}


class Entity:
    """A complete answer to a GET: its body, its headers, and its tags, which need not be made for each request.

    `compressed` is kept where it has at most half the bytes of the body, as `size_bytes` counts.
    """

    __slots__ = ("_headers", "_tags", "body", "compressed", "digest", "is_compressible", "is_tagged")

    def __init__(self, body: bytes, headers: Sequence[tuple[bytes, bytes]], *, is_tagged: bool = True) -> None:
        """`headers`: as the answer has them without this module."""
        self.body = body
        self.compressed: bytes | None = None
        self.is_tagged = is_tagged
        self.is_compressible = len(body) >= MIN_COMPRESSED_BYTES and _is_compressible(headers)
        self.digest = _digest(body, headers)
        self._tags = f'"{self.digest}"', f'"{self.digest}-gzip"'
        varying = [(b"vary", b"Accept-Encoding")] if self.is_compressible else []
        self._headers = [*headers, *varying]

    def tag(self, *, gzipped: bool) -> str:
        """Return the tag of this form."""
        return self._tags[gzipped]

    def headers_of(self, *, gzipped: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers of this form, in a new list; the length is that of the body."""
        if not self.is_tagged:
            return [*self._headers]
        return [*self._headers, (b"etag", self._tags[gzipped].encode()), (b"cache-control", b"private, no-cache")]

    def keep_compressed(self, compressed: bytes) -> None:
        """Keep the gzip form of the body, unless it takes more than was counted for it."""
        if 2 * len(compressed) <= len(self.body):
            self.compressed = compressed

    @property
    def size_bytes(self) -> int:
        """Return the bytes of memory that this takes, with its gzip form."""
        headers = sum(len(name) + len(value) + _OF_HEADER for name, value in self._headers)
        return _OF_ENTITY + len(self.body) * 3 // 2 + headers


class EntityResponse(Response):
    """An answer whose entity is there already; one for each request."""

    def __init__(self, entity: Entity) -> None:
        self.entity = entity
        self.status_code, self.background = 200, None
        self.body, self.raw_headers = entity.body, entity.headers_of(gzipped=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; `ConditionalAnswers` takes the entity out."""
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers, ENTITY: self.entity})
        await send({"type": "http.response.body", "body": self.entity.body})


class _CompressedBodies:
    """Compresses; keeps the results of large bodies, those that were used last, up to `CACHED_BYTES`."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    async def compress(self, body: bytes, *, key: str) -> bytes:
        """Return `body` compressed; equal bodies have equal results."""
        if len(body) < THREAD_BYTES:
            return _gzip(body)
        if (kept := self._bodies.get(key)) is not None:
            self._bodies.move_to_end(key)
            return kept
        compressed = await asyncio.to_thread(_gzip, body)
        if key not in self._bodies:  # a request at the same time may have kept it
            self._bodies[key] = compressed
            self._bytes += len(compressed)
        while self._bytes > CACHED_BYTES:
            _, oldest = self._bodies.popitem(last=False)
            self._bytes -= len(oldest)
        return compressed


def matches(tag: str, values: Iterable[str]) -> bool:
    """Return whether `If-None-Match` names this tag, by the weak comparison (RFC 9110, 13.1.2); `*` names every tag.

    A value that is not valid names none, so that the client gets the whole answer.
    """
    joined = ",".join(values)
    if not joined:
        return False
    if joined.strip(" \t") == "*":
        return True
    position, named = 0, False
    while position < len(joined):
        if joined[position] in ", \t":
            position += 1
            continue
        if (found := _TAG.match(joined, position)) is None:
            return False
        named = named or found[1] == tag
        position = found.end()
        if position < len(joined) and joined[position] != ",":
            return False
    return named


def accepts_gzip(values: Iterable[str]) -> bool:
    """Return whether `Accept-Encoding` allows gzip and does not prefer identity (RFC 9110, 12.5.3).

    A coding that is named twice counts with its lowest quality; a quality that is not valid counts as 0.
    """
    joined = ",".join(values).lower()
    if "gzip" not in joined and "*" not in joined:
        return False
    qualities: dict[str, float] = {}
    for element in joined.split(","):
        coding, *parameters = (part.strip(" \t") for part in element.split(";"))
        coding = coding.removeprefix("x-")
        qualities[coding] = min(qualities.get(coding, 1.0), _quality(parameters))
    others = qualities.get("*", 0.0)
    gzip = qualities.get("gzip", others)
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _quality(parameters: Sequence[str]) -> float:
    if not parameters:
        return 1.0
    name, _, value = parameters[0].partition("=")
    is_valid = len(parameters) == 1 and name == "q" and _QUALITY.fullmatch(value)
    return float(value) if is_valid else 0.0


def _is_complete(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether the answer comes as a whole: a stream does not announce its length."""
    return any(name == b"content-length" for name, _ in headers)


def _is_compressible(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    media_type = next((value for name, value in headers if name == b"content-type"), b"").decode("latin-1")
    return media_type.startswith(_COMPRESSED_TYPES)


def _digest(body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> str:
    digest = blake2b(body, digest_size=16)
    for name, value in headers:
        if name.startswith(b"x-"):
            digest.update(b"\n%b:%b" % (name, value))
    return digest.hexdigest()


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for each, value in headers if each == name]


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()
