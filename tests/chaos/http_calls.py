"""A small keep-alive HTTP/1.1 client on asyncio streams that knows whether a failed call may have had an effect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 25.0  # the gateway answers within its delivery timeout, 10 s


class NotSent(Exception):
    """No byte of the call left: it certainly has no effect."""


class NoAnswer(Exception):
    """The call left and no answer came: it may have an effect."""


@dataclass(frozen=True)
class Answer:
    """Status, headers with names in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One client's connection, opened when it is needed; one call at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Mapping[str, object], *, key: str | None = None) -> Answer:
        """Raises NotSent and NoAnswer."""
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        return await self._call("POST", path, json.dumps(body).encode(), headers)

    async def get(self, path: str) -> Answer:
        """Raises NotSent and NoAnswer."""
        return await self._call("GET", path, b"", {})

    def close(self) -> None:
        """Forget the connection; the next call opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _call(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        reader, writer = await self._open()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._read(reader)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            raise NoAnswer(repr(error)) from error
        except asyncio.CancelledError:
            self.close()
            raise

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # A gateway that died meanwhile has closed it: to write there would only make a known outcome unknown.
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()
        if self._streams is None:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            except (OSError, TimeoutError) as error:
                raise NotSent(repr(error)) from error
        return self._streams

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        status = int((await reader.readuntil(b"\r\n")).split(b" ", 2)[1])
        headers: dict[str, str] = {}
        while line := (await reader.readuntil(b"\r\n")).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, body)
