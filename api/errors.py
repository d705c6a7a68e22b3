"""Every HTTP status of a failure, and how it is said: application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from api.schemas import FieldProblem, Problem
from shared.errors import DatabaseBusy, DatabaseUnavailable, PublishFailed, RecommenderError
from shared.logging import get_logger

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_SECONDS = "2"
SHOWN_ERRORS = 20
SHOWN_CHARACTERS = 200

_TITLES = {
    404: ("not-found", "There is no such thing"),
    400: ("not-http", "The request is no valid HTTP"),
    403: ("foreign-origin", "Web pages of this origin may not call"),
    405: ("method-not-allowed", "This path does not take this method"),
    408: ("too-slow", "The request did not arrive in time"),
    409: ("conflict", "This cannot be done now"),
    413: ("body-too-large", "The body is too large"),
    415: ("unsupported-media-type", "The body must be JSON and say so"),
    421: ("foreign-host", "This gateway has another name"),
    422: ("invalid-request", "The request is not valid"),
    431: ("header-too-large", "The header is too large"),
    500: ("internal-error", "The gateway failed"),
    503: ("unavailable", "Try again later"),
}

log = get_logger(__name__)


class InvalidField(RecommenderError):
    """One field of the request cannot be accepted."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotFound(RecommenderError):
    """What the path names does not exist."""


class Conflict(RecommenderError):
    """The resource exists but its state does not allow this request."""


class BodyTooLarge(HTTPException):
    """The body is larger than the gateway reads; the connection is closed, so the rest is never read."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"at most {limit_bytes} bytes are read", headers={"Connection": "close"})


class UnsupportedMediaType(HTTPException):
    """The body is not announced as JSON."""

    def __init__(self, message: str) -> None:
        super().__init__(415, message)


class DoubledKey(HTTPException):
    """An object of the body has one key twice."""

    def __init__(self, field: str) -> None:
        super().__init__(422, "this key is given twice")
        self.field = field[:SHOWN_CHARACTERS]


def install_problem_handlers(app: FastAPI) -> None:
    """Let every failure of a request be answered with a problem."""
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(InvalidField, _invalid_field)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(PublishFailed, _publish_failed)
    app.add_exception_handler(DatabaseUnavailable, _database_unavailable)
    app.add_exception_handler(HTTPException, _http_exception)


def body_too_large(limit_bytes: int) -> Response:
    """Reject a request whose `Content-Length` exceeds the limit."""
    error = BodyTooLarge(limit_bytes)
    return build_problem(error.status_code, error.detail, headers=error.headers)


def internal_error() -> Response:
    """What a caller sees of a bug: nothing of its inside."""
    return build_problem(500, "The failure is logged; the request was not at fault.")


async def _invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        FieldProblem(field=_field_name(each["loc"]), message=_message(each)) for each in error.errors()[:SHOWN_ERRORS]
    ]
    return build_problem(422, "See errors.", errors=found)


async def _invalid_field(_: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidField)
    return build_problem(422, "See errors.", errors=[FieldProblem(field=error.field, message=str(error))])


async def _not_found(_: Request, error: Exception) -> Response:
    return build_problem(404, str(error))


async def _conflict(_: Request, error: Exception) -> Response:
    return build_problem(409, str(error))


async def _publish_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, PublishFailed)
    outcome: Literal["unknown", "not_accepted"] = "unknown" if error.outcome_unknown else "not_accepted"
    log.warning("publish.failed", path=request.url.path, outcome=outcome, error=str(error))
    headers = {"Retry-After": RETRY_AFTER_SECONDS, **_request_id(request.scope)}
    detail = "The event broker has not acknowledged the event."
    return build_problem(503, detail, outcome=outcome, headers=headers)


async def _database_unavailable(request: Request, error: Exception) -> Response:
    if isinstance(error, DatabaseBusy):
        log.warning("database.busy", path=request.url.path, error=str(error))
        detail = "Too many reads wait for a database connection."
    else:
        log.warning("database.unavailable", path=request.url.path, error=str(error))
        detail = "The database cannot be read."
    headers = {"Retry-After": RETRY_AFTER_SECONDS}
    # Nothing is published before a read that a request needs.
    outcome: Literal["not_accepted"] | None = "not_accepted" if request.method == "POST" else None
    return build_problem(503, detail, outcome=outcome, headers=headers)


async def _http_exception(_: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses; a body that it cannot parse is the caller's 422."""
    assert isinstance(error, HTTPException)
    if isinstance(error, DoubledKey):
        return build_problem(422, "See errors.", errors=[FieldProblem(field=error.field, message=error.detail)])
    if error.status_code == 400:
        return build_problem(422, "See errors.", errors=[FieldProblem(field="body", message=error.detail)])
    return build_problem(error.status_code, error.detail, headers=error.headers)


def build_problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[FieldProblem] | None = None,
    outcome: Literal["unknown", "not_accepted"] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    name, title = _TITLES.get(status, ("error", "The request failed"))
    problem = Problem(
        type=f"urn:far-trans-recommender:problem:{name}",
        title=title,
        status=status,
        detail=detail,
        errors=None if errors is None else list(errors),
        outcome=outcome,
    )
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, status, headers=dict(headers or {}), media_type=PROBLEM_JSON)


def _field_name(location: Sequence[Any]) -> str:
    """Return `weights.content` for ("body", "weights", "content"), and `body` for what is wrong as a whole."""
    source, *path = location
    if source == "body" and (not path or isinstance(path[0], int)):
        return "body"
    return ".".join(str(part) for part in path)[:SHOWN_CHARACTERS]


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"not JSON: {error['ctx']['error']}"
    return str(error["msg"])


def _request_id(scope: Scope) -> dict[str, str]:
    request_id = scope.get("state", {}).get("request_id")
    return {} if request_id is None else {"X-Request-ID": str(request_id)}
