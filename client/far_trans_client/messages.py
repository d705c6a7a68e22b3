"""One request and its answer: how a request is written, and what of an answer is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import httpx

from far_trans_client.decoding import decode, parse_json
from far_trans_client.errors import (
    FarTransError,
    InvalidArgument,
    Problem,
    Redirected,
    UnexpectedAnswer,
    UnexpectedContent,
    UnexpectedStatus,
    build_api_error,
)

T_co = TypeVar("T_co", covariant=True)
KEY_HEADER = "Idempotency-Key"
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Answer:
    """A response that was read to its end."""

    status: int
    headers: httpx.Headers
    content: bytes


@dataclass(frozen=True)
class Operation(Generic[T_co]):
    """One request, and how to read its answer; `path` is the template of the OpenAPI document."""

    method: str
    path: str
    read: Callable[[Answer], T_co]
    path_values: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    # Statuses that `read` takes; others are errors.
    statuses: tuple[int, ...] = (200,)

    @property
    def is_repeatable(self) -> bool:
        """Return whether sending it twice has one effect."""
        return self.method == "GET" or KEY_HEADER in self.headers

    @property
    def target(self) -> str:
        """Return path and query; raises InvalidArgument for values that a path cannot carry."""
        try:
            segments = {name: quote(value, safe="") for name, value in self.path_values.items()}
            query = urlencode({name: _text(value) for name, value in self.query.items() if value is not None})
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{self.method} {self.path}: {error}") from error
        for name, segment in segments.items():
            if segment in ("", ".", ".."):
                raise InvalidArgument(f"{self.method} {self.path}: {name} cannot be {segment!r}")
        return self.path.format(**segments) + (f"?{query}" if query else "")

    @property
    def content(self) -> bytes | None:
        """Return the body as JSON, without the fields that are None; raises InvalidArgument."""
        if self.body is None:
            return None
        known = {name: value for name, value in self.body.items() if value is not None}
        try:
            return json.dumps(known, allow_nan=False, default=_plain).encode()
        except (ValueError, TypeError) as error:
            raise InvalidArgument(f"{self.method} {self.path}: {error}") from error

    def finish(self, answer: Answer) -> T_co:
        """Return what the answer says; raises ApiError or UnexpectedAnswer, with the name of the call."""
        check_status(self, answer)
        try:
            return self.read(answer)
        except UnexpectedAnswer as error:
            raise type(error)(f"{self.method} {self.path}: {error}") from error


def check_status(operation: Operation[Any], answer: Answer) -> None:
    """Raise the error that the answer stands for, if it stands for one."""
    if answer.status in operation.statuses:
        return
    call = f"{operation.method} {operation.path}"
    if 300 <= answer.status < 400:
        location = answer.headers.get("Location", "")[:_SHOWN_CHARACTERS]
        raise Redirected(f"{call}: {answer.status} to {location!r}, which the client does not follow")
    if answer.status < 400:
        raise UnexpectedStatus(f"{call}: {answer.status}")
    raise build_api_error(call, _read_problem(answer), retry_after_seconds=retry_after_seconds(answer.headers))


def retry_after_seconds(headers: httpx.Headers) -> float | None:
    """Return the seconds of Retry-After; of a date, those since the answer's own `Date`. None for anything else."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        again_at, sent_at = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (again_at - sent_at).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def read_json(answer: Answer) -> Any:
    """Return the body; raises UnexpectedContent and NotJson."""
    content_type = answer.headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnexpectedContent(f"the content type is {content_type[:_SHOWN_CHARACTERS]!r}, not application/json")
    return parse_json(answer.content)


def _read_problem(answer: Answer) -> Problem:
    """Return the problem; one with the beginning of the text for what is none, as a proxy sends it."""
    try:
        problem = decode(Problem, parse_json(answer.content))
    except FarTransError:
        text = answer.content[: 4 * _SHOWN_CHARACTERS].decode(errors="replace")[:_SHOWN_CHARACTERS]
        return Problem("about:blank", "The request failed", answer.status, text)
    return Problem(**{**vars(problem), "status": answer.status})


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value, dict_factory=_without_none)
    return str(value) if isinstance(value, UUID) else NotImplemented


def _without_none(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value is not None}
