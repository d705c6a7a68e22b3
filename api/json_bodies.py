"""Parse request bodies as strict JSON: any bytes give a value or a problem response, never a 500."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pydantic_core
from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.errors import InvalidField, unsupported_media_type
from api.gateway import Gateway

# A browser sends a preflight request before a page of another origin can send this header.
REQUESTED_WITH = "X-Requested-With"


class JsonRequest(Request):
    """A request whose JSON is parsed by pydantic: bounded depth, bounded numbers, valid UTF-8 only."""

    async def json(self) -> Any:
        """Return the parsed body; raises InvalidField for a duplicate key, which other parsers could read differently.

        NaN and Infinity are parsed, so that the validation can name their field.
        """
        body = await self.body()
        try:
            parsed = pydantic_core.from_json(body, allow_inf_nan=True)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error
        if body.count(b":") != _count_keys(parsed):
            duplicate = _find_duplicate_key(json.loads(body, object_pairs_hook=tuple))
            if duplicate is not None:
                raise InvalidField(duplicate, "this key is given twice")
        return parsed


def parse_plainly(body: bytes) -> Any:
    """Return the value of a body as `JsonRequest` does; None for null, and for a body that it may refuse."""
    try:
        parsed = pydantic_core.from_json(body, allow_inf_nan=True)
    except ValueError:
        return None
    return parsed if body.count(b":") == _count_keys(parsed) else None


class JsonRoute(APIRoute):
    """A route that parses its body with `JsonRequest` and rejects a POST that any web page could send.

    Every route that is not public is one: nothing of a request is read before access control has admitted it.
    """

    bodyless_post_needs_header = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of FastAPI, called with a JsonRequest."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            gateway: Gateway = request.app.state.gateway
            if gateway.access is not None:
                customer_id = request.path_params.get("customer_id")
                await gateway.access.admit(request.scope, self.path, customer_id=customer_id)
            if request.method != "POST":  # no other method has a body
                return await handle(request)
            _require_json(request, bodyless_needs_header=self.bodyless_post_needs_header)
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json


class BareRoute(JsonRoute):
    """A JsonRoute whose POST without a body needs no header, as programs of the first version send none.

    A web page of another origin cannot send it: browsers name the origin of each POST, and `RequestGuard` refuses it.
    """

    bodyless_post_needs_header = False


def _require_json(request: Request, *, bodyless_needs_header: bool) -> None:
    """Raise unless the headers declare plain JSON in UTF-8.

    A POST without a body needs a JSON content type or `X-Requested-With`: a browser sends a preflight request before a
    page of another origin can send either.
    """
    headers = request.headers
    encodings = headers.getlist("content-encoding")
    if any(encoding.strip().lower() not in ("", "identity") for encoding in encodings):
        raise unsupported_media_type(f"Content-Encoding must be identity, not {encodings[0]!r}")
    types = headers.getlist("content-type")
    if len(types) == 1 and _is_json(types[0]):
        return
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
    if not types and not has_body and (headers.get(REQUESTED_WITH) or not bodyless_needs_header):
        return
    given = repr(types[0][:100]) if types else "absent"
    hint = "" if has_body else f" A request without a body can send {REQUESTED_WITH} instead."
    raise unsupported_media_type(
        f"Content-Type must be application/json, with no charset but utf-8. It is {given}.{hint}"
    )


def _count_keys(value: Any) -> int:
    """Return the number of keys of all objects in `value`.

    Each key of the text has a colon, and a duplicate has no key in the value: with as many colons there is none. A
    colon within a text only makes the count differ, never agree.
    """
    if isinstance(value, dict):
        return len(value) + sum(_count_keys(inner) for inner in value.values() if isinstance(inner, dict | list))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _find_duplicate_key(value: Any) -> str | None:
    """Return the path of a duplicate key in the form `weights.content`.

    An object of `value` is a tuple of its keys and values, an array is a list; their depth must be bounded.
    """
    seen = set()
    for name, inner in value if isinstance(value, tuple) else enumerate(value) if isinstance(value, list) else ():
        if name in seen:
            return str(name)
        seen.add(name)
        if (found := _find_duplicate_key(inner)) is not None:
            return f"{name}.{found}"
    return None


def _is_json(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    main, _, subtype = media_type.partition("/")
    if main != "application" or (subtype != "json" and not subtype.endswith("+json")):
        return False
    charsets = [value.strip('"') for name, _, value in (one.partition("=") for one in parameters) if name == "charset"]
    return all(charset in ("utf-8", "utf8") for charset in charsets)
