"""The stream of a followed customer, without any I/O: server-sent events from bytes, and when to connect again."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import httpx

from far_trans_client.answers import ListEvent
from far_trans_client.decoding import decode, parse_json
from far_trans_client.errors import AnswerTooLarge, ConnectionFailed, FarTransError, UnexpectedContent
from far_trans_client.exchanges import Limits, delay_before_retry
from far_trans_client.messages import Operation
from far_trans_client.operations import follow


@dataclass
class EventParser:
    """Makes events from a stream in the format of the HTML standard; raises AnswerTooLarge past the limit."""

    most_bytes: int
    retry_seconds: float | None = None
    _unread: bytearray = field(default_factory=bytearray)
    _skips_newline: bool = False
    _event: dict[str, str] = field(default_factory=dict)
    _data: list[str] = field(default_factory=list)
    _data_size: int = 0

    def feed(self, chunk: bytes) -> list[dict[str, str]]:
        """Return the events that this chunk completes, each with `data` and maybe `event` and `id`."""
        events = []
        for line in self._lines(chunk):
            if len(line) > self.most_bytes:
                raise self._too_large()
            if line:
                self._read_field(line)
            elif event := self._complete():
                events.append(event)
        if len(self._unread) + self._data_size > self.most_bytes:
            raise self._too_large()
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk completes: they end with LF, CR LF or CR."""
        if not chunk:
            return []
        if self._skips_newline:  # the second half of a CR LF that was cut
            chunk = chunk.removeprefix(b"\n")
        self._skips_newline = chunk.endswith(b"\r")
        self._unread += chunk
        if b"\n" not in chunk and b"\r" not in chunk:
            return []
        lines = bytes(self._unread).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._unread = bytearray(lines.pop())
        return lines

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._data_size += len(line)
        elif name in ("event", "id"):
            self._event[name] = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry_seconds = int(value[:9]) / 1000.0

    def _too_large(self) -> AnswerTooLarge:
        return AnswerTooLarge(f"an event is longer than {self.most_bytes} bytes")

    def _complete(self) -> dict[str, str] | None:
        event, data = self._event, self._data
        self._event, self._data, self._data_size = {}, [], 0
        return {**event, "data": "\n".join(data)} if data else None


class Following:
    """Where a client is in the lists of a customer, over all its connections."""

    def __init__(self, customer_id: str, limits: Limits, *, last_event_id: UUID | str | None = None) -> None:
        self._customer_id = customer_id
        self._limits = limits
        self._last_event_id = last_event_id
        self._failures = 0
        self._parser = EventParser(limits.most_event_bytes)

    def connect(self) -> Operation[None]:
        """Return what to send for the next connection."""
        self._parser = EventParser(self._limits.most_event_bytes, self._parser.retry_seconds)
        return follow(self._customer_id, last_event_id=self._last_event_id)

    def check_head(self, headers: httpx.Headers) -> None:
        """Raise UnexpectedContent unless an answer with these headers is a stream of events."""
        content_type = headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != "text/event-stream":
            raise UnexpectedContent(f"the content type is {content_type[:200]!r}, not text/event-stream")

    def receive(self, chunk: bytes) -> list[ListEvent]:
        """Return the lists that this chunk completes; raises UnexpectedAnswer."""
        self._failures = 0
        lists = []
        for event in self._parser.feed(chunk):
            if event.get("event") == "list":
                lists.append(decode(ListEvent, parse_json(event["data"].encode())))
                self._last_event_id = lists[-1].request_id
        return lists

    def delay_before_next(self, error: FarTransError | None) -> float:
        """Return the seconds before the next connection; raises `error` when too many connections failed in a row."""
        self._failures += 1
        if error is not None and self._failures >= self._limits.stream_attempts:
            raise error
        delay = delay_before_retry(error or ConnectionFailed(), self._failures, self._limits)
        return min(self._limits.longest_delay_seconds, max(delay, self._parser.retry_seconds or 0.0))
