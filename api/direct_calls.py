"""The plain form of the three calls of the contract, answered without the framework's work per request (decision 40).

Half of a request's CPU time is the framework's: routing, solving of dependencies, exit stacks. A request that has no
option that these need is answered by the same endpoint functions directly. Every other request, and every one that is
not valid, goes on to the routes with its body unread or replayed, so that there is one place for each refusal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ANSWERED_FAILURES, answer_failure
from api.gateway import EventPublication, Gateway
from api.json_bodies import parse_plainly
from api.routes.interactions import record_interaction
from api.routes.lists import read_recommendations, request_recommendations
from api.schemas.interactions import InteractionBody
from api.schemas.lists import RecommendationsBody
from shared.identifiers import is_customer_id

Publishing = Callable[[Any, EventPublication], Awaitable[Response]]

_LISTS = "/recommendations/"
_POSTS: dict[str, tuple[type[BaseModel], Publishing]] = {
    "/recommendations": (RecommendationsBody, request_recommendations),
    "/user_interactions": (InteractionBody, record_interaction),
}
# A POST with one of these, or with another type, is a matter of the routes.
_OPTIONS = frozenset({b"idempotency-key", b"content-encoding", b"transfer-encoding"})
_JSON = b"application/json"


class DirectCalls:
    """The innermost middleware; `routes` are those of the application, and give the metrics their labels."""

    def __init__(self, app: ASGIApp, *, gateway: Gateway, routes: list[BaseRoute]) -> None:
        self._app = app
        self._gateway = gateway
        self._routes = {route.endpoint: route for route in routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received: list[Message] = []
        try:
            response: Response | None = await self._answer(scope, receive, received)
        except ANSWERED_FAILURES as error:
            response = await answer_failure(Request(scope), error)
        if response is not None:
            await response(scope, receive, send)
        else:
            await self._app(scope, _replayed(received, receive) if received else receive, send)

    async def _answer(self, scope: Scope, receive: Receive, received: list[Message]) -> Response | None:
        """Return the answer to a plain call, None for any other; `received` gets what was read of the body."""
        if scope["type"] != "http" or scope["query_string"]:
            return None
        path, method = scope["path"], scope["method"]
        access = self._gateway.access
        if method == "POST" and path in _POSTS and _is_plain(scope):
            scope["route"] = self._routes[_POSTS[path][1]]  # also for the metrics of a refusal
            if access is not None:
                await access.admit(scope, path)
            await _receive_body(receive, received)
            return await self._publish(scope, received)
        if method == "GET" and path.startswith(_LISTS) and is_customer_id(customer_id := path[len(_LISTS) :]):
            scope["route"] = route = self._routes[read_recommendations]
            if access is not None:
                await access.admit(scope, route.path, customer_id=customer_id)
            return await read_recommendations(customer_id, self._gateway, Request(scope, receive))
        return None

    async def _publish(self, scope: Scope, received: list[Message]) -> Response | None:
        """Publish this body; return None where the routes have to say what is wrong with it."""
        model, endpoint = _POSTS[scope["path"]]
        if received[-1]["type"] != "http.request":
            return None
        parsed = parse_plainly(b"".join(message.get("body", b"") for message in received))
        if parsed is None:
            return None
        try:
            body = model.model_validate(parsed)
        except ValidationError:
            return None
        return await endpoint(body, EventPublication(self._gateway, Request(scope), None))


def _is_plain(scope: Scope) -> bool:
    """Return whether the headers announce a JSON body of a known length, and nothing that the routes decide on."""
    types = lengths = 0
    for name, value in scope["headers"]:
        if name in _OPTIONS:
            return False
        if name == b"content-type":
            if value != _JSON:
                return False
            types += 1
        lengths += name == b"content-length"
    return types == lengths == 1


async def _receive_body(receive: Receive, received: list[Message]) -> None:
    """Receive up to the end of the body, or to the departure of the client."""
    received.append(await receive())
    while received[-1].get("more_body"):
        received.append(await receive())


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def receive_again() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return receive_again
