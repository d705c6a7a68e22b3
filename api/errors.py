"""The HTTP status of every failure, and its body: application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from api.schemas.answers import FieldProblem, Outcome, Problem
from shared.errors import DatabaseBusy, DatabaseUnavailable, PublishFailed
from shared.logging import get_logger

RETRY_AFTER = {"Retry-After": "2"}
SHOWN_ERRORS = 20
SHOWN_CHARACTERS = 200

_TITLES = {
    400: ("not-http", "The request is no valid HTTP"),
    401: ("unauthorized", "The gateway does not know who calls"),
    403: ("foreign-origin", "Web pages of this origin may not call"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "This path does not take this method"),
    408: ("too-slow", "The request did not arrive in time"),
    409: ("conflict", "This cannot be done now"),
    413: ("body-too-large", "The body is too large"),
    415: ("unsupported-media-type", "The body must be JSON and say so"),
    421: ("foreign-host", "This gateway has another name"),
    422: ("invalid-request", "The request is not valid"),
    429: ("too-many-requests", "Requests come too often"),
    431: ("header-too-large", "The header is too large"),
    500: ("internal-error", "The gateway failed"),
    503: ("unavailable", "Try again later"),
}

_MISSING_SCOPE = ("missing-scope", "Key or token do not allow this")

log = get_logger(__name__)


# What the gateway raises when it does not serve a request, with the `detail` of the problem.
not_found = partial(HTTPException, 404)
conflict = partial(HTTPException, 409)
body_too_large = partial(HTTPException, 413, headers={"Connection": "close"})  # the rest is never read
unsupported_media_type = partial(HTTPException, 415)
unavailable = partial(HTTPException, 503, headers=RETRY_AFTER)


REALM = 'Bearer realm="far-trans-recommender"'


def unauthorized(detail: str, *, is_missing: bool = False) -> HTTPException:
    """Return the 401 for credentials that are missing or not valid (RFC 6750)."""
    challenge = REALM if is_missing else f'{REALM}, error="invalid_token"'
    return HTTPException(401, detail, headers={"WWW-Authenticate": challenge})


class MissingScope(HTTPException):
    """Key or token lack the scope, which the 403 names (RFC 6750)."""

    def __init__(self, scope: str) -> None:
        challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
        super().__init__(403, f"The scope {scope} is missing.", headers={"WWW-Authenticate": challenge})


def unknown_customer() -> HTTPException:
    """Return the 404 for a customer that is unknown, or of which the caller must not know."""
    return not_found("The customer is unknown and has no list.")


def too_many_requests(limit: str, *, seconds: int) -> HTTPException:
    """Return the 429 for a caller over its limit."""
    return HTTPException(429, f"The limit is {limit}.", headers={"Retry-After": str(seconds)})


class AccessUndecided(HTTPException):
    """The keys of the identity provider were never read, so no token can be verified."""

    def __init__(self) -> None:
        super().__init__(503, "The keys that verify tokens are not there yet.", headers=RETRY_AFTER)


class TooManyWaiters(HTTPException):
    """The limit of waiting clients is reached."""

    def __init__(self) -> None:
        super().__init__(503, "Too many clients wait for lists.", headers=RETRY_AFTER)


class GatewayStopping(HTTPException):
    """The gateway stops, so nobody waits any longer."""

    def __init__(self) -> None:
        super().__init__(503, "The gateway stops.", headers=RETRY_AFTER)


class InvalidField(HTTPException):
    """One field of the request is not valid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(422, message)
        self.field = field[:SHOWN_CHARACTERS]


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every failure of a request with a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


def route_of(scope: Scope) -> str:
    """Return the template of the route, for logs and metrics: a path can hold the id of a customer."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


async def answer_failure(request: Request, error: Exception) -> Response:
    """Return the problem for one of ANSWERED_FAILURES, as the application does."""
    handler = next(handler for kind, handler in _HANDLERS.items() if isinstance(error, kind))
    return await handler(request, error)


def build_problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    outcome: Outcome | None = None,
    title: tuple[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response with this status, and its standard title unless another one is given."""
    problem = describe_problem(status, detail, errors=errors, outcome=outcome, title=title)
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, status, headers=headers, media_type="application/problem+json")


def describe_problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    outcome: Outcome | None = None,
    title: tuple[str, str] | None = None,
) -> Problem:
    """Return the problem of this status with its standard title, or with the name and text of another one."""
    name, text = title or _TITLES.get(status, ("error", "The request failed"))
    return Problem(
        type=f"urn:far-trans-recommender:problem:{name}",
        title=text,
        status=status,
        detail=detail,
        errors=list(errors) or None,
        outcome=outcome,
    )


def describe_fields(errors: Sequence[Mapping[str, Any]]) -> list[FieldProblem]:
    """Return what is wrong with which field, from the errors of pydantic; their `loc` starts with the source."""
    return [FieldProblem(field=_field_name(each["loc"]), message=_message(each)) for each in errors]


def describe_publish_failure(error: PublishFailed) -> Problem:
    """Return the problem of an event that the broker has not acknowledged."""
    outcome: Outcome = "unknown" if error.outcome_unknown else "not_accepted"
    return describe_problem(503, "The event broker has not acknowledged the event.", outcome=outcome)


async def _answer_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return build_problem(422, "See errors.", errors=describe_fields(error.errors()[:SHOWN_ERRORS]))


async def _answer_publish_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, PublishFailed)
    problem = describe_publish_failure(error)
    log.warning("publish.failed", route=route_of(request.scope), outcome=problem.outcome, error=str(error))
    headers = {**RETRY_AFTER, "X-Request-ID": str(request.state.request_id)}
    return build_problem(503, problem.detail, outcome=problem.outcome, headers=headers)


async def _answer_database_unavailable(request: Request, error: Exception) -> Response:
    is_busy = isinstance(error, DatabaseBusy)
    event = "database.busy" if is_busy else "database.unavailable"
    log.warning(event, route=route_of(request.scope), error=str(error))
    detail = "Too many reads wait for a database connection." if is_busy else "The database cannot be read."
    # Requests that need a read publish only after it.
    outcome: Outcome | None = "not_accepted" if request.method == "POST" else None
    return build_problem(503, detail, outcome=outcome, headers=RETRY_AFTER)


async def _answer_http_exception(_: Request, error: Exception) -> Response:
    """Answer what the gateway or the framework refuses; a body that the framework cannot parse is a 422."""
    assert isinstance(error, HTTPException)
    if isinstance(error, InvalidField) or error.status_code == 400:
        field = error.field if isinstance(error, InvalidField) else "body"
        return build_problem(422, "See errors.", errors=[FieldProblem(field=field, message=error.detail)])
    if isinstance(error, MissingScope):
        return build_problem(403, error.detail, title=_MISSING_SCOPE, headers=error.headers)
    return build_problem(error.status_code, error.detail, headers=error.headers)


def _field_name(location: Sequence[Any]) -> str:
    """Return `weights.content` for ("body", "weights", "content"), and `body` for the body as a whole."""
    source, *path = location
    if source == "body" and (not path or isinstance(path[0], int)):
        return "body"
    return ".".join(str(part) for part in path)[:SHOWN_CHARACTERS]


def _message(error: Mapping[str, Any]) -> str:
    return f"not JSON: {error['ctx']['error']}" if error["type"] == "json_invalid" else str(error["msg"])


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    RequestValidationError: _answer_validation_error,
    PublishFailed: _answer_publish_failed,
    DatabaseUnavailable: _answer_database_unavailable,
    HTTPException: _answer_http_exception,
}
ANSWERED_FAILURES = tuple(_HANDLERS)
