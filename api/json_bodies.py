"""Request bodies as strict JSON: whatever bytes come, the answer is a value or a 422, never a failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pydantic_core
from fastapi import Request, Response
from fastapi.routing import APIRoute


class JsonRequest(Request):
    """A request whose JSON is read by pydantic's parser: bounded depth, bounded numbers, valid UTF-8 only."""

    async def json(self) -> Any:
        """Return the parsed body; NaN and Infinity come through, so that the field that holds them is named."""
        body = await self.body()
        try:
            return pydantic_core.from_json(body, allow_inf_nan=True)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


class JsonRoute(APIRoute):
    """A route that reads its body as `JsonRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, given requests of our kind."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json
