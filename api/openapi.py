"""The description of the API at /docs: headers, and problems as application/problem+json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from api.schemas import AwaitedList, FieldProblem, ListEvent, Problem, QueuedList

DESCRIPTION = """
Personal, suitable and explained asset recommendations.

1. `POST /recommendations` requests a list: 200 as soon as the event broker has the request.
2. `GET /recommendations/{customer_id}` reads the newest list a moment later. With `request_id` and `wait` it answers as
   soon as the list of that request is there.
3. `POST /user_interactions` records a click: every list that is requested afterwards takes it into account.

Failures are `application/problem+json` (RFC 9457).
"""
_DESCRIPTIONS = {
    404: "The resource does not exist.",
    409: "The version exists, but is no longer on the models volume.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not declared as JSON; a POST without a body needs a JSON `Content-Type` or `X-Requested-With`.",
    422: "The request is not valid; `errors` names the fields.",
    503: "Broker or database does not answer; repeat after `Retry-After` seconds. `outcome` tells whether the event "
    "may have been accepted.",
}
_PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

_RETRY_HEADER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def _header(description: str, **schema: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of these failures for a route."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": _PROBLEM_CONTENT,
            **({"headers": _RETRY_HEADER} if status == 503 else {}),
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
    "X-Recommendation-Basis": _header("`history`, or `segment_prior` for a customer without history"),
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
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **problems(422, 503),
}


def install_openapi(app: FastAPI) -> None:
    """Add the problem schemas to the description of the app."""
    describe_routes = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = describe_routes()["components"]["schemas"]
            for model in (Problem, FieldProblem, ListEvent):
                schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas[model.__name__].pop("$defs", None)
        return describe_routes()

    app.openapi = describe  # type: ignore[method-assign]
