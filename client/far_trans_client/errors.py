"""What a call can raise.

FarTransError
    InvalidArgument         the call cannot be sent; nothing was sent
    ConnectionFailed        nobody answered, or the connection broke
        CallTimedOut        no answer in time
    ApiError                the gateway refused: status, title, detail, errors, outcome, retry_after_seconds
        NotFound            404
        Conflict            409
        InvalidRequest      422
        Unavailable         500, 502, 503, 504
    UnexpectedAnswer        the answer is not one of this API
        Redirected          to another address; it was not followed
        UnexpectedStatus    a status that the API does not have for this call
        UnexpectedContent   another content type or encoding
        NotJson             no JSON
        UnexpectedShape     JSON of another shape
        AnswerTooLarge      longer than the limit; the rest was not read
    ListNotReady            the list did not appear in time
    RequestFailed           the request for a list failed, and no later list exists
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["unknown", "not_accepted"]


class FarTransError(Exception):
    """A call did not do what was asked."""


class InvalidArgument(FarTransError, ValueError):
    """The call cannot be sent with these arguments; nothing was sent."""


class ConnectionFailed(FarTransError):
    """Nobody answered, or the connection broke; a call without a key may have had its effect."""


class CallTimedOut(ConnectionFailed):
    """No answer in time."""


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field."""

    field: str
    message: str


@dataclass(frozen=True)
class Problem:
    """An error as defined by RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] | None = None
    outcome: Outcome | None = None


class ApiError(FarTransError):
    """The gateway, or a proxy before it, answered with an error."""

    def __init__(self, call: str, problem: Problem, *, retry_after_seconds: float | None = None) -> None:
        self.status = problem.status
        self.type = problem.type
        self.title = problem.title
        self.detail = problem.detail
        self.errors = problem.errors or ()
        self.outcome = problem.outcome
        self.retry_after_seconds = retry_after_seconds
        faults = "; ".join(f"{fault.field}: {fault.message}" for fault in self.errors)
        super().__init__(f"{call}: {self.status} {faults or self.detail}")


class NotFound(ApiError):
    """There is no such customer, request, asset or version."""


class Conflict(ApiError):
    """This cannot be done now."""


class InvalidRequest(ApiError):
    """The request is not valid; `errors` names the fields."""


class Unavailable(ApiError):
    """Broker or database does not answer, or the gateway failed: try again later."""


class UnexpectedAnswer(FarTransError):
    """The answer is not one of this API."""


class Redirected(UnexpectedAnswer):
    """The answer names another address. The client follows none."""


class UnexpectedStatus(UnexpectedAnswer):
    """The API has no such status for this call."""


class UnexpectedContent(UnexpectedAnswer):
    """The content type or the content encoding is another one."""


class NotJson(UnexpectedAnswer):
    """The body is no JSON."""


class UnexpectedShape(UnexpectedAnswer):
    """The JSON has another shape; the message names the field."""


class AnswerTooLarge(UnexpectedAnswer):
    """The answer is longer than the limit; the rest was not read."""


class ListNotReady(FarTransError):
    """The request was accepted, but its list did not appear in time."""

    def __init__(self, request_id: str, *, timeout_seconds: float) -> None:
        self.request_id = request_id
        super().__init__(f"request {request_id} was accepted, but its list did not appear within {timeout_seconds:g} s")


class RequestFailed(FarTransError):
    """The request for a list failed, and no later list exists."""

    def __init__(self, request_id: str, *, reason: str | None) -> None:
        self.request_id = request_id
        self.reason = reason
        super().__init__(f"request {request_id} failed: {reason or 'the gateway gives no reason'}")


_BY_STATUS = {404: NotFound, 409: Conflict, 422: InvalidRequest} | dict.fromkeys((500, 502, 503, 504), Unavailable)


def build_api_error(call: str, problem: Problem, *, retry_after_seconds: float | None) -> ApiError:
    """Return the error of the problem's status."""
    return _BY_STATUS.get(problem.status, ApiError)(call, problem, retry_after_seconds=retry_after_seconds)
