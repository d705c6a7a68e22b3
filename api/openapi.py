"""The description of the API at /docs: headers, and problems as application/problem+json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from api.access.principals import ROUTE_SCOPES
from api.examples import ANSWER_EXAMPLES, LIST_EVENT_EXAMPLE, PROBLEM_EXAMPLES
from api.schemas.answers import FieldProblem, Problem
from api.schemas.lists import AwaitedList, ListEvent, QueuedList
from shared.served_list import RecommendationItem

DESCRIPTION = """
Personal, suitable and explained asset recommendations.

1. `POST /recommendations` requests a list: 200 as soon as the event broker has the request.
2. `GET /recommendations/{customer_id}` reads the newest list a moment later. With `request_id` and `wait` it answers as
   soon as the list of that request is there; with `explain` each item says in a sentence why it is there.
3. `POST /user_interactions` records a click: every list that is requested afterwards takes it into account. With
   `request_id` and `rank` it says which place of which list was clicked, or shown (`impression`).
4. `POST /transactions` records an executed order: what a customer holds is not recommended.

Failures are `application/problem+json` (RFC 9457). Any path can also answer 403 (web page of another origin), 404,
405, 421 (name of another host) and 500.

Each path has an alias with the prefix `/v1`, such as `/v1/assets`: the same operation, which is listed once here.

A 200 of a `GET` has a strong `ETag`: send it as `If-None-Match`, and the answer is 304 while nothing has changed.
Answers to `GET` of 1 KiB or more are compressed where `Accept-Encoding` allows gzip.
"""
TAGS = [
    {"name": "recommendations", "description": "Request, read and follow lists."},
    {"name": "interactions", "description": "Record what customers did."},
    {"name": "catalogue", "description": "Assets."},
    {"name": "models", "description": "Model versions, and commands about them."},
    {"name": "suspensions", "description": "Take assets, categories and models out of every list, and back."},
    {"name": "operations", "description": "Probes of an orchestrator."},
    {"name": "legacy", "description": "Aliases for clients of the first version. New clients use the other paths."},
]
_DESCRIPTIONS = {
    401: "There are no credentials, or they are not valid; `WWW-Authenticate` says which.",
    403: "The scope that `WWW-Authenticate` names is missing, or a web page of another origin asks.",
    404: "The resource does not exist.",
    409: "The version exists, but is no longer on the models volume.",
    413: "The body is larger than 64 KiB; of a batch, than 1 MiB.",
    415: "The body is not declared as JSON; a POST without a body needs a JSON `Content-Type` or `X-Requested-With`.",
    422: "The request is not valid; `errors` names the fields.",
    429: "Too many requests of this caller; repeat after `Retry-After` seconds.",
    503: "Broker or database does not answer; repeat after `Retry-After` seconds. `outcome` tells whether the event "
    "may have been accepted.",
}
SECURITY_SCHEME = "bearer"
_CREDENTIALS = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`AUTH_MODE=api_key`), or an access token of the identity provider (`AUTH_MODE=jwt`).",
}
_RETRY_HEADER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def _header(description: str, **schema: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of these failures for a route."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": PROBLEM_EXAMPLES[status],
                }
            },
            **({"headers": _RETRY_HEADER} if status in (429, 503) else {}),
        }
        for status in statuses
    }


ACKNOWLEDGED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The broker has the event.",
        "headers": {"X-Request-ID": _header("the id of this request", format="uuid")},
    },
    **problems(413, 415, 422, 503),
}
LIST_HEADERS = {
    "X-Request-ID": _header("the request that produced the list", format="uuid"),
    "X-Model-Version": _header("the model that produced the list"),
    "X-Recommendation-Basis": _header(
        "`history`, `segment_prior` (a customer without history), `nothing_suitable` (the policy allows no asset)"
    ),
    "X-Recommendation-Weights": _header(
        "the weights, for instance `collaborative=0.72,content=0.08,profitability=0.2`"
    ),
    "X-Recommendation-K": _header("how many assets were asked; absent for a list of an older version"),
    "X-Components-Unknown": _header("components about which the model cannot say anything; absent if there is none"),
    "X-Recommendation-Stale": _header("`true` when reference data was loaded after the list was made; else absent"),
}

AWAITED_LIST = [
    {"name": name, "in": "query", "required": False, "description": field["description"], "schema": field["anyOf"][0]}
    for name, field in AwaitedList.model_json_schema()["properties"].items()
]
LIST_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"headers": LIST_HEADERS},
    202: {
        "description": "Only with `request_id` or `wait`: the awaited list is not there yet.",
        "model": QueuedList,
        "headers": _RETRY_HEADER,
    },
    **problems(404, 422, 503),
    409: {
        **problems(409)[409],
        "description": "Only with `request_id`: the request failed, and no later list exists.",
    },
}
LIST_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events `list`; the data of each is a `ListEvent`, its id is the id of the request.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": LIST_EVENT_EXAMPLE}},
    },
    **problems(422, 503),
}


def install_openapi(app: FastAPI, *, is_guarded: bool) -> None:
    """Add the problem schemas, and an example of each answer, to the description of the app.

    `is_guarded`: callers need credentials, so each operation names its scopes and its refusals.
    """
    describe_routes = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = describe_routes()
            schemas = description["components"]["schemas"]
            for model in (Problem, FieldProblem, RecommendationItem, ListEvent):
                schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas[model.__name__].pop("$defs", None)
            if is_guarded:
                _add_security(description)
            _add_examples(description)
        return describe_routes()

    app.openapi = describe  # type: ignore[method-assign]


def _add_security(description: dict[str, Any]) -> None:
    """Say which scopes an operation needs, any of several; those of PUBLIC need none."""
    description["components"]["securitySchemes"] = {SECURITY_SCHEME: _CREDENTIALS}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            scopes = ROUTE_SCOPES[method.upper(), path]
            operation["security"] = [{SECURITY_SCHEME: [scope.value]} for scope in scopes]
            if scopes:
                operation["responses"] |= {str(status): one for status, one in problems(401, 403, 429).items()}


def _add_examples(description: dict[str, Any]) -> None:
    """Give each answer without an example that of its schema (api/examples.py)."""
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    schema = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                    # A schema with an example for one status has it as `Schema 503`.
                    example = ANSWER_EXAMPLES.get(f"{schema} {status}", ANSWER_EXAMPLES.get(schema))
                    if "example" not in content and example is not None:
                        content["example"] = example
