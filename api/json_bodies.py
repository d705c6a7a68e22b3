"""Parse request bodies as strict JSON: any bytes give a value or a problem response, never a 500."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pydantic_core
from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.errors import DoubledKey, UnsupportedMediaType

# A browser sends a preflight request before a page of another origin can send this header.
REQUESTED_WITH = "X-Requested-With"


class JsonRequest(Request):
    """A request whose JSON is read by pydantic's parser: bounded depth, bounded numbers, valid UTF-8 only."""

    async def json(self) -> Any:
        """Return the parsed body; NaN and Infinity come through, so that the field that holds them is named.

        Raises DoubledKey: other readers of the same bytes might take the other value.
        """
        body = await self.body()
        try:
            parsed = pydantic_core.from_json(body, allow_inf_nan=True)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error
        if (doubled := find_doubled_key(body)) is not None:
            raise DoubledKey(doubled)
        return parsed


class JsonRoute(APIRoute):
    """A route that reads its body as `JsonRequest` does, and refuses a POST that any web page could send."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, given requests of our kind."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            if request.method == "POST":
                require_json(request)
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json


def require_json(request: Request) -> None:
    """Raise UnsupportedMediaType unless the body is announced as plain JSON in UTF-8.

    Without a body a JSON content type or `X-Requested-With` is needed all the same: both make a browser ask before a
    page of another origin sends the request.
    """
    headers = request.headers
    encodings = headers.getlist("content-encoding")
    if any(encoding.strip().lower() not in ("", "identity") for encoding in encodings):
        raise UnsupportedMediaType(f"Content-Encoding must be identity, not {encodings[0]!r}")
    types = headers.getlist("content-type")
    if len(types) == 1 and _is_json(types[0]):
        return
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
    if not types and not has_body and headers.get(REQUESTED_WITH):
        return
    given = repr(types[0][:100]) if types else "nothing"
    hint = "" if has_body else f" (or, without a body, send {REQUESTED_WITH})"
    raise UnsupportedMediaType(f"Content-Type must be application/json, with charset utf-8 if any, not {given}{hint}")


def find_doubled_key(body: bytes) -> str | None:
    """Return the path of a key that an object of this JSON has twice, in the form `weights.content`.

    The body must have been parsed once already: its depth and its numbers are bounded then.
    """
    parsed = json.loads(body, object_pairs_hook=_Pairs)
    return _find_doubled(parsed, ())


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object in their original order, duplicates included."""


def _find_doubled(value: Any, path: tuple[str, ...]) -> str | None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, inner in value:
            if name in seen:
                return ".".join((*path, name))
            seen.add(name)
            if (found := _find_doubled(inner, (*path, name))) is not None:
                return found
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            if (found := _find_doubled(inner, (*path, str(number)))) is not None:
                return found
    return None


def _is_json(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    main, _, subtype = media_type.partition("/")
    if main != "application" or (subtype != "json" and not subtype.endswith("+json")):
        return False
    charsets = [value.strip('"') for name, _, value in (one.partition("=") for one in parameters) if name == "charset"]
    return all(charset in ("utf-8", "utf8") for charset in charsets)
